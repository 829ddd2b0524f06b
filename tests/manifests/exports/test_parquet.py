"""Tests of Parquet: rows come back byte for byte, and records of two kinds do not mix."""

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel
from datasets import Image as ImageFeature
from huggingface_hub import DatasetCard
from pyarrow import parquet

from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.exports.export import export
from didgen.manifests.exports.sound_run import prepare_export
from didgen.manifests.runs.claim import start_run
from didgen.manifests.runs.finish import finish_run
from didgen.manifests.shards.shard import Sample, Stamp, iterate, write_shard
from tests.contracts.export import ExportContract, Picture, Pictures
from tests.fixtures.environment import load
from tests.fixtures.pictures import decoded

pytestmark = pytest.mark.usefixtures("datasets_offline")
CONFIGS: tuple[Config, ...] = ("images", "pairs")


class TestParquet(ExportContract):
    to = "parquet"

    def read(self, out: Path) -> Pictures:
        found: dict[tuple[Config, str], Picture] = {}
        for config in CONFIGS:
            for row in parquet.read_table(out / config).to_pylist():
                mask = decoded(row["mask"]["bytes"]) if config == "pairs" else None
                found[config, row["key"]] = decoded(row["image"]["bytes"]), mask
        return found

    def test_datasets_takes_no_list_of_training_images_for_data(
        self, listed: Path, tmp_path: Path
    ) -> None:
        loaded = load(listed, "images", tmp_path / "cache")
        assert sum(len(part) for part in loaded.values()) == 10

    @pytest.mark.parametrize("config", CONFIGS)
    def test_parquet_comes_back_byte_for_byte(
        self, out: Path, run: Path, tmp_path: Path, config: Config
    ) -> None:
        assert sorted(path.name for path in (out / config).iterdir()) == [
            "train-00000-of-00002.parquet",
            "train-00001-of-00002.parquet",
        ]
        loaded = load(out, config, tmp_path)
        assert list(loaded) == ["train"]
        features = loaded["train"].features
        assert isinstance(features["image"], ImageFeature)
        assert isinstance(features["label"], ClassLabel)
        assert features["label"].names == ["MEL", "NV", "BCC"]
        raw = loaded["train"].cast_column("image", ImageFeature(decode=False))
        if config == "pairs":
            raw = raw.cast_column("mask", ImageFeature(decode=False))
        for shown, row, sample in zip(loaded["train"], raw, iterate(run, config), strict=True):
            record = json.loads(sample.members["json"])
            np.testing.assert_array_equal(shown["image"], decoded(sample.members["jpg"]))
            assert row["image"]["bytes"] == sample.members["jpg"]
            assert (row["key"], row["label"]) == (sample.key, record["label"])
            assert (row["prompt"], row["seed"]) == (record["prompt"], record["seed"])
            if config == "pairs":
                np.testing.assert_array_equal(shown["mask"], decoded(sample.members["mask.png"]))
                assert row["mask"]["bytes"] == sample.members["mask.png"]

    def test_parquet_has_a_card_the_hub_takes(self, out: Path) -> None:
        data = DatasetCard.load(out / "README.md").data
        assert data.license == "cc-by-4.0"
        assert data.configs[1]["data_files"] == [
            {"split": "train", "path": "pairs/train-*.parquet"}
        ]


def test_pairs_without_a_class_have_none_in_the_table(run: Path, tmp_path: Path) -> None:
    mine = tmp_path / "run"
    start_run(mine, fingerprint="f00d", recipe={})
    pairs = [
        Sample(s.key, s.members | {"json": json.dumps({"label": -1, "class": ""}).encode()})
        for s in iterate(run, "pairs")
    ]
    write_shard(mine, "pairs", 0, pairs, Stamp("f00d"))
    write_shard(mine, "pairs", 1, [], Stamp("f00d"))
    finish_run(mine, {"pairs": 2}, decisions={}, versions={}, classes=["MEL"])
    export(prepare_export(mine, "parquet", tmp_path / "out"))
    loaded = load(tmp_path / "out", "pairs", tmp_path / "cache")["train"]
    assert loaded["label"][:] == [None] * 6


def test_records_of_two_kinds_are_named(run: Path, tmp_path: Path) -> None:
    mine = tmp_path / "run"
    start_run(mine, fingerprint="f00d", recipe={})
    for index, (sample, score) in enumerate(
        zip(islice(iterate(run, "images"), 2), (0.5, "high"), strict=True)
    ):
        members = sample.members | {"json": json.dumps({"score": score}).encode()}
        sample = Sample(sample.key, members)
        write_shard(mine, "images", index, [sample], Stamp("f00d"))
    finish_run(mine, {"images": 2}, decisions={}, versions={}, classes=["MEL", "NV", "BCC"])
    with pytest.raises(DidgenError, match="differ in the kind of a field"):
        export(prepare_export(mine, "parquet", tmp_path / "out"))
    assert not list(tmp_path.glob("out*"))
