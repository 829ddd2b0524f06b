"""Tests of masks by a trained segmentation net."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from didgen.downstream.annotating.network_annotator import NetworkAnnotator
from didgen.downstream.benchmark.segmentation.benchmark import predict
from didgen.downstream.quality.judge import open_judge
from didgen.manifests.errors import DidgenError
from didgen.manifests.images import read_image
from didgen.manifests.sources.records import SourceManifest


def test_masks_are_the_networks_over_whole_images(judges: tuple[Path, Path], source: Path) -> None:
    annotator, manifest = NetworkAnnotator(judges[1]), SourceManifest.read(source)
    judge = open_judge(judges[1])
    assert annotator.name.startswith("network ") and judge.sha256[:8] in annotator.name
    records = manifest.records[2:5]  # one of them lies on its side
    for record, one in zip(records, annotator.masks(manifest, records), strict=True):
        assert one.record == record and one.mask.shape == (record.height, record.width)
        side = (judge.size, judge.size)
        image = read_image(manifest.image_path(record)).resize(side)
        pixels = torch.from_numpy(np.array(image)).movedim(-1, 0)[None]
        with torch.no_grad():
            (alone,) = predict(judge.network, pixels)
        whole = Image.fromarray(alone).resize((record.width, record.height))
        # A batch changes the last bits of the logits.
        assert (np.asarray(whole) == one.mask).mean() > 0.99


def test_a_classifier_draws_no_masks(judges: tuple[Path, Path]) -> None:
    with pytest.raises(DidgenError, match="is a classifier; give a training of `didgen segment`"):
        NetworkAnnotator(judges[0])
