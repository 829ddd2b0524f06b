"""Tests of figures of masks: loops and the challenge's own scorer."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from isic_challenge_scoring.segmentation import SegmentationScore
from PIL import Image
from scipy.ndimage import binary_erosion

from didgen.downstream.metrics.segmentation import dice_scores, mask_of, overlaps, run_lengths


@pytest.fixture(scope="module")
def masks() -> tuple[np.ndarray, np.ndarray]:
    """Predicted and true discs (12, 40, 48), the last ones empty: one, the other, both."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:40, :48]

    def discs(centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
        distances = [np.hypot(rows - r, columns - c) for r, c in centres]
        return np.stack(distances) <= radii[:, None, None]

    centres, radii = rng.uniform(12, 28, (12, 2)), rng.uniform(5, 11, 12)
    truths = discs(centres, radii)
    guesses = discs(centres + rng.normal(0, 3, (12, 2)), radii * rng.uniform(0.7, 1.3, 12))
    guesses[-3], truths[-2], guesses[-1], truths[-1] = False, False, False, False
    return guesses, truths


def test_overlaps_are_those_of_loops(masks: tuple[np.ndarray, np.ndarray]) -> None:
    found = overlaps(*masks)
    for place, (guess, truth) in enumerate(zip(*masks, strict=True)):
        both = int((guess & truth).sum())
        either, total = int((guess | truth).sum()), int(guess.sum() + truth.sum())
        assert found.dice[place] == pytest.approx(2 * both / total if total else 1)
        assert found.iou[place] == pytest.approx(both / either if either else 1)
        jaccard = both / either if either else 1
        assert found.threshold_jaccard[place] == pytest.approx(jaccard if jaccard >= 0.65 else 0)


# The scorer is of a time before pandas 4.
@pytest.mark.filterwarnings("ignore:The inplace keyword")
def test_the_official_scorer_agrees(masks: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    for name, stack in (("guess", masks[0]), ("truth", masks[1])):
        (tmp_path / name).mkdir()
        for place, mask in enumerate(stack):
            path = tmp_path / name / f"ISIC_{place:07d}_segmentation.png"
            Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    score = SegmentationScore.from_dir(tmp_path / "truth", tmp_path / "guess").macro_average
    means = overlaps(*masks).means()
    for ours, theirs in (
        ("dice", "dice"),
        ("iou", "jaccard"),
        ("threshold_jaccard", "threshold_jaccard"),
        ("sensitivity", "sensitivity"),
        ("specificity", "specificity"),
    ):
        assert means[ours] == pytest.approx(score[theirs]), ours


def test_hd95_is_that_of_all_distances_between_outlines(
    masks: tuple[np.ndarray, np.ndarray],
) -> None:
    found = overlaps(*masks).hd95
    for place, (guess, truth) in enumerate(zip(*masks, strict=True)):
        if not (guess.any() and truth.any()):
            expected = 0.0 if guess.any() == truth.any() else np.hypot(40, 48)
        else:
            outlines = [np.argwhere(mask & ~binary_erosion(mask)) for mask in (guess, truth)]
            pairs = np.hypot(*(outlines[0][:, None] - outlines[1][None]).transpose(2, 0, 1))
            expected = max(np.percentile(pairs.min(1), 95), np.percentile(pairs.min(0), 95))
        assert found[place] == pytest.approx(expected, abs=1e-4)


def test_a_mask_agrees_with_itself(masks: tuple[np.ndarray, np.ndarray]) -> None:
    means = overlaps(masks[1], masks[1]).means()
    assert means.pop("hd95") == 0
    assert set(means.values()) == {1.0}


def test_what_are_no_masks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"not \(N, H, W\)"):
        overlaps(np.zeros((2, 3, 3), bool), np.zeros((2, 3, 4), bool))
    with pytest.raises(ValueError, match="boolean"):
        overlaps(np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3, 3), np.uint8))


def test_dice_alone_is_that_of_all_figures(masks: tuple[np.ndarray, np.ndarray]) -> None:
    assert np.array_equal(dice_scores(*masks), overlaps(*masks).dice)


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_runs_are_those_of_a_loop_and_give_the_mask_again(mask: np.ndarray) -> None:
    runs = run_lengths(mask)
    expected, current = [0], False
    for column in range(mask.shape[1]):
        for row in range(mask.shape[0]):
            if mask[row, column] != current:
                expected.append(0)
                current = not current
            expected[-1] += 1
    assert runs == {"size": list(mask.shape), "counts": expected}
    assert np.array_equal(mask_of(runs), mask)


@pytest.mark.parametrize("counts", [[3], [3, 4], [-1, 7], []])
def test_runs_that_do_not_fill_their_mask_are_refused(counts: list[int]) -> None:
    with pytest.raises(ValueError, match=r"reshape|negative"):
        mask_of({"size": [2, 3], "counts": counts})
