"""Tests of admission: candidates become records or rejections, and each has one split."""

from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest

from didgen.manifests.errors import DidgenError
from didgen.manifests.importers.admission import LONGEST_KEY, Candidate, Harvest, Import, admit
from didgen.manifests.provenance.trained_on import TrainedOn
from didgen.manifests.sources.records import SourceManifest
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
    given = {"classes": ("MEL", "NV"), "seed": 0, "fractions": (0.6, 0.2, 0.2)}
    return admit(Harvest(list(candidates)), importer="folder", root=folder, **given | options)


def reasons(result: Import) -> dict[str, str]:
    """Why each file was left out."""
    return {Path(one.file).name: one.reason for one in result.rejections}


def test_records_come_in_the_order_of_their_keys_with_size_and_hash(tmp_path: Path) -> None:
    result = admitted(tmp_path, candidate(tmp_path, "b"), candidate(tmp_path, "a"))
    assert [record.key for record in result.manifest.records] == ["a", "b"]
    assert {(record.width, record.height) for record in result.manifest.records} == {(10, 8)}
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


def test_a_lesion_keeps_the_first_split_that_it_is_given(tmp_path: Path) -> None:
    first = candidate(tmp_path, "a", lesion_id="one", split="test")
    other = candidate(tmp_path, "b", lesion_id="one", split="val")
    free = candidate(tmp_path, "c", lesion_id="one")
    result = admitted(tmp_path, first, other, free)
    assert {r.key: r.split for r in result.manifest.records} == {"a": "test", "c": "test"}
    assert reasons(result) == {"b.png": "split-conflict"}


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
    write_box(mask, (8, 8) if fault == "small" else (10, 8))
    if fault == "torn":
        mask.write_bytes(mask.read_bytes()[:40])
    elif fault == "grey":
        write_picture(mask, np.arange(80, dtype=np.uint8).reshape(8, 10))
    elif fault == "black":
        write_picture(mask, np.zeros((8, 10), np.uint8))
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


def test_a_class_of_rejected_images_alone_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"torn")
    torn = candidate(tmp_path, "a", label="Rash")
    sound = candidate(tmp_path, "b", label="MEL")
    result = admitted(tmp_path, torn, sound, classes=("MEL", "NV", "Rash"))
    # A class of ISIC keeps its index.
    assert result.manifest.header.classes == ("MEL", "NV")


def test_nothing_sound_is_one_sentence_with_the_first_reason(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"torn")
    with pytest.raises(
        DidgenError, match=r"Nothing could be imported .*the first reason: .*a\.png"
    ):
        admitted(tmp_path, candidate(tmp_path, "a"))


def test_what_an_importer_left_out_is_written_beside_the_records(tmp_path: Path) -> None:
    harvest = Harvest([candidate(tmp_path, "a")])
    harvest.reject(tmp_path / "odd.png", "missing-mask", "odd.png has no mask; draw one.")
    result = admit(
        harvest, importer="folder", root=tmp_path, classes=(), seed=0, fractions=(1.0, 0.0, 0.0)
    )
    result.write(tmp_path / "source")
    assert "odd.png has no mask" in (tmp_path / "source" / "rejected.jsonl").read_text()
    assert SourceManifest.read(tmp_path / "source") == result.manifest
