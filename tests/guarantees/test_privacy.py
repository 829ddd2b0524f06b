"""Tests that nothing of a clinic leaves with what mix and export write, but what it was asked to.

A marker stands in every place that a name can have: metadata of photographs and masks, file names,
the folder of the photographs, lesion ids, and the path of the home folder.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from didgen.manifests.choices import ExportForm
from didgen.manifests.exports.sound_run import TARGETS
from didgen.manifests.files import read_json, read_json_lines, sha256_of, write_json
from didgen.manifests.images import read_image
from didgen.manifests.privacy.paths import HERE, LEFT_OUT
from didgen.manifests.privacy.pseudonyms import KEY_NAME, Pseudonyms
from didgen.manifests.provenance.trained_on import TrainedOn
from didgen.manifests.recipes.mix import MixRecipe
from didgen.manifests.runs.finish import Provenance
from didgen.manifests.runs.mix import mix, prepare_mix
from didgen.manifests.runs.mixed import TREATED
from didgen.manifests.runs.verify import verify
from didgen.manifests.shards.index import Ingredient, read_manifest
from didgen.manifests.shards.shard import Sample, iterate, read_sidecars
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.commands import Command, didgen
from tests.fixtures.metadata import WIDE, files_with, marked_jpeg, marked_png, profile
from tests.fixtures.pictures import decoded, encoded, noise, on_its_side, speckles
from tests.fixtures.runs import RECIPE, write_run
from tests.fixtures.samples import CLASSES, noise_sample, whole_sample

META, HOME = "METAmueller", "HOMEanna"
NAMES = {"file": "FILEmueller", "folder": "FOLDERclinic", "lesion": "LESIONmueller"}
"""Markers of what pseudonyms stand for; they contain letters that no hash has."""


def photograph(number: int) -> tuple[str, bytes]:
    """The ending and the bytes of a photograph; every form in turn, upright JPEGs most often."""
    pixels = noise(number, 80, 96)
    match number % 8:
        case 0:
            return "jpg", marked_jpeg(pixels, META, orientation=6)
        case 1:
            return "jpeg", marked_jpeg(pixels, META, icc=profile(META, WIDE))
        case 2:
            return "png", marked_png(pixels, META)
        case 3:
            exif, xmp = on_its_side(), META.encode()
            return "webp", encoded(pixels, "WEBP", exif=exif, xmp=xmp, icc_profile=profile(META))
        case 4:
            return "jpg", marked_jpeg(pixels, META, progressive=True)
        case _:
            return "jpg", marked_jpeg(pixels, META, subsampling=2)


def import_clinic(home: Path) -> Path:
    """The source of 24 photographs with masks, imported by the command line."""
    photos, masks = home / NAMES["folder"], home / f"masks {NAMES['folder']}"
    photos.mkdir(parents=True)
    masks.mkdir()
    rows = ["image,label,lesion_id,split"]
    for number in range(24):
        ending, data = photograph(number)
        name = f"{NAMES['file']}_{number:02d}"
        (photos / f"{name}.{ending}").write_bytes(data)
        turned = number % 8 in (0, 3)
        size = (96, 80) if turned else (80, 96)
        (masks / f"{name}.png").write_bytes(marked_png(speckles(number, *size), META))
        split = ("train", "train", "val", "test")[number // 6]
        rows.append(f"{name},{CLASSES[number % 3]},{NAMES['lesion']} {number},{split}")
    (home / "labels.csv").write_text("\n".join(rows))
    source = home / "source"
    arguments = ["import", "folder", photos, "--masks", masks, "--labels", home / "labels.csv"]
    assert didgen(*arguments, "--licence", "CC-BY-4.0", "--out", source) == 0
    return source


def write_clinic_run(home: Path, source: Path) -> Path:
    """A run by a local model with the source's masks as layouts, and scores of the copy check."""
    records = SourceManifest.read(source).select(split="train")
    recipe: dict[str, Any] = {
        **RECIPE,
        "model": str(home / "model"),
        "source": str(source),
        "captions": str(home / "captions.jsonl"),
    }

    def sample(number: int, layout: str) -> Sample:
        made = noise_sample("pairs", number, CLASSES[number % 3], layout)
        copy = {"nearest": records[0].key, "hash_nearest": records[1].key, "is_copy": False}
        return Sample(made.key, made.members, made.row | {"copy": copy})

    pairs = [sample(n, ("drawn", records[n].key)[n % 2]) for n in range(6)]
    images = [noise_sample("images", number, CLASSES[number % 3]) for number in range(6)]
    known = f"unknown, because no trained_on.jsonl was found for {home / 'model'}: see to it"
    made_from = [
        Ingredient(kind="model", name=str(home / "model"), licence=None, sha256="0" * 64),
        Ingredient(kind="data", name=f"{NAMES['folder']}, 12 real images", licence="CC0-1.0"),
    ]
    return write_run(
        home / "run",
        {"images": [images], "pairs": [pairs]},
        recipe=recipe,
        classes=list(CLASSES),
        decisions={"contamination": known, "device": "cpu"},
        provenance=Provenance(made_from, TrainedOn.of(records)),
    )


