"""Tests of layouts for the eye: those of a source are its masks, cut as images are."""

from pathlib import Path

import numpy as np

from didgen.manifests.images import read_mask
from didgen.manifests.sources.records import SourceManifest
from didgen.manifests.views.layouts import draw_layout, layout_of


def test_a_drawn_layout_follows_from_its_seed() -> None:
    found = layout_of("drawn", 7, 64, None)
    np.testing.assert_array_equal(found, draw_layout(np.random.default_rng(7), 64))


def test_a_layout_of_a_source_is_the_middle_of_its_mask(source: Path) -> None:
    manifest = SourceManifest.read(source)
    record = manifest.records[0]
    mask = read_mask(manifest.mask_path(record))
    found = layout_of(record.key, 0, 16, manifest)
    assert found is not None
    np.testing.assert_array_equal(found, mask[:, 4:20])
    assert layout_of("other", 0, 16, manifest) is None
    assert layout_of(record.key, 0, 16, None) is None
