"""Tests of admission: candidates become records or rejections, and each has one split."""

import shutil
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from PIL import Image

from didgen.manifests.errors import DidgenError
from didgen.manifests.importers.admission import (
    LONGEST_KEY,
    Import,
    ImportOptions,
    admit,
)
from didgen.manifests.importers.finding.harvest import Candidate, Harvest
from didgen.manifests.importers.folder import import_folder
from didgen.manifests.provenance.trained_on import TrainedOn
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.commands import Command
from tests.fixtures.pictures import write_box, write_noise, write_picture


def candidate(folder: Path, key: str, **fields: Any) -> Candidate:
    """An image of noise on disk, as an importer found it."""
    image = fields.pop("image", folder / f"{key}.png")
    if not image.exists():
        write_noise(image, crc32(key.encode()))
    given = {
        "mask": None,
        "label": None,
        "lesion_id": key,
        "split": None,
        "source": "photos",
        "licence": "CC0-1.0",
    }
    return Candidate(key=key, image=image, **given | fields)


def admitted(folder: Path, *candidates: Candidate, **options: Any) -> Import:
    """The import of some candidates."""
    asked: dict[str, Any] = {"seed": 0, "fractions": (0.6, 0.2, 0.2)} | options
    given = ImportOptions(**asked)
    return admit(Harvest(list(candidates)), importer="folder", root=folder, options=given)


def reasons(result: Import) -> dict[str, str]:
    """Why each file was left out."""
    return {Path(one.file).name: one.reason for one in result.rejections}


def test_records_come_in_the_order_of_their_keys_with_size_and_hash(tmp_path: Path) -> None:
    result = admitted(tmp_path, candidate(tmp_path, "b"), candidate(tmp_path, "a"))
    assert [record.key for record in result.manifest.records] == ["a", "b"]
    assert {(record.width, record.height) for record in result.manifest.records} == {(80, 64)}
    assert len({record.sha256 for record in result.manifest.records}) == 2
    assert result.manifest.header.importer == "folder"


def test_of_two_alike_the_one_with_a_label_stays(tmp_path: Path) -> None:
    write_noise(tmp_path / "one.png", 1)
    (tmp_path / "two.png").write_bytes((tmp_path / "one.png").read_bytes())
    plain = candidate(tmp_path, "same", image=tmp_path / "one.png")
    labelled = candidate(tmp_path, "same", image=tmp_path / "two.png", label="MEL")
    copy = candidate(tmp_path, "z", image=tmp_path / "one.png")
    result = admitted(tmp_path, plain, labelled, copy)
    (record,) = result.manifest.records
    assert (record.key, record.label, record.image) == ("same", "MEL", "two.png")
    assert [one.reason for one in result.rejections] == ["duplicate-id", "duplicate-content"]


def test_a_lesion_draws_its_images_to_the_split_that_one_is_given(tmp_path: Path) -> None:
    first = candidate(tmp_path, "a", lesion_id="one", split="test")
    free = candidate(tmp_path, "c", lesion_id="one")
    result = admitted(tmp_path, first, free)
    assert {r.key: r.split for r in result.manifest.records} == {"a": "test", "c": "test"}
    other = candidate(tmp_path, "b", lesion_id="one", split="val")
    with pytest.raises(DidgenError, match=r"gives the lesion one to test .* and val .*b\.png"):
        admitted(tmp_path, first, other, free)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("torn", "unreadable-mask"),
        ("grey", "non-binary-mask"),
        ("small", "mask-size"),
        ("black", "empty-mask"),
    ],
)
def test_a_faulty_mask_costs_its_image(tmp_path: Path, fault: str, reason: str) -> None:
    mask = tmp_path / "masks" / "a.png"
    write_box(mask, (64, 64) if fault == "small" else (80, 64))
    if fault == "torn":
        mask.write_bytes(mask.read_bytes()[:40])
    elif fault == "grey":
        write_picture(mask, np.arange(80 * 64).reshape(64, 80).astype(np.uint8))
    elif fault == "black":
        write_picture(mask, np.zeros((64, 80), np.uint8))
    result = admitted(tmp_path, candidate(tmp_path, "a", mask=mask), candidate(tmp_path, "b"))
    assert [record.key for record in result.manifest.records] == ["b"]
    (rejection,) = result.rejections
    assert rejection.reason == reason and str(mask) in rejection.sentence


