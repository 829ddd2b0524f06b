"""Tests of annotation: Eq. 7 against its matrix form, and masks cut from maps of known shape."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from didgen.augment.diffusion.annotation import (
    annotate,
    binarise,
    contrast,
    flow,
    propagate,
    separability,
)
from didgen.manifests.recipes.sampling import Annotation

CLOSING = Annotation().closing


def disc(side: int, row: float, column: float, radius: float) -> np.ndarray:
    """A disc on pixel centres, in units of the frame's side."""
    rows, columns = (np.mgrid[:side, :side] + 0.5) / side
    return np.hypot(rows - row, columns - column) <= radius


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union."""
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("tau", [0, 1, 4])
def test_propagate_is_the_matrix_power(tau: int) -> None:
    generator = torch.Generator().manual_seed(tau)
    cross = torch.rand(2, 4, 4, generator=generator, dtype=torch.float64)
    scores = torch.randn(2, 64, 64, generator=generator, dtype=torch.float64)
    self_map = (4 * scores).softmax(-1)
    found = propagate(cross, self_map, tau)
    large = F.interpolate(cross[:, None], (8, 8), mode="bilinear").flatten(1)
    for sample in range(2):
        vector = torch.linalg.matrix_power(self_map[sample], tau) @ large[sample]
        expected = (vector - vector.min()) / (vector.max() - vector.min())
        torch.testing.assert_close(found[sample].flatten(), expected)
        torch.testing.assert_close(flow(cross, self_map, tau)[sample].flatten(), vector)


def test_propagation_has_the_gradients_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(5)
    cross = torch.rand(2, 2, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    scores = torch.randn(2, 16, 16, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda c, s: propagate(c, s.softmax(-1), 4), (cross, scores))


def otsu(level: np.ndarray) -> float:
    """Otsu's threshold by trying every one of 256 bins for the largest variance between classes."""
    counts, edges = np.histogram(level, 256)
    centres = (edges[:-1] + edges[1:]) / 2
    best, threshold = -1.0, 0.0
    for place in range(255):
        low, high = counts[: place + 1], counts[place + 1 :]
        below = (low * centres[: place + 1]).sum() / low.sum()
        above = (high * centres[place + 1 :]).sum() / high.sum()
        between = float(low.sum() * high.sum() * (below - above) ** 2)
        if between > best:
            best, threshold = between, centres[place]
    return threshold


def closed(lesion: np.ndarray, radius: int) -> np.ndarray:
    """A closing by a disc, pixel by pixel; what lies beyond the border continues it."""
    padded = np.pad(lesion, 2 * radius, mode="edge")
    disc_offsets = [
        (down, right)
        for down in range(-radius, radius + 1)
        for right in range(-radius, radius + 1)
        if down**2 + right**2 <= radius**2
    ]

    def spread(mask: np.ndarray, combine: np.ufunc) -> np.ndarray:
        inner = slice(radius, -radius)
        result = mask[inner, inner].copy()
        rows, columns = result.shape
        for down, right in disc_offsets:
            top, left = radius + down, radius + right
            result = combine(result, mask[top : top + rows, left : left + columns])
        return result

    return spread(spread(padded, np.logical_or), np.logical_and)


def test_a_mask_is_otsus_threshold_and_a_closing() -> None:
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(3, 1, 6, 6, generator=generator)
    maps = F.interpolate(coarse, (32, 32), mode="bicubic")[:, 0]
    plain, masks = binarise(maps, 96, 0), binarise(maps, 96, CLOSING)
    levels = F.interpolate(maps[:, None], (96, 96), mode="bicubic")[:, 0].numpy()
    for level, threshold_alone, mask in zip(levels, plain, masks, strict=True):
        np.testing.assert_array_equal(threshold_alone, level > otsu(level))
        np.testing.assert_array_equal(mask, closed(threshold_alone, int(CLOSING * 96)))
    one_by_one = np.concatenate([binarise(maps[i : i + 1], 96, CLOSING) for i in range(3)])
    np.testing.assert_array_equal(masks, one_by_one)


def test_propagation_fills_the_segment_that_attends_to_itself() -> None:
    segment = torch.zeros(8, 8, dtype=torch.bool)
    segment[2:6, 1:5] = True
    flat = segment.flatten().float()
    same = torch.outer(flat, flat) + torch.outer(1 - flat, 1 - flat)
    cross = torch.zeros(1, 4, 4)
    cross[0, 2, 1] = 1
    found = propagate(cross, (same / same.sum(-1, keepdim=True))[None], 4)
    torch.testing.assert_close(found[0], segment.float())


def test_a_two_level_map_gives_its_disc() -> None:
    small = np.stack([disc(32, 0.5, 0.5, 0.3), disc(32, 0.4, 0.6, 0.2)])
    rng = np.random.default_rng(0)
    maps = torch.from_numpy(0.2 + 0.6 * small + rng.normal(0, 0.02, small.shape))
    masks = binarise(maps, 256, CLOSING)
    assert masks.shape == (2, 256, 256)
    assert masks.dtype == bool
    assert overlap(masks[0], disc(256, 0.5, 0.5, 0.3)) > 0.95
    assert overlap(masks[1], disc(256, 0.4, 0.6, 0.2)) > 0.93


def test_each_map_has_a_threshold_of_its_own() -> None:
    small = disc(32, 0.5, 0.5, 0.3)
    pair = torch.from_numpy(np.stack([0.1 * small, 0.5 + 0.4 * small]))
    masks = binarise(pair, 128, CLOSING)
    assert overlap(masks[0], masks[1]) > 0.99


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_a_constant_map_gives_an_empty_mask(level: float) -> None:
    assert not binarise(torch.full((2, 32, 32), level), 256, CLOSING).any()


