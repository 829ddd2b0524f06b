"""Tests of nnU-Net's raw data."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.exports.sound_run import prepare_export
from didgen.manifests.runs.claim import start_run
from didgen.manifests.runs.finish import finish_run
from didgen.manifests.shards.shard import Stamp, iterate, write_shard
from tests.contracts.export import ExportContract, Picture, Pictures
from tests.fixtures.pictures import decoded


class TestNnUNet(ExportContract):
    to = "nnunet"
    name = "Dataset501_Test"
    configs = ("pairs",)

    def read(self, out: Path) -> Pictures:
        found: dict[tuple[Config, str], Picture] = {}
        for path in out.glob("imagesT[rs]/*_0000.png"):
            key = path.stem.removesuffix("_0000")
            label = out / path.parent.name.replace("images", "labels") / f"{key}.png"
            found["pairs", key] = decoded(path.read_bytes()), decoded(label.read_bytes()) * 255
        return found

    def test_nnunet_raw_data(self, out: Path, run: Path) -> None:
        told = json.loads((out / "dataset.json").read_text())
        assert told["channel_names"] == {"0": "R", "1": "G", "2": "B"}
        assert told["labels"] == {"background": 0, "lesion": 1}
        assert (told["numTraining"], told["file_ending"]) == (6, ".png")
        samples = {sample.key: sample for sample in iterate(run, "pairs")}
        assert {p.name for p in (out / "imagesTr").iterdir()} == {f"{k}_0000.png" for k in samples}
        assert {p.name for p in (out / "labelsTr").iterdir()} == {f"{k}.png" for k in samples}
        for key, sample in samples.items():
            image = Image.open(out / "imagesTr" / f"{key}_0000.png")
            label = Image.open(out / "labelsTr" / f"{key}.png")
            assert (image.format, image.mode, label.mode) == ("PNG", "RGB", "L")
            np.testing.assert_array_equal(image, decoded(sample.members["jpg"]))
            np.testing.assert_array_equal(label, decoded(sample.members["mask.png"]) // 255)
            assert set(np.unique(np.asarray(label))) == {0, 1}
        assert not (out / "splits_final.json").exists()


def test_nnunet_wants_its_kind_of_name_and_pairs(run: Path, tmp_path: Path) -> None:
    with pytest.raises(DidgenError, match="Dataset501_DiDGen"):
        prepare_export(run, "nnunet", tmp_path / "mine")
    only = tmp_path / "only"
    start_run(only, fingerprint="f00d", recipe={})
    image = next(iterate(run, "images"))
    write_shard(only, "images", 0, [image], Stamp("f00d"))
    finish_run(only, {"images": 1}, decisions={}, versions={}, classes=["MEL"])
    with pytest.raises(DidgenError, match="has no pairs"):
        prepare_export(only, "nnunet", tmp_path / "Dataset501_Test")