def test_a_name_that_a_mix_could_not_hold_is_left_out(tmp_path: Path) -> None:
    fits, long = "n" * LONGEST_KEY, "m" * (LONGEST_KEY + 1)
    result = admitted(tmp_path, candidate(tmp_path, fits), candidate(tmp_path, long))
    assert [record.key for record in result.manifest.records] == [fits]
    assert reasons(result) == {f"{long}.png": "bad-record"}


def test_what_a_model_knows_goes_to_train_or_is_left_out(tmp_path: Path) -> None:
    known, held_out, free = (
        candidate(tmp_path, "a", lesion_id="one"),
        candidate(tmp_path, "b", lesion_id="two", split="test"),
        candidate(tmp_path, "c", lesion_id="three", split="test"),
    )
    plain = admitted(tmp_path, known, held_out, free)
    seen = TrainedOn.of([r for r in plain.manifest.records if r.key in ("a", "b")])
    result = admitted(tmp_path, known, held_out, free, for_models=[("mini", seen)])
    assert {r.key: r.split for r in result.manifest.records} == {"a": "train", "c": "test"}
    assert reasons(result) == {"b.png": "trained-on"}
    assert result.manifest.header.for_models == ("mini",)
    with pytest.raises(DidgenError, match=r"No trained_on\.jsonl was found for the model bare"):
        admitted(tmp_path, known, for_models=[("bare", TrainedOn())])


def test_nothing_sound_is_one_sentence_with_the_first_reason(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"torn")
    with pytest.raises(
        DidgenError, match=r"Nothing could be imported .*the first reason: .*a\.png"
    ):
        admitted(tmp_path, candidate(tmp_path, "a"))


def test_what_an_importer_left_out_is_written_beside_the_records(tmp_path: Path) -> None:
    harvest = Harvest([candidate(tmp_path, "a")])
    harvest.reject(tmp_path / "odd.png", "missing-mask", "odd.png has no mask; draw one.")
    result = admit(harvest, importer="folder", root=tmp_path, options=ImportOptions())
    result.write(tmp_path / "source")
    assert "odd.png has no mask" in (tmp_path / "source" / "rejected.jsonl").read_text()
    assert SourceManifest.read(tmp_path / "source") == result.manifest


def pair_of_classes(root: Path) -> Path:
    """Two classes of three images."""
    for place, label in enumerate(("benign", "malignant")):
        for number in range(3):
            write_noise(root / label / f"{number}.png", 10 * place + number)
    return root


def test_namesakes_of_two_classes_are_both_imported(tmp_path: Path) -> None:
    result = import_folder(pair_of_classes(tmp_path), licence="own")
    assert result.rejections == ()
    keys = {record.key: record.label for record in result.manifest.records}
    assert keys == {
        f"{label}-{number}": label for label in ("benign", "malignant") for number in range(3)
    }


def test_namesakes_of_two_splits_are_both_imported(tmp_path: Path) -> None:
    for place, folder in enumerate(("train/a", "train/b", "test/a", "test/b")):
        write_noise(tmp_path / folder / "1.png", place)
    result = import_folder(tmp_path, licence="own")
    assert {r.key for r in result.manifest.records} == {
        "train-a-1",
        "train-b-1",
        "test-a-1",
        "test-b-1",
    }
    assert result.rejections == ()


