"""Tests of ImageFolder: other people's readers get every sample."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torchvision
from datasets import Image as ImageFeature
from datasets import load_dataset

from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.exports.export import export
from didgen.manifests.exports.sound_run import prepare_export
from didgen.manifests.runs.claim import start_run
from didgen.manifests.runs.finish import finish_run
from didgen.manifests.shards.shard import Sample, iterate, write_shard
from tests.contracts.export import ExportContract, Picture, Pictures
from tests.fixtures.environment import load
from tests.fixtures.pictures import decoded

pytestmark = pytest.mark.usefixtures("datasets_offline")


class TestImageFolder(ExportContract):
    to = "imagefolder"

    def read(self, out: Path) -> Pictures:
        found: dict[tuple[Config, str], Picture] = {}
        for path in out.glob("images/*/*/*.jpg"):
            found["images", path.stem] = decoded(path.read_bytes()), None
        for path in out.glob("pairs/*/*.jpg"):
            mask = path.parent / "masks" / f"{path.stem}.png"
            found["pairs", path.stem] = decoded(path.read_bytes()), decoded(mask.read_bytes())
        return found

    def test_datasets_takes_no_list_of_training_images_for_data(
        self, listed: Path, tmp_path: Path
    ) -> None:
        loaded = load(listed, "images", tmp_path / "cache")
        assert sum(len(part) for part in loaded.values()) == 10

    def test_datasets_reads_image_folders(self, out: Path, run: Path, tmp_path: Path) -> None:
        images = load(out, "images", tmp_path)["train"]
        names = images.features["label"].names
        expected = {
            (json.loads(s.members["json"])["class"], decoded(s.members["jpg"]).tobytes())
            for s in iterate(run, "images")
        }
        found = {(names[row["label"]], np.asarray(row["image"]).tobytes()) for row in images}
        assert found == expected and len(images) == len(expected) == 10

    @pytest.mark.parametrize("how", ["by config", "by folder"])
    def test_datasets_reads_masks_from_metadata(
        self, out: Path, run: Path, tmp_path: Path, how: str
    ) -> None:
        if how == "by config":
            pairs = load(out, "pairs", tmp_path)["train"]
        else:
            cache = str(tmp_path)
            pairs = load_dataset("imagefolder", data_dir=str(out / "pairs"), cache_dir=cache)
            pairs = pairs["train"]
        assert isinstance(pairs.features["image"], ImageFeature)
        assert isinstance(pairs.features["mask"], ImageFeature)
        for row, sample in zip(pairs, iterate(run, "pairs"), strict=True):
            record = json.loads(sample.members["json"])
            np.testing.assert_array_equal(row["image"], decoded(sample.members["jpg"]))
            np.testing.assert_array_equal(row["mask"], decoded(sample.members["mask.png"]))
            assert (row["key"], row["class"]) == (sample.key, record["class"])
            assert (row["prompt"], row["seed"]) == (record["prompt"], record["seed"])
            assert row["scores_contrast"] == record["scores"]["contrast"]

    def test_torchvision_reads_image_folders(self, out: Path) -> None:
        images = torchvision.datasets.ImageFolder(str(out / "images" / "train"))
        assert images.classes == ["BCC", "MEL"]
        assert [target for _, target in images] == [0] * 5 + [1] * 5

    def test_image_bytes_pass_through(self, out: Path, run: Path) -> None:
        for sample in iterate(run, "images"):
            label = json.loads(sample.members["json"])["class"]
            path = out / "images" / "train" / label / f"{sample.key}.jpg"
            assert path.read_bytes() == sample.members["jpg"]
        for sample in iterate(run, "pairs"):
            path = out / "pairs" / "train" / "masks" / f"{sample.key}.png"
            assert path.read_bytes() == sample.members["mask.png"]


def test_datasets_reads_the_folder_of_a_single_class(make_run, tmp_path):
    run = make_run(tmp_path / "run", classes=["MEL", "BCC"], labels=("MEL",))
    export(prepare_export(run, "imagefolder", tmp_path / "out"), progress=None)
    images = load(tmp_path / "out", "images", tmp_path / "cache")["train"]
    assert images.features["label"].names == ["MEL"] and len(images) == 10


@pytest.mark.parametrize("name", ["../evil", "a/b", "..", ".hidden", "__hidden", "a\nb", ""])
def test_a_class_that_cannot_name_a_folder_is_refused(make_run, tmp_path, name):
    mine = make_run(tmp_path / "run", classes=["MEL", name, "BCC"])
    with pytest.raises(DidgenError, match="cannot name a folder"):
        prepare_export(mine, "imagefolder", tmp_path / "out")
    export(prepare_export(mine, "parquet", tmp_path / "tables"))


def test_a_record_cannot_point_at_other_files(run, tmp_path):
    mine = tmp_path / "run"
    start_run(mine, fingerprint="f00d", recipe={})
    evil = {"class": "MEL", "file_name": "../../secret", "x_file_name": "/etc/passwd", "fine": 1}
    pairs = [
        Sample(s.key, s.members | {"json": json.dumps(evil).encode()})
        for s in iterate(run, "pairs")
    ]
    write_shard(mine, "pairs", 0, pairs, fingerprint="f00d", versions={})
    finish_run(mine, {"pairs": 1}, decisions={}, versions={}, classes=["MEL"])
    export(prepare_export(mine, "imagefolder", tmp_path / "out"))
    lines = (tmp_path / "out" / "pairs" / "train" / "metadata.jsonl").read_text().splitlines()
    for line in lines:
        row = json.loads(line)
        assert set(row) == {"file_name", "mask_file_name", "key", "class", "fine"}
        assert re.fullmatch(r"pairs-\d+\.jpg", row["file_name"])
