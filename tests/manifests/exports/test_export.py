"""Tests of export: other people's readers get every sample, and nothing is half there."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torchvision
from datasets import ClassLabel, load_dataset
from datasets import Image as ImageFeature
from huggingface_hub import DatasetCard
from PIL import Image

from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.exports.export import export
from didgen.manifests.exports.sound_run import TARGETS, Export, prepare_export
from didgen.manifests.privacy.pseudonyms import KEY_NAME
from didgen.manifests.provenance.trained_on import TrainedOn
from didgen.manifests.recipes.mix import MixRecipe
from didgen.manifests.runs.claim import start_run
from didgen.manifests.runs.finish import finish_run
from didgen.manifests.runs.mix import mix, prepare_mix
from didgen.manifests.shards.shard import Sample, iterate, shard_path, write_shard
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.pictures import decoded

CONFIGS: tuple[Config, ...] = ("images", "pairs")


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_DATASETS_OFFLINE", True)


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory) -> dict[str, Path]:
    """The run in all three layouts."""
    root = tmp_path_factory.mktemp("exports")
    names = {"imagefolder": "folders", "parquet": "tables", "nnunet": "Dataset501_Test"}
    for to in TARGETS:
        export(prepare_export(run, to, root / names[to]))
    return {to: root / names[to] for to in TARGETS}


@pytest.fixture(scope="module")
def mixed(source, run, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("mixes") / "mix"
    mix(prepare_mix(MixRecipe(source=source, run=run, ratio=0.5, shard_size=7)), out)
    return out


@pytest.mark.parametrize("to", TARGETS)
def test_what_the_model_was_trained_on_goes_along(source, make_run, tmp_path, to):
    trained_on = TrainedOn.of(SourceManifest.read(source).select(split="train"))
    made = make_run(tmp_path / "run", trained_on=trained_on)
    out = tmp_path / "Dataset502_Test"
    export(prepare_export(made, to, out), progress=None)
    assert (out / "trained_on.jsonl").read_bytes() == trained_on.text()
    assert "`trained_on.jsonl` lists 18 real images" in (out / "README.md").read_text()
    if to != "nnunet":
        loaded = load(out, "images", tmp_path / "cache")
        assert sum(len(part) for part in loaded.values()) == 10


def load(folder: Path, config: str, cache: Path):
    return load_dataset(str(folder), config, cache_dir=str(cache))


def test_datasets_reads_image_folders(exported, run, tmp_path):
    images = load(exported["imagefolder"], "images", tmp_path)["train"]
    names = images.features["label"].names
    expected = {
        (json.loads(s.members["json"])["class"], decoded(s.members["jpg"]).tobytes())
        for s in iterate(run, "images")
    }
    found = {(names[row["label"]], np.asarray(row["image"]).tobytes()) for row in images}
    assert found == expected and len(images) == len(expected) == 10


def test_datasets_reads_the_folder_of_a_single_class(make_run, tmp_path):
    run = make_run(tmp_path / "run", classes=["MEL", "BCC"], labels=("MEL",))
    export(prepare_export(run, "imagefolder", tmp_path / "out"), progress=None)
    images = load(tmp_path / "out", "images", tmp_path / "cache")["train"]
    assert images.features["label"].names == ["MEL"] and len(images) == 10


@pytest.mark.parametrize("how", ["by config", "by folder"])
def test_datasets_reads_masks_from_metadata(exported, run, tmp_path, how):
    folder = exported["imagefolder"]
    if how == "by config":
        pairs = load(folder, "pairs", tmp_path)["train"]
    else:
        cache = str(tmp_path)
        pairs = load_dataset("imagefolder", data_dir=str(folder / "pairs"), cache_dir=cache)
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


def test_torchvision_reads_image_folders(exported):
    images = torchvision.datasets.ImageFolder(str(exported["imagefolder"] / "images" / "train"))
    assert images.classes == ["BCC", "MEL"]
    assert [target for _, target in images] == [0] * 5 + [1] * 5


def test_image_bytes_pass_through(exported, run):
    root = exported["imagefolder"]
    for sample in iterate(run, "images"):
        label = json.loads(sample.members["json"])["class"]
        path = root / "images" / "train" / label / f"{sample.key}.jpg"
        assert path.read_bytes() == sample.members["jpg"]
    for sample in iterate(run, "pairs"):
        path = root / "pairs" / "train" / "masks" / f"{sample.key}.png"
        assert path.read_bytes() == sample.members["mask.png"]


@pytest.mark.parametrize("config", CONFIGS)
def test_parquet_comes_back_byte_for_byte(exported, run, tmp_path, config):
    folder = exported["parquet"]
    assert sorted(path.name for path in (folder / config).iterdir()) == [
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
    ]
    loaded = load(folder, config, tmp_path)
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


def test_parquet_has_a_card_the_hub_takes(exported):
    data = DatasetCard.load(exported["parquet"] / "README.md").data
    assert data.license == "cc-by-4.0"
    assert data.configs[1]["data_files"] == [{"split": "train", "path": "pairs/train-*.parquet"}]


def test_nnunet_raw_data(exported, run):
    root = exported["nnunet"]
    told = json.loads((root / "dataset.json").read_text())
    assert told["channel_names"] == {"0": "R", "1": "G", "2": "B"}
    assert told["labels"] == {"background": 0, "lesion": 1}
    assert (told["numTraining"], told["file_ending"]) == (6, ".png")
    samples = {sample.key: sample for sample in iterate(run, "pairs")}
    assert {p.name for p in (root / "imagesTr").iterdir()} == {f"{k}_0000.png" for k in samples}
    assert {p.name for p in (root / "labelsTr").iterdir()} == {f"{k}.png" for k in samples}
    for key, sample in samples.items():
        image = Image.open(root / "imagesTr" / f"{key}_0000.png")
        label = Image.open(root / "labelsTr" / f"{key}.png")
        assert (image.format, image.mode, label.mode) == ("PNG", "RGB", "L")
        np.testing.assert_array_equal(image, decoded(sample.members["jpg"]))
        np.testing.assert_array_equal(label, decoded(sample.members["mask.png"]) // 255)
        assert set(np.unique(label)) == {0, 1}
    assert not (root / "splits_final.json").exists()


def test_a_mix_keeps_its_splits_everywhere(mixed, tmp_path):
    counts = {"train": 18, "val": 6, "test": 6}
    # 9 wanted, 6 made.
    synthetic = {"train": 6, "val": 0, "test": 0}
    for to in ("imagefolder", "parquet"):
        job = prepare_export(mixed, to, tmp_path / to)
        export(job)
        loaded = load(tmp_path / to, "pairs", tmp_path / "cache")
        for split, part in loaded.items():
            origins = list(part["origin"])
            assert origins.count("real") == counts[split]
            assert origins.count("synthetic") == synthetic[split]
    # One of the six has no label.
    assert load(tmp_path / "parquet", "images", tmp_path / "cache")["test"].num_rows == 5

    out = tmp_path / "Dataset502_Mix"
    export(prepare_export(mixed, "nnunet", out))
    (fold,) = json.loads((out / "splits_final.json").read_text())
    training = {path.name.removesuffix("_0000.png") for path in (out / "imagesTr").iterdir()}
    assert set(fold["train"]) | set(fold["val"]) == training
    assert len(fold["val"]) == 6
    assert not any("synthetic" in key for key in fold["val"])
    tested = [path.name for path in (out / "imagesTs").iterdir()]
    assert len(tested) == len(list((out / "labelsTs").iterdir())) == 6
    assert json.loads((out / "dataset.json").read_text())["numTraining"] == len(training) == 30


def test_pseudonyms_need_the_source_of_the_run(make_source, make_run, tmp_path, monkeypatch):
    source = make_source(tmp_path / "one")
    recipe = {"kind": "augment", "model": "mini", "source": "gone"}
    run = make_run(tmp_path / "run", layouts=("drawn", "ISIC_0000001"), recipe=recipe)

    def hidden(out: str, given: Path | None = None) -> Export:
        return prepare_export(run, "parquet", tmp_path / out, pseudonymise=True, source=given)

    with pytest.raises(DidgenError, match=r"is not at hand, and its key .* by `--source`"):
        hidden("out")
    (tmp_path / "other").mkdir()
    replace(SourceManifest.read(source), records=()).write(tmp_path / "other")
    with pytest.raises(DidgenError, match=r"has no image ISIC_0000001, which .*run names; name"):
        hidden("out", tmp_path / "other")
    job = hidden("out", source)
    assert job.pseudonyms is not None and not (source / KEY_NAME).exists()
    export(job)
    assert (source / KEY_NAME).is_file()
    # As it was given to the run: relative to the working folder.
    source.rename(tmp_path / "gone")
    monkeypatch.chdir(tmp_path)
    assert hidden("again").pseudonyms


def test_a_run_that_names_no_real_image_needs_no_key(run, tmp_path):
    job = prepare_export(run, "parquet", tmp_path / "out", pseudonymise=True)
    assert job.pseudonyms is None
    export(job)
    assert [one.name for one in job.manifest.made_from] == ["mini"]


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("damage", ["flip", "delete", "sidecar"])
def test_nothing_is_exported_of_a_run_that_is_not_whole(make_run, tmp_path, to, damage):
    mine = make_run(tmp_path / "run")
    tar = shard_path(mine, "pairs", 1)
    if damage == "flip":
        data = bytearray(tar.read_bytes())
        data[700] ^= 1
        tar.write_bytes(data)
    elif damage == "delete":
        tar.unlink()
    else:
        tar.with_suffix(".json").write_text("{}")
    with pytest.raises(DidgenError, match=r"pairs-000001.*didgen augment"):
        prepare_export(mine, to, tmp_path / "Dataset501_Test")
    assert not (tmp_path / "Dataset501_Test").exists()


def test_shards_that_the_manifest_does_not_list_are_left_out(make_run, tmp_path):
    mine = make_run(tmp_path / "run")
    shutil.copy(shard_path(mine, "pairs", 0), shard_path(mine, "pairs", 7))
    job = prepare_export(mine, "parquet", tmp_path / "out")
    assert job.counts() == {("images", "train"): 10, ("pairs", "train"): 6}


@pytest.mark.parametrize("to", TARGETS)
def test_what_exists_is_refused_and_untouched(run, tmp_path, to):
    (tmp_path / "Dataset501_Test").mkdir()
    with pytest.raises(DidgenError, match="exists already"):
        prepare_export(run, to, tmp_path / "Dataset501_Test")
    assert not list((tmp_path / "Dataset501_Test").iterdir())


def test_nnunet_wants_its_kind_of_name_and_pairs(run, tmp_path):
    with pytest.raises(DidgenError, match="Dataset501_DiDGen"):
        prepare_export(run, "nnunet", tmp_path / "mine")
    only = tmp_path / "only"
    start_run(only, fingerprint="f00d", recipe={})
    image = next(iterate(run, "images"))
    write_shard(only, "images", 0, [image], fingerprint="f00d", versions={})
    finish_run(only, {"images": 1}, decisions={}, versions={}, classes=["MEL"])
    with pytest.raises(DidgenError, match="has no pairs"):
        prepare_export(only, "nnunet", tmp_path / "Dataset501_Test")


@pytest.mark.parametrize("name", ["../evil", "a/b", "..", ".hidden", "__hidden", "a\nb", ""])
def test_a_class_that_cannot_name_a_folder_is_refused(make_run, tmp_path, name):
    mine = make_run(tmp_path / "run", classes=["MEL", name, "BCC"])
    with pytest.raises(DidgenError, match="cannot name a folder"):
        prepare_export(mine, "imagefolder", tmp_path / "out")
    export(prepare_export(mine, "parquet", tmp_path / "tables"))


def test_pairs_without_a_class_have_none_in_the_table(run, tmp_path):
    mine = tmp_path / "run"
    start_run(mine, fingerprint="f00d", recipe={})
    pairs = [
        Sample(s.key, s.members | {"json": json.dumps({"label": -1, "class": ""}).encode()})
        for s in iterate(run, "pairs")
    ]
    write_shard(mine, "pairs", 0, pairs, fingerprint="f00d", versions={})
    write_shard(mine, "pairs", 1, [], fingerprint="f00d", versions={})
    finish_run(mine, {"pairs": 2}, decisions={}, versions={}, classes=["MEL"])
    export(prepare_export(mine, "parquet", tmp_path / "out"))
    loaded = load(tmp_path / "out", "pairs", tmp_path / "cache")["train"]
    assert loaded["label"][:] == [None] * 6


@pytest.mark.parametrize("index", [b"3", b"-1", b"x", b"\xff", b""])
@pytest.mark.parametrize("to", ["imagefolder", "parquet"])
def test_an_image_without_a_class_of_its_run_is_named(run, tmp_path, to, index):
    mine = tmp_path / "run"
    start_run(mine, fingerprint="f00d", recipe={})
    image = next(iterate(run, "images"))
    sample = Sample(image.key, image.members | {"cls": index})
    write_shard(mine, "images", 0, [sample], fingerprint="f00d", versions={})
    finish_run(mine, {"images": 1}, decisions={}, versions={}, classes=["MEL", "NV", "BCC"])
    with pytest.raises(DidgenError, match="without a class of its run"):
        export(prepare_export(mine, to, tmp_path / "out"))
    assert not list(tmp_path.glob("out*"))


def test_records_of_two_kinds_are_named(run, tmp_path):
    mine = tmp_path / "run"
    start_run(mine, fingerprint="f00d", recipe={})
    for index, (sample, score) in enumerate(
        zip(islice(iterate(run, "images"), 2), (0.5, "high"), strict=True)
    ):
        members = sample.members | {"json": json.dumps({"score": score}).encode()}
        sample = Sample(sample.key, members)
        write_shard(mine, "images", index, [sample], fingerprint="f00d", versions={})
    finish_run(mine, {"images": 2}, decisions={}, versions={}, classes=["MEL", "NV", "BCC"])
    with pytest.raises(DidgenError, match="differ in the kind of a field"):
        export(prepare_export(mine, "parquet", tmp_path / "out"))
    assert not list(tmp_path.glob("out*"))


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


def test_progress_counts_shards(run, tmp_path):
    hashed: list[tuple[int, int]] = []
    written: list[tuple[int, int]] = []
    job = prepare_export(run, "parquet", tmp_path / "out", lambda *at: hashed.append(at))
    export(job, lambda *at: written.append(at))
    assert hashed == written == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_killed_export_leaves_nothing_under_its_name_and_is_done_again(run, tmp_path):
    code = (
        "import sys, time; from pathlib import Path; "
        "from didgen.manifests.exports.export import export; "
        "from didgen.manifests.exports.sound_run import prepare_export; "
        "job = prepare_export(Path(sys.argv[1]), 'imagefolder', Path(sys.argv[2])); "
        "export(job, lambda *at: (print('on its way', flush=True), time.sleep(60)))"
    )
    out = tmp_path / "out"
    command = [sys.executable, "-c", code, str(run), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "on its way\n"
        process.send_signal(signal.SIGKILL)
    assert not out.exists()
    assert [path.suffix for path in tmp_path.iterdir()] == [".tmp"]
    export(prepare_export(run, "imagefolder", out))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert len(list(out.rglob("*.jpg"))) == 16
