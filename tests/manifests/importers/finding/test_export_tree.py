"""Tests of didgen's own export coming back as it was."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from didgen.manifests.choices import Config
from didgen.manifests.exports.export import export
from didgen.manifests.exports.sound_run import prepare_export
from didgen.manifests.importers.finding.export_tree import is_export
from didgen.manifests.importers.folder import import_folder
from didgen.manifests.recipes.mix import MixRecipe
from didgen.manifests.runs.mix import mix, prepare_mix
from didgen.manifests.shards.shard import Sample
from didgen.manifests.sources.records import SourceManifest, SourceRecord
from tests.fixtures.pictures import encoded, smooth, square, write_picture
from tests.fixtures.runs import write_run
from tests.fixtures.samples import whole_sample

SIDE = 96
CLASSES = ("MEL", "NV")
MASK = square(SIDE, 20, 60).astype(np.uint8) * 255


def write_source(root: Path) -> Path:
    """An imported source of 24 images of 12 lesions, all with label and split, half with a mask."""
    rows = ["image,label,lesion_id,split"]
    for number in range(24):
        write_picture(root / "photos" / f"p{number}.jpg", smooth(number, SIDE), quality=95)
        if number % 2:
            write_picture(root / "masks" / f"p{number}.png", MASK)
        split = ("train", "train", "val", "test")[number // 2 % 4]
        rows.append(f"p{number},{CLASSES[number // 12]},lesion {number // 2},{split}")
    (root / "t.csv").write_text("\n".join(rows))
    masks, labels = root / "masks", root / "t.csv"
    found = import_folder(root / "photos", licence="CC0-1.0", masks=masks, labels=labels)
    found.write(root / "source")
    return root / "source"


def write_samples(root: Path) -> Path:
    """A run of ten images and ten pairs."""

    def sample(config: Config, number: int) -> Sample:
        key, index = f"{config}-{number:06d}", number % 2
        record = {"key": key, "prompt": "a lesion", "seed": number, "class": CLASSES[index]}
        row = {"label": CLASSES[index], "layout": "drawn" if config == "pairs" else ""}
        jpg = encoded(smooth(500 + number + 100 * (config == "pairs"), SIDE), "JPEG", quality=95)
        return whole_sample(config, key, jpg, encoded(MASK, "PNG"), index, record, row)

    return write_run(
        root,
        {
            "images": [[sample("images", n) for n in range(10)]],
            "pairs": [[sample("pairs", n) for n in range(10)]],
        },
        classes=list(CLASSES),
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[SourceManifest, Path]:
    """A source, and the ImageFolder export of its mix with a run."""
    root = tmp_path_factory.mktemp("exports")
    source = write_source(root)
    recipe = MixRecipe(source=source, run=write_samples(root / "run"), ratio=0.5, shard_size=7)
    mix(prepare_mix(recipe), root / "mix")
    export(prepare_export(root / "mix", "imagefolder", root / "export"))
    return SourceManifest.read(source), root / "export"


def test_an_export_comes_back_as_it_was(exported: tuple[SourceManifest, Path]) -> None:
    source, folder = exported
    result = import_folder(folder, licence="CC0-1.0")
    assert result.rejections == ()
    found = {record.key: record for record in result.manifest.records}
    for record in source.records:
        back = found[f"real-{record.key}"]
        assert (back.label, back.split, back.sha256) == (record.label, record.split, record.sha256)
        assert (back.mask is None) == (record.mask is None)
        assert record.mask is None or back.lesion_id == record.lesion_id
    others = [record for key, record in found.items() if key.startswith("synthetic-")]
    assert len(found) == 24 + len(others) and others
    assert {record.split for record in others} == {"train"}
    assert any("is an export of didgen" in note for note in result.notes)


@pytest.mark.parametrize("config", ["images", "pairs"])
def test_one_config_of_an_export_comes_back_alone(
    exported: tuple[SourceManifest, Path], config: str
) -> None:
    source, folder = exported
    result = import_folder(folder / config, licence="CC0-1.0")
    assert result.rejections == ()
    real = {r.key: r for r in result.manifest.records if r.key.startswith("real-")}

    def facts(record: SourceRecord) -> tuple[str | None, str]:
        return record.label, record.split

    expected = source.select(masked=True if config == "pairs" else None)
    assert {key: facts(one) for key, one in real.items()} == {
        f"real-{one.key}": facts(one) for one in expected
    }
    assert all((one.mask is not None) == (config == "pairs") for one in real.values())


def test_what_is_no_export_is_not_taken_for_one(tmp_path: Path) -> None:
    write_picture(tmp_path / "images" / "train" / "MEL" / "a.png", smooth(1, SIDE))
    assert not is_export(tmp_path)
    (tmp_path / "README.md").write_text("card")
    assert is_export(tmp_path)
    write_picture(tmp_path / "more" / "a.png", smooth(1, SIDE))
    assert not is_export(tmp_path)


def test_an_export_that_lost_an_image_says_so(
    exported: tuple[SourceManifest, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "pairs"
    shutil.copytree(exported[1] / "pairs", folder)
    row = json.loads((folder / "train" / "metadata.jsonl").read_text().splitlines()[0])
    (folder / "train" / row["mask_file_name"]).unlink()
    (rejection,) = import_folder(folder, licence="own").rejections
    assert rejection.reason == "missing-image" and row["key"] in rejection.sentence