def age(run: Path, home: Path) -> None:
    """Make the records of a run those of an older version, which had paths as they were given."""
    older = {"model": str(home / "model"), "source": str(home / "source")}
    card = run / "README.md"
    card.write_text(card.read_text() + f"\n    source: {home / 'source'}\n")
    for name in ("run.json", "manifest.json"):
        record = read_json(run / name)
        record["recipe"] |= older
        if name == "manifest.json":
            record["made_from"][0]["name"] = str(home / "model")
            record["decisions"]["contamination"] = (
                f"unknown, because no trained_on.jsonl was found for {home / 'model'}: see to it"
            )
            record["documents"]["README.md"] = sha256_of(card)
        write_json(run / name, record)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with a source, a run of an older version, and mixes of both kinds."""
    home = tmp_path_factory.mktemp("homes") / HOME
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        source = import_clinic(home)
        run = write_clinic_run(home, source)
        age(run, home)
        for name, options in (("plain", []), ("hidden", ["--pseudonymise"])):
            mixing = ["mix", source, run, "--ratio", 0.5, "--out", home / name, "--shard-size", 7]
            assert didgen(*mixing, *options) == 0
    return home


def export_of(home: Path, run: str, form: ExportForm, out: Path, *options: str) -> Path:
    out = out / "Dataset501_Out"
    assert didgen("export", home / run, "--to", form, "--out", out, *options) == 0
    return out


@pytest.mark.parametrize("name", ["plain", "hidden"])
def test_a_mix_has_nothing_of_the_metadata_and_no_path(home: Path, name: str) -> None:
    assert files_with(META, home / NAMES["folder"]), "the photographs are marked"
    assert files_with(META, home / name) == files_with(HOME, home / name) == []
    assert all(verdict.status == "ok" for verdict in verify(home / name))


def test_names_are_there_unless_they_are_pseudonymised(home: Path) -> None:
    for marker in NAMES.values():
        assert files_with(marker, home / "plain")
        assert files_with(marker, home / "hidden") == []


@pytest.mark.parametrize("form", TARGETS)
@pytest.mark.parametrize("run", ["plain", "hidden", "run"])
def test_exports_have_nothing_of_the_metadata_and_no_path(
    home: Path, tmp_path: Path, run: str, form: ExportForm
) -> None:
    out = export_of(home, run, form, tmp_path)
    assert files_with(META, out) == files_with(HOME, out) == []
    named = [marker for marker in NAMES.values() if files_with(marker, out)]
    assert bool(named) == (run != "hidden")


@pytest.mark.parametrize("form", TARGETS)
@pytest.mark.parametrize("run", ["plain", "hidden", "run"])
def test_pseudonymised_exports_name_nobody(
    home: Path, tmp_path: Path, run: str, form: ExportForm
) -> None:
    out = export_of(home, run, form, tmp_path, "--pseudonymise")
    for marker in (META, HOME, *NAMES.values()):
        assert files_with(marker, out) == []


def test_the_key_lies_with_the_source_alone(home: Path, tmp_path: Path) -> None:
    key = home / "source" / KEY_NAME
    assert key.stat().st_mode & 0o777 == 0o600
    out = export_of(home, "plain", "parquet", tmp_path, "--pseudonymise")
    raw = bytes.fromhex(key.read_text()).decode("latin-1")
    for folder in (home / "plain", home / "hidden", home / "run", out):
        assert files_with(key.read_text().strip(), folder) == []
        assert not any(raw.encode("latin-1") in f.read_bytes() for f in folder.rglob("*.*"))


def test_pseudonyms_are_the_same_in_every_mix_and_export(home: Path, tmp_path: Path) -> None:
    out = export_of(home, "plain", "imagefolder", tmp_path, "--pseudonymise")
    exported = {path.stem for path in (out / "images").rglob("*.jpg")}
    mixed = {sample.key for sample in iterate(home / "hidden", "images")}
    assert exported == mixed
    names = Pseudonyms.of(home / "source")
    records = SourceManifest.read(home / "source").records
    assert {f"real-{names.name(record.key)}" for record in records} < mixed
    rows = [json.loads(sample.members["json"]) for sample in iterate(home / "hidden", "pairs")]
    lesions = {names.name(record.lesion_id) for record in records}
    assert {row["lesion_id"] for row in rows} - {""} == lesions
    guides = {row["layout"] for row in rows if row["origin"] == "synthetic"} - {"drawn"}
    assert guides <= {names.name(record.key) for record in records} and guides


def test_upright_jpegs_keep_their_pixels_and_the_others_are_counted(home: Path) -> None:
    source = SourceManifest.read(home / "source")
    paths = {record.key: source.image_path(record) for record in source.records}
    rows = {r["key"]: r for s in read_sidecars(home / "plain", "images") for r in s.rows}
    found: dict[str, int] = {}
    for sample in iterate(home / "plain", "images"):
        record = json.loads(sample.members["json"])
        if record["origin"] == "synthetic":
            assert TREATED not in rows[sample.key]
            continue
        treatment = rows[sample.key][TREATED]
        found[treatment] = found.get(treatment, 0) + 1
        if treatment == "stripped":
            np.testing.assert_array_equal(
                decoded(sample.members["jpg"]), read_image(paths[record["source_key"]])
            )
    assert found == {"stripped": 12, "turned": 6, "profiled": 3, "converted": 3}
    assert read_manifest(home / "plain").decisions["real images"] == (
        "24 without their metadata, 12 turned upright and encoded anew, "
        "6 brought to sRGB and encoded anew, 6 encoded as JPEG"
    ), "images and pairs together"


def test_what_is_left_out_of_a_recipe_is_said(home: Path) -> None:
    plain, hidden = (read_manifest(home / name) for name in ("plain", "hidden"))
    assert plain.recipe["source"] == f"{HERE}/../source" and plain.recipe["run"] == f"{HERE}/../run"
    assert hidden.recipe["source"] == hidden.recipe["run"] == LEFT_OUT
    assert [one.name for one in hidden.made_from] == [
        *("24 real images", "a local model", "12 real images")
    ]
    card = (home / "plain" / "README.md").read_text()
    assert f"source: {HERE}/../source\n" in card and LEFT_OUT not in card


@pytest.mark.parametrize("form", TARGETS)
def test_a_mix_of_an_older_version_is_stripped_when_it_is_exported(
    tmp_path: Path, command: Command, form: ExportForm
) -> None:
    pixels = noise(1, 48, 64)
    jpg, mask = marked_jpeg(pixels, META), marked_png(speckles(1, 48, 64), META)
    record = {"key": "real-a", "label": 0, "class": "MEL", "origin": "real"}
    row = {"label": "MEL", "origin": "real"}
    pairs = [whole_sample("pairs", "real-a", jpg, mask, 0, record, row)]
    run = write_run(
        tmp_path / "mix",
        {"pairs": [pairs]},
        recipe={"kind": "mix", "source": str(tmp_path / "nowhere"), "run": "/homes/x/run"},
        classes=["MEL"],
    )
    out = tmp_path / "Dataset501_Out"
    code, printed, _ = command("export", run, "--to", form, "--out", out)
    assert code == 0 and "images of an older mix or another maker: 1 without their" in printed
    assert files_with(META, out) == []


def test_a_model_knows_the_published_copies_of_what_it_saw(
    home: Path, tmp_path: Path, command: Command
) -> None:
    out = export_of(home, "hidden", "imagefolder", tmp_path)
    real = tmp_path / "copies" / "MEL"
    real.mkdir(parents=True)
    seen = SourceManifest.read(home / "source").select(split="train")
    names = Pseudonyms.of(home / "source")
    for number, record in enumerate(seen):
        (copy,) = (out / "images").rglob(f"real-{names.name(record.key)}.jpg")
        assert sha256_of(copy) not in {record.sha256 for record in seen}
        (real / f"new-{number}.jpg").write_bytes(copy.read_bytes())
    (real / "other.jpg").write_bytes(encoded(noise(999, 80, 96), "JPEG"))
    model = tmp_path / "model"
    model.mkdir()
    (model / "trained_on.jsonl").write_bytes(TrainedOn.of(seen).text())
    importing = ["import", "folder", real.parent, "--licence", "CC0-1.0"]
    code, printed, _ = command(*importing, "--for-model", model, "--out", tmp_path / "again")
    assert code == 0 and f"{len(seen)} of them are known to {model}" in printed
    again = SourceManifest.read(tmp_path / "again")
    held_out = [record for record in again.records if record.split != "train"]
    assert [record.key for record in held_out] in ([], ["other"])


def test_a_mix_that_is_pseudonymised_again_goes_on(home: Path, tmp_path: Path) -> None:
    before = {p: p.read_bytes() for p in (home / "hidden").rglob("*") if p.is_file()}
    recipe = MixRecipe(
        source=home / "source", run=home / "run", ratio=0.5, shard_size=7, pseudonymise=True
    )
    mix(prepare_mix(recipe), home / "hidden")
    assert {p: p.read_bytes() for p in (home / "hidden").rglob("*") if p.is_file()} == before


def test_numbers_of_ones_own_do_not_stand_beside_pseudonyms(home: Path, tmp_path: Path) -> None:
    """A clinic may count its patients like an archive its images."""
    source = SourceManifest.read(home / "source")
    hashes = {record.sha256 for record in source.records}
    rows = read_json_lines(home / "hidden" / "trained_on.jsonl")
    assert {row["sha256"] for row in rows} <= hashes
    assert {row["image"] for row in rows} == {row["lesion"] for row in rows} == {None}
    image = hashlib.sha256(b"of an archive").hexdigest()
    listed = TrainedOn.of(
        [source.records[0].model_copy(update={"key": "ISIC_0000001", "sha256": image})]
    )
    assert listed.without_numbers(hashes) == listed


def test_reports_and_pictures_carry_no_metadata(home: Path, tmp_path: Path) -> None:
    source = shutil.copytree(home / "source", tmp_path / "out" / "source")
    (source / KEY_NAME).unlink()
    key = SourceManifest.read(source).records[4].key
    for ending in ("png", "jpg", "webp"):
        picture = tmp_path / f"picture.{ending}"
        assert didgen("inspect", source, key, "--picture", picture) == 0
    assert didgen("caption", source, "--sheet", tmp_path / "captions.png") == 0
    assert didgen("report", home / "plain", "--out", tmp_path / "report.html") == 0
    assert files_with(META, tmp_path) == []
