"""Tests of layouts: drawn ones are lesion-like, those of a source are training masks alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from didgen.augment.generation.layouts import Layouts
from didgen.manifests.errors import DidgenError
from didgen.manifests.images import read_mask
from didgen.manifests.recipes.fields import DRAWN
from didgen.manifests.sources.records import SourceManifest
from didgen.manifests.views.layouts import draw_layout


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**63 - 1), size=st.sampled_from([64, 128, 256]))
def test_a_drawn_layout_is_one_lesion_of_a_believable_size(seed: int, size: int) -> None:
    layout = draw_layout(np.random.default_rng(seed), size)
    assert layout.shape == (size, size)
    assert layout.dtype == bool
    assert ndimage.label(layout)[1] == 1
    assert 0.02 <= layout.mean() <= 0.75
    assert layout[size // 2 - size // 4 : size // 2 + size // 4].any()


def test_the_seed_decides_a_drawn_layout() -> None:
    layouts = Layouts(64)
    first, second = layouts.mask(DRAWN, 1), layouts.mask(DRAWN, 2)
    assert np.array_equal(first, layouts.mask(DRAWN, 1))
    assert not np.array_equal(first, second)


def test_a_source_layout_is_the_training_mask(manifest: SourceManifest) -> None:
    layouts = Layouts(256, manifest)
    record = manifest.select(split="train")[0]
    assert np.array_equal(layouts.mask(record.key, 0), read_mask(manifest.mask_path(record)))
    small = Layouts(64, manifest).mask(record.key, 0)
    assert small.shape == (64, 64)
    assert abs(small.mean() - layouts.mask(record.key, 0).mean()) < 0.02


@pytest.mark.parametrize("split", ["val", "test"])
def test_no_layout_comes_from_held_out_data(manifest: SourceManifest, split: str) -> None:
    held_out = [r for r in manifest.records if r.split == split]
    assert held_out
    for record in held_out:
        with pytest.raises(DidgenError, match=f"{record.key} is no training image"):
            Layouts(64, manifest).mask(record.key, 0)


def test_without_a_source_only_drawn_layouts_exist() -> None:
    with pytest.raises(DidgenError, match="ISIC_1 is no training image"):
        Layouts(64).mask("ISIC_1", 0)
