"""Tests of the filter of pairs: which of them unseeing judges agree with."""

import numpy as np
import pytest

from didgen.downstream.benchmark.results import training_folder
from didgen.downstream.benchmark.segmentation.job import SegmentationJob
from didgen.downstream.benchmark.segmentation.pair_filter import agree
from didgen.downstream.data.pairs import Pairs, folds
from didgen.downstream.metrics.segmentation import dice_scores
from didgen.manifests.files import read_json, read_json_lines
from tests.fixtures.benchmarks import Done


def pairs_of(segmentation_job: SegmentationJob) -> Pairs:
    (run,) = segmentation_job.runs.values()
    return run.images


def test_the_filter_keeps_the_pairs_that_unseeing_judges_agree_with(
    segmented: Done, segmentation_job: SegmentationJob
) -> None:
    out, benchmark = segmented
    synthetic = pairs_of(segmentation_job)
    for real, seed in ((8, 0), (8, 1), (None, 0), (None, 1)):
        pairs = segmentation_job.real(real, seed)
        dealt_units = folds(pairs.units, 2, segmentation_job.recipe.seed)
        names = map(segmentation_job.unit_names["val"], pairs.units)
        dealt = dict(zip(names, dealt_units, strict=True))
        judged: dict[str, list[float]] = {key: [] for key in synthetic.keys}
        for fold in (0, 1):
            folder = training_folder(out, "unet", f"judge-didgen-{fold}", seed, real)
            for row in read_json_lines(folder / "predictions.jsonl"):
                # A judge was trained on every fold but its own.
                assert dealt.get(row["guide"], fold) == fold
                judged[row["key"]].append(row["dice"])
        file = f"real-{'all' if real is None else real}-seed-{seed}.jsonl"
        rows = read_json_lines(out / "filter" / "didgen" / file)
        assert [row["key"] for row in rows] == list(synthetic.keys)
        for row in rows:
            assert row["judges"] == (1 if row["guide"] in dealt else 2)
            assert row["agreement"] == pytest.approx(np.mean(judged[row["key"]]))
        kept = [row["agreement"] for row in rows if row["kept"]]
        dropped = [row["agreement"] for row in rows if not row["kept"]]
        assert (len(kept), len(dropped)) == (5, 1)
        assert min(kept) >= max(dropped)
        folder = training_folder(out, "wide", "didgen-filtered", seed, real)
        assert read_json(folder / "result.json")["asked"]["images"]["synthetic"] == 5
    kept_by = [
        (one["seed"], one["kept"]) for scale in benchmark["scales"] for one in scale["filters"]
    ]
    assert kept_by == [(0, 5), (1, 5)] * 2


def test_agreement_is_that_of_a_loop(segmentation_job: SegmentationJob) -> None:
    synthetic = pairs_of(segmentation_job)
    rng = np.random.default_rng(0)
    guesses = rng.random(synthetic.masks.shape) < 0.5
    judged = [
        dict(
            zip(
                synthetic.keys,
                dice_scores(part, synthetic.masks.numpy()),
                strict=True,
            )
        )
        for part in (guesses, ~guesses)
    ]
    del judged[1][synthetic.keys[2]]
    found = agree(synthetic, judged, keep=0.5)
    for place, truth in enumerate(synthetic.masks.numpy()):
        scores = []
        for guess in (guesses[place], ~guesses[place])[: 1 if place == 2 else 2]:
            both = int((guess & truth).sum())
            scores.append(2 * both / (int(guess.sum()) + int(truth.sum())))
        assert found.dice[place] == pytest.approx(sum(scores) / len(scores))
    assert found.judges.tolist() == [2, 2, 1, 2, 2, 2]
    best = sorted(range(6), key=lambda place: -found.dice[place])[:3]
    assert np.flatnonzero(found.kept).tolist() == sorted(best)
