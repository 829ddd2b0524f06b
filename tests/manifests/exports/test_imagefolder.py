"""Tests of ImageFolder: other people's readers get every sample."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import timm
import torchvision
from datasets import Image as ImageFeature
from datasets import load_dataset

from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.exports.export import export
from didgen.manifests.exports.sound_run import prepare_export
from didgen.manifests.recipes.mix import MixRecipe
from didgen.manifests.runs.claim import start_run
from didgen.manifests.runs.finish import finish_run
from didgen.manifests.runs.mix import mix, prepare_mix
from didgen.manifests.shards.shard import Sample, Stamp, iterate, write_shard
from didgen.manifests.sources.records import SPLITS, SourceManifest, SourceRecord
from tests.contracts.export import ExportContract, Picture, Pictures
from tests.fixtures.commands import Command
from tests.fixtures.environment import load
from tests.fixtures.pictures import decoded, write_noise
from tests.fixtures.samples import CLASSES
from tests.fixtures.sources import changed_source

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


@pytest.fixture(scope="module")
def uneven(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mix whose validation split has no nevus, and whose training split has no class BCC."""

    def change(manifest: SourceManifest) -> Iterator[SourceRecord]:
        for record in manifest.records:
            if (record.label, record.split) not in {("NV", "val"), ("BCC", "train")}:
                yield record

    folder = tmp_path_factory.mktemp("uneven")
    source = changed_source(folder, change)
    mix(prepare_mix(MixRecipe(source=source, run=run, ratio=0, config="images")), folder / "mix")
    return folder / "mix"


def test_a_class_that_a_split_lacks_shifts_no_other_class(
    uneven: Path, tmp_path: Path, command: Command
) -> None:
    out = tmp_path / "out"
    exported = command("export", uneven, "--to", "imagefolder", "--out", out)
    assert "images, val: no image of NV, whose folder is there and empty" in exported.out
    assert "images, train: no image of BCC" in exported.out
    names = sorted(CLASSES)
    lines = (out / "classes.txt").read_text().split()
    assert lines == list(CLASSES) != names
    for split in SPLITS:
        folder = out / "images" / split
        read = torchvision.datasets.ImageFolder(str(folder), allow_empty=True)
        assert read.classes == names
        labels = [Path(path).parent.name for path, _ in read.samples]
        assert [names[target] for target in read.targets] == labels
        # timm counts the folders that have images, unless it is given the classes.
        reader = timm.data.create_dataset(
            "",
            root=str(folder),
            class_map=str(out / "classes.txt"),  # type: ignore[arg-type] # timm reads a path too
        ).reader
        assert reader.class_to_idx == {name: place for place, name in enumerate(CLASSES)}
    parts = load(out, "images", tmp_path / "cache")
    assert {tuple(part.features["label"].names) for part in parts.values()} == {tuple(names)}
    card = " ".join((out / "README.md").read_text().split())
    assert "The split val has no image of NV. Its folder is there and empty" in card
    assert "`classes.txt` has the order above" in card


def test_an_export_with_empty_folders_is_imported_as_it_was(
    uneven: Path, tmp_path: Path, command: Command
) -> None:
    out, source = tmp_path / "out", tmp_path / "source"
    export(prepare_export(uneven, "imagefolder", out))
    # Those of the run are smaller than an import takes.
    for number, path in enumerate(sorted(out.glob("images/*/*/*.jpg"))):
        write_noise(path, number)
    importing = ["import", "folder", out, "--licence", "CC0-1.0", "--out", source]
    assert command(*importing).code == 0
    found = Counter((r.split, r.label) for r in SourceManifest.read(source).records)
    samples = (json.loads(s.members["json"]) for s in iterate(uneven, "images"))
    assert found == Counter((record["split"], record["class"]) for record in samples)


def test_datasets_reads_the_folder_of_a_single_class(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", classes=["MEL", "BCC"], labels=("MEL",))
    export(prepare_export(run, "imagefolder", tmp_path / "out"), progress=None)
    images = load(tmp_path / "out", "images", tmp_path / "cache")["train"]
    assert images.features["label"].names == ["MEL"] and len(images) == 10


@pytest.mark.parametrize("name", ["../evil", "a/b", "..", ".hidden", "__hidden", "a\nb", ""])
def test_a_class_that_cannot_name_a_folder_is_refused(
    make_run: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    mine = make_run(tmp_path / "run", classes=["MEL", name, "BCC"])
    with pytest.raises(DidgenError, match="cannot name a folder"):
        prepare_export(mine, "imagefolder", tmp_path / "out")
    export(prepare_export(mine, "parquet", tmp_path / "tables"))


def test_a_record_cannot_point_at_other_files(run: Path, tmp_path: Path) -> None:
    mine = tmp_path / "run"
    start_run(mine, fingerprint="f00d", recipe={})
    evil = {"class": "MEL", "file_name": "../../secret", "x_file_name": "/etc/passwd", "fine": 1}
    pairs = [
        Sample(s.key, s.members | {"json": json.dumps(evil).encode()})
        for s in iterate(run, "pairs")
    ]
    write_shard(mine, "pairs", 0, pairs, Stamp("f00d"))
    finish_run(mine, {"pairs": 1}, decisions={}, versions={}, classes=["MEL"])
    export(prepare_export(mine, "imagefolder", tmp_path / "out"))
    lines = (tmp_path / "out" / "pairs" / "train" / "metadata.jsonl").read_text().splitlines()
    for line in lines:
        row = json.loads(line)
        assert set(row) == {"file_name", "mask_file_name", "key", "class", "fine"}
        assert re.fullmatch(r"pairs-\d+\.jpg", row["file_name"])