@pytest.mark.parametrize("name", ["copy.png", "copy.bmp"])
def test_the_same_pixels_under_two_labels_are_both_left_out(tmp_path: Path, name: str) -> None:
    pair_of_classes(tmp_path)
    with Image.open(tmp_path / "benign" / "0.png") as image:
        image.save(tmp_path / "malignant" / name)
    result = import_folder(tmp_path, licence="own")
    assert len(result.manifest.records) == 5
    assert [r.reason for r in result.rejections] == ["contradiction"] * 2
    for rejection in result.rejections:
        assert "benign" in rejection.sentence and "malignant" in rejection.sentence


def test_one_image_twice_under_two_labels_is_left_out(tmp_path: Path) -> None:
    for name in "abcd":
        write_noise(tmp_path / "own" / f"{name}.png", ord(name))
    (tmp_path / "t.csv").write_text("image,label\na,MEL\nb,NV\nc,MEL\nd,NV\na,NV\n")
    result = import_folder(tmp_path / "own", labels=tmp_path / "t.csv", licence="own")
    assert [r.key for r in result.manifest.records] == ["b", "c", "d"]
    (rejection,) = result.rejections
    assert rejection.reason == "contradiction"
    assert "MEL" in rejection.sentence and "NV" in rejection.sentence


def test_copies_of_one_label_are_one_image_and_told_where_they_stand_in_two_splits(
    tmp_path: Path,
) -> None:
    for number, name in enumerate(("train/a/1", "train/b/2", "test/a/3", "test/b/4")):
        write_noise(tmp_path / f"{name}.png", number)
    shutil.copy(tmp_path / "train/a/1.png", tmp_path / "test/a/9.png")
    result = import_folder(tmp_path, licence="own")
    assert [r.reason for r in result.rejections] == ["duplicate-content"]
    assert any("Warning: 1 images stood in two splits" in note for note in result.notes)


@pytest.mark.parametrize("how", ["torn", "small", "format", "closed row", "absent"])
def test_a_class_that_is_lost_whole_ends_the_import(tmp_path: Path, how: str) -> None:
    pair_of_classes(tmp_path / "own")
    labels = None
    lost = tmp_path / "own" / "malignant"
    for path in sorted(lost.iterdir()):
        if how == "torn":
            path.write_bytes(path.read_bytes()[:100])
        elif how == "small":
            write_noise(path, 1, (80, 63))
        elif how == "format":
            path.rename(path.with_suffix(".tif"))
    if how in ("closed row", "absent"):
        labels = tmp_path / "t.csv"
        ends = (",x", "") if how == "closed row" else ("", "")
        rows = [f"benign/{n}.png,benign" for n in range(3)]
        rows += [f"malignant/{n}.png,malignant{ends[0]}" for n in range(3)]
        labels.write_text("\n".join(["image,label,split", *rows]))
        if how == "absent":
            shutil.rmtree(lost)
    with pytest.raises(DidgenError, match=r"No image of the class malignant in .*; one reason: "):
        import_folder(tmp_path / "own", labels=labels, licence="own")


@pytest.mark.parametrize("size", [(1, 1), (8, 4000), (63, 63), (64, 63)])
def test_images_of_too_small_a_central_square_are_rejected(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    write_noise(tmp_path / "a.png", 1, (64, 64))
    write_noise(tmp_path / "b.png", 2, size)
    result = import_folder(tmp_path, licence="own")
    assert [r.key for r in result.manifest.records] == ["a"]
    (rejection,) = result.rejections
    assert rejection.reason == "too-small"
    assert f"is {size[0]}x{size[1]} pixels" in rejection.sentence


def test_nothing_is_written_of_a_refused_import(tmp_path: Path, command: Command) -> None:
    pair_of_classes(tmp_path / "own")
    for path in (tmp_path / "own" / "malignant").iterdir():
        path.write_bytes(b"torn")
    out = tmp_path / "out"
    outcome = command("import", "folder", tmp_path / "own", "--licence", "own", "--out", out)
    assert outcome.code == 1 and not out.exists()
    assert "No image of the class malignant" in outcome.sentence
