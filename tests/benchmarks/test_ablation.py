"""Tests of the ablation's figures."""

import numpy as np
import pytest
import torch
from torchmetrics.image import MultiScaleStructuralSimilarityIndexMeasure

from benchmarks.ablation import RANGES, Figure, Subject, diversity, draw_variant, draw_varied, shown
from benchmarks.heldout import held_out
from benchmarks.image_distance import ImageDistance
from didgen.augment.diffusion.pipeline import LesionPairPipeline
from didgen.manifests.recipes.sampling import Annotation, Guidance, Sampling
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.lesions import manifest
from tests.fixtures.recipes import QUICK
from tests.fixtures.tiny_model import sampler, shape

__all__ = ["manifest", "sampler", "shape"]

SAMPLING = Sampling.model_validate(QUICK)


def images(count: int, noise: float) -> np.ndarray:
    """One random picture with noise of its own on each copy, (count, 192, 192, 3) uint8."""
    rng = np.random.default_rng(0)
    picture = rng.uniform(60, 190, (1, 192, 192, 3))
    return (picture + noise * rng.standard_normal((count, 192, 192, 3))).clip(0, 255).astype("u1")


def test_equal_images_have_no_diversity_and_noisier_ones_more() -> None:
    assert diversity(images(3, 0)) == pytest.approx(0, abs=1e-5)
    assert 0.001 < diversity(images(3, 5)) < diversity(images(3, 30))


def test_it_is_the_mean_over_the_pairs() -> None:
    drawn = images(3, 20)
    measured = MultiScaleStructuralSimilarityIndexMeasure(data_range=1.0)
    tensors = torch.from_numpy(drawn).movedim(-1, 1).float() / 255
    pairs = [(0, 1), (0, 2), (1, 2)]
    each = [1 - float(measured(tensors[a : a + 1], tensors[b : b + 1])) for a, b in pairs]
    assert diversity(drawn) == pytest.approx(np.mean(each), abs=1e-5)


def test_an_interval_over_pairs_holds_their_mean_19_times_of_20() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        # Distances of points on a line: those of normal points are 2 / sqrt(pi) on average.
        points = rng.standard_normal(15)
        apart = np.abs(points[:, None] - points)[np.triu_indices(15, 1)]
        figure = Figure.of_pairs(apart)
        assert figure.mean == pytest.approx(apart.mean())
        found.append(abs(figure.mean - 2 / np.pi**0.5) < figure.half)
    assert 0.9 < np.mean(found) < 0.99


def levels(one: torch.Tensor, other: torch.Tensor) -> np.ndarray:
    """The mean difference of levels, in [0, 1]."""
    return ((one.double() - other.double()).abs().mean((1, 2, 3)) / 255).numpy()


@pytest.fixture(scope="module")
def subject(sampler: LesionPairPipeline, manifest: SourceManifest) -> Subject:
    """Three layouts of the tiny source, judged by the difference of levels."""
    records = held_out(manifest, 3)
    return Subject(sampler, manifest, records, ImageDistance("levels", levels))


def test_masks_are_compared_between_layouts_at_the_same_seed(subject: Subject) -> None:
    figures = draw_variant(subject, 2, SAMPLING)
    assert figures.keys() >= {"layout_iou", "gates", "no levels", "separability", "masks apart"}
    masks = [subject.draw(r, range(2), SAMPLING).pairs.masks for r in subject.records]
    pairs = [(0, 1), (0, 2), (1, 2)]
    each = [(masks[a][n] != masks[b][n]).mean() for n in range(2) for a, b in pairs]
    assert figures["masks apart"].mean == pytest.approx(np.mean(each))
    flat = SAMPLING.model_copy(update={"annotation": Annotation(flat=1)})
    found = draw_variant(subject, 2, flat)
    assert found["no levels"] == found["gates"] == Figure(1, 0)
    assert found["masks apart"] == found["separability"] == Figure(0, 0)


def test_one_mask_gives_an_image_by_every_eta_and_range(subject: Subject) -> None:
    sampling = SAMPLING.model_copy(update={"guidance": Guidance(eta=1)})
    rows = draw_varied(subject, sampling, [0.0, 50.0])
    assert len(rows) == 2 * len(RANGES) + 1
    unguided = [row for name, row in rows.items() if name.startswith("eta 0,")]
    assert all(row == unguided[0] for row in unguided)
    assert rows["all of them"]["images apart"].mean > 0
    assert rows["all of them"]["layout_iou"].mean == pytest.approx(
        np.mean([row["layout_iou"].mean for name, row in rows.items() if name.startswith("eta")])
    )
    table = shown("title", "guidance by", rows)
    assert len(table.columns) == 1 + len(rows["all of them"])
    assert table.row_count == len(rows)
