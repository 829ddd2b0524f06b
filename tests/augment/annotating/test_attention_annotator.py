"""Tests of masks by attention: the bundled model finds lesions that it never saw."""

from pathlib import Path

import numpy as np

from didgen.augment.annotating.attention_annotator import AttentionAnnotator
from didgen.manifests.sources.annotating import MaskGates
from didgen.manifests.sources.mask_gates import mask_fault, mask_scores
from tests.fixtures.ovals import oval, paint
from tests.fixtures.pictures import write_picture
from tests.fixtures.sources import manifest_of, record

SHAPES = {"tall": (240, 180, (150.0, 60.0)), "wide": (150, 300, (70.0, 225.0))}
"""Height, width and centre of the lesion, which lies outside the middle."""


def test_the_lesion_of_a_whole_photograph_is_found(tmp_path: Path) -> None:
    truths, records = {}, []
    for number, (key, (height, width, center)) in enumerate(SHAPES.items()):
        truths[key] = oval(height, width, center, (45, 40))
        noise = np.random.default_rng(number).normal(0, 6, (height, width, 3))
        image = np.clip(paint(truths[key]) + noise, 0, 255).astype(np.uint8)
        write_picture(tmp_path / f"{key}.png", image)
        records.append(record(key, width=width, height=height, sha256=f"{number}" * 64))
    annotator = AttentionAnnotator("mini")
    assert annotator.name == "attention of mini"
    manifest = manifest_of(tmp_path, *records)
    found = list(annotator.masks(manifest, records))
    for one in found:
        truth = truths[one.record.key]
        assert one.mask.shape == truth.shape and one.mask.dtype == bool
        assert (one.mask & truth).sum() / (one.mask | truth).sum() > 0.6
        assert mask_fault({**mask_scores(one.mask), **one.scores}, MaskGates()) is None
    again = list(annotator.masks(manifest, records[1:]))
    # Its noise is its own: a batch changes last bits alone.
    assert (again[0].mask == found[1].mask).mean() > 0.999