def test_closing_mends_a_crack_and_keeps_the_outline() -> None:
    small = disc(64, 0.5, 0.5, 0.3)
    cracked = small.copy()
    cracked[32] = False
    mask = binarise(torch.from_numpy(np.stack([cracked.astype(float)])), 256, CLOSING)[0]
    assert mask[:, 128][60:196].all()
    assert mask.sum() < 1.05 * disc(256, 0.5, 0.5, 0.3).sum()


def test_a_lesion_at_the_border_is_not_eaten() -> None:
    small = disc(32, 0.0, 0.5, 0.3)
    mask = binarise(torch.from_numpy(small[None].astype(float)), 256, CLOSING)[0]
    assert overlap(mask, disc(256, 0.0, 0.5, 0.3)) > 0.93
    assert mask[0, 64:192].all()
    half = np.zeros((32, 32))
    half[:, :16] = 1
    mask = binarise(torch.from_numpy(half[None]), 256, CLOSING)[0]
    assert mask[:, :126].all()
    assert not mask[:, 130:].any()


MAPS = hnp.arrays(np.float64, (2, 5, 5), elements=st.floats(0, 1, width=32))


@given(MAPS, st.floats(1e-3, 1e3))
def test_contrast_is_the_relative_span_whatever_the_scale(maps: np.ndarray, scale: float) -> None:
    found = contrast(torch.from_numpy(maps)).numpy()
    for one, span in zip(maps, found, strict=True):
        wanted = (max(one.flat) - min(one.flat)) / max(one.flat) if one.any() else 0
        assert span == pytest.approx(wanted)
        assert 0 <= span <= 1
    scaled = contrast(torch.from_numpy(scale * maps)).numpy()
    np.testing.assert_allclose(scaled, found, rtol=1e-6, atol=1e-12)


def test_a_map_with_a_nan_has_no_contrast_and_no_mask() -> None:
    maps = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0))
    maps[0, 3, 3] = torch.nan
    found = annotate(maps, 32, Annotation())
    assert found.contrast[0] == found.separability[0] == 0
    assert found.contrast[1] > 0 and found.separability[1] > 0
    assert not found.masks[0].any() and found.masks[1].any()


def separability_by_loops(levels: np.ndarray, upper: np.ndarray) -> float:
    """Between the classes' means, weighed by their pixels, over the variance of all."""
    pixels, flags = levels.ravel().tolist(), upper.ravel().tolist()
    mean = sum(pixels) / len(pixels)
    total = sum((pixel - mean) ** 2 for pixel in pixels)
    between = 0.0
    for flag in (True, False):
        own = [pixel for pixel, other in zip(pixels, flags, strict=True) if other == flag]
        between += len(own) * (sum(own) / len(own) - mean) ** 2
    return between / total


@given(hnp.arrays(np.float64, 12, elements=st.integers(0, 9)), st.integers(0, 8))
def test_separability_is_a_share_of_the_variance(levels: np.ndarray, threshold: int) -> None:
    upper = levels > threshold
    found = separability(levels, upper)
    assert 0 <= found <= 1
    if upper.any() and not upper.all():
        assert found == pytest.approx(separability_by_loops(levels, upper))
    else:
        assert found == 0


def test_two_levels_are_parted_wholly_and_gaussian_ones_by_two_over_pi() -> None:
    two = np.repeat([0.2, 0.9], [30, 10])
    assert separability(two, two > 0.5) == pytest.approx(1)
    gaussian = np.random.default_rng(0).normal(size=200_000)
    assert separability(gaussian, gaussian > 0) == pytest.approx(2 / np.pi, abs=0.005)


@settings(deadline=None)
@given(st.integers(0, 20))
def test_otsus_threshold_parts_better_than_any_other(seed: int) -> None:
    coarse = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(seed))
    maps = F.interpolate(coarse, (32, 32), mode="bicubic")[:, 0].clamp_min(0)
    found = annotate(maps, 32, Annotation(closing=0))
    levels = maps[0].numpy()
    others = [separability(levels, levels > level) for level in np.linspace(0, 1, 100)]
    # Its threshold is one of 256 bins.
    assert found.separability[0] >= max(others) - 1e-3
    assert found.separability[0] == pytest.approx(separability(levels, found.masks[0]), abs=1e-6)


def test_flat_attention_is_no_mask_though_normalised_noise_would_be_one() -> None:
    generator = torch.Generator().manual_seed(2)
    noise = 0.01 * (1 + 1e-4 * torch.rand(2, 16, 16, generator=generator))
    lesion = noise + 0.01 * torch.from_numpy(disc(16, 0.5, 0.5, 0.3)).float()
    maps = torch.stack([noise[0], lesion[0]])
    found = annotate(maps, 64, Annotation())
    assert not found.masks[0].any()
    assert found.separability[0] == 0
    assert found.contrast[0] == pytest.approx(1e-4, rel=0.1)
    assert overlap(found.masks[1], disc(64, 0.5, 0.5, 0.3)) > 0.9
    assert binarise((maps - maps.amin((1, 2), True)) / 1e-6, 64, 0)[0].any(), "what it was"
    asked = Annotation(flat=0)
    assert annotate(maps, 64, asked).masks[0].any()


@settings(deadline=None, max_examples=25)
@given(st.floats(1e-4, 1e4), st.integers(0, 5))
def test_a_mask_does_not_hang_on_the_scale_of_its_map(scale: float, seed: int) -> None:
    maps = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(seed)) + 0.1
    one, other = annotate(maps, 48, Annotation()), annotate(scale * maps, 48, Annotation())
    assert (one.masks == other.masks).mean() > 0.999
    np.testing.assert_allclose(one.separability, other.separability, atol=1e-4)
