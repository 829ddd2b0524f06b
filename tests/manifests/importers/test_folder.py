"""Tests of importing anyone's own images, masks and labels."""

import errno
import os
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from didgen.manifests.errors import DidgenError
from didgen.manifests.importers.admission import Import, ImportOptions
from didgen.manifests.importers.folder import import_folder
from didgen.manifests.shards.shard import check_key
from didgen.manifests.sources.records import CLASSES, SourceManifest
from tests.contracts.importer import ImporterContract
from tests.fixtures.pictures import write_box, write_noise


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for number, name in enumerate(("a.png", "b.JPG", "c.webp", "d.bmp")):
        write_noise(tmp_path / "own" / name, number)
    return tmp_path / "own"


class TestFolder(ImporterContract):
    def write(self, folder: Path) -> None:
        for number in range(12):
            write_noise(folder / ("NV" if number % 2 else "MEL") / f"{number}.png", number)

    def importing(self, folder: Path, **options: Any) -> Import:
        return import_folder(folder, licence="CC0-1.0", options=ImportOptions(**options))


def reasons(result: Import) -> dict[str, str]:
    return {Path(r.file).name: r.reason for r in result.rejections}


def test_images_alone_are_unlabelled(images: Path) -> None:
    (images / "notes.txt").write_text("text")
    (images / ".hidden.jpg").write_text("text")
    result = import_folder(images, licence="CC0-1.0")
    assert result.rejections == ()
    records = result.manifest.records
    assert [r.key for r in records] == ["a", "b", "c", "d"]
    assert {(r.label, r.mask, r.source, r.licence) for r in records} == {
        (None, None, "own", "CC0-1.0")
    }


def test_subfolders_are_labels(tmp_path: Path) -> None:
    for number in range(12):
        write_noise(tmp_path / "own" / ("x y" if number % 2 else "z") / f"{number}.png", number)
    result = import_folder(tmp_path / "own", licence="own")
    assert result.rejections == ()
    assert result.manifest.header.classes == ("x y", "z")
    assert {r.key: r.label for r in result.manifest.records} == {
        str(n): "x y" if n % 2 else "z" for n in range(12)
    }
    write_noise(tmp_path / "own" / "stray.png", 99)
    result = import_folder(tmp_path / "own", licence="own")
    assert reasons(result) == {"stray.png": "missing-label"}


def test_masks_match_by_stem_with_or_without_ending(images: Path, tmp_path: Path) -> None:
    for name in ("a", "b_mask", "c_segmentation"):
        write_box(tmp_path / "masks" / f"{name}.png")
    write_box(tmp_path / "masks" / "a_mask.png")
    write_box(tmp_path / "masks" / "zebra.png")
    result = import_folder(images, masks=tmp_path / "masks", licence="own")
    manifest = result.manifest
    assert {r.key: r.mask for r in manifest.records} == {
        "a": "masks/a.png",
        "b": "masks/b_mask.png",
        "c": "masks/c_segmentation.png",
    }
    assert manifest.header.root == str(tmp_path.resolve())
    assert reasons(result) == {
        "a_mask.png": "duplicate-id",
        "zebra.png": "missing-image",
        "d.bmp": "missing-mask",
    }


def test_masks_may_lie_in_a_subfolder_of_the_images(images: Path) -> None:
    write_box(images / "masks" / "a_mask.png")
    result = import_folder(images, masks=images / "masks", licence="own")
    assert {r.key: r.mask for r in result.manifest.records} == {"a": "masks/a_mask.png"}


def test_a_table_gives_label_lesion_and_split(images: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(
        "image,label,lesion_id,split\na.png,good,l1,test\nb,bad,l1,\nc,bad,l2,train\nghost,bad,,\n"
    )
    result = import_folder(images, labels=table, licence="own")
    # b follows its lesion to the split given for a.
    assert {r.key: (r.label, r.lesion_id, r.split) for r in result.manifest.records} == {
        "a": ("good", "l1", "test"),
        "b": ("bad", "l1", "test"),
        "c": ("bad", "l2", "train"),
    }
    assert reasons(result) == {
        "d.bmp": "missing-label",
        "labels.csv line 5": "missing-image",
    }
    assert result.manifest.header.classes == ("bad", "good")


def test_a_labelled_image_may_go_without_mask(images: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("image,label\na,MEL\nb,NV\nc,NV\nd,NV\n")
    write_box(tmp_path / "masks" / "a.png")
    result = import_folder(images, masks=tmp_path / "masks", labels=table, licence="own")
    assert result.rejections == ()
    assert len(result.manifest.select(masked=True)) == 1
    assert result.manifest.header.classes == CLASSES


def test_stems_become_safe_keys_and_must_differ(tmp_path: Path) -> None:
    for number, name in enumerate(("x.y z.png", "x-y-z.png", "é!.png", "u.jpg", "u.png")):
        write_noise(tmp_path / "own" / name, number)
    result = import_folder(tmp_path / "own", licence="own")
    assert {r.key: r.image for r in result.manifest.records} == {
        "x-y-z": "x-y-z.png",
        "f77173de": "é!.png",
        "u": "u.jpg",
    }
    assert reasons(result) == {"x.y z.png": "duplicate-id", "u.png": "duplicate-id"}


def test_a_name_too_long_for_a_mix_is_rejected(tmp_path: Path) -> None:
    for number, length in enumerate((75, 76)):
        write_noise(tmp_path / "own" / f"{'n' * length}.png", number)
    result = import_folder(tmp_path / "own", licence="own")
    assert [len(record.key) for record in result.manifest.records] == [75]
    assert reasons(result) == {f"{'n' * 76}.png": "bad-record"}
    check_key(f"real-{result.manifest.records[0].key}")


def test_a_mask_drawn_anew_takes_the_caption_along(images: Path, tmp_path: Path) -> None:
    out, masks = tmp_path / "out", tmp_path / "masks"
    for name in ("a", "b"):
        write_box(masks / f"{name}.png")
    import_folder(images, masks=masks, licence="own").write(out)
    manifest = SourceManifest.read(out)
    told = tuple(r.model_copy(update={"caption": "a lesion."}) for r in manifest.records)
    replace(manifest, records=told).rewrite(out)
    drawn = np.zeros((64, 80), bool)
    drawn[1:60, 1:70] = True
    Image.fromarray(drawn).save(masks / "a.png")
    import_folder(images, masks=masks, licence="own").write(out)
    captions = {r.key: r.caption for r in SourceManifest.read(out).records}
    assert captions == {"a": None, "b": "a lesion."}


def test_namesakes_get_neither_label_nor_mask_of_another(tmp_path: Path) -> None:
    for number, name in enumerate(("mel/1.png", "mel/2.png", "nev/1.png", "nev/3.png")):
        write_noise(tmp_path / "own" / name, number)
    (tmp_path / "own" / "mel" / "1.png").write_bytes(b"torn")
    write_box(tmp_path / "masks" / "mel" / "1.png")
    write_box(tmp_path / "masks" / "nev" / "3.png")
    labels = tmp_path / "labels.csv"
    labels.write_text("image,label\nmel/1.png,MEL\nmel/2.png,MEL\nnev/3.png,NV\n")
    result = import_folder(tmp_path / "own", licence="own", labels=labels)
    assert {r.key: r.label for r in result.manifest.records} == {"2": "MEL", "3": "NV"}
    told = {(Path(r.file).parent.name, r.reason) for r in result.rejections}
    assert told == {("mel", "unreadable-image"), ("nev", "missing-label")}
    result = import_folder(tmp_path / "own", licence="own", masks=tmp_path / "masks")
    assert {r.key: r.mask for r in result.manifest.records} == {
        "nev-1": None,
        "2": None,
        "3": "masks/nev/3.png",
    }


def test_of_masks_in_several_folders_none_is_taken(tmp_path: Path) -> None:
    for number in (1, 2):
        write_noise(tmp_path / "own" / "nev" / f"{number}.png", number)
    for name in ("mel/1.png", "nev/1.png", "nev/2.png", "nev/2_mask.png"):
        write_box(tmp_path / "masks" / name)
    result = import_folder(tmp_path / "own", masks=tmp_path / "masks", licence="own")
    found = {r.key: r.mask for r in result.manifest.records}
    assert found == {"1": None, "2": "masks/nev/2.png"}
    rejected = [Path(r.file).relative_to(tmp_path).as_posix() for r in result.rejections]
    assert rejected == ["masks/mel/1.png", "masks/nev/1.png", "masks/nev/2_mask.png"]


def test_hidden_folders_are_passed_by(images: Path) -> None:
    write_noise(images / ".thumbnails" / "a.png", 9)
    result = import_folder(images, licence="own")
    assert [r.key for r in result.manifest.records] == ["a", "b", "c", "d"]
    assert result.rejections == ()


def test_an_image_of_more_than_8_bits_is_rejected(images: Path) -> None:
    levels = np.linspace(0, 65535, 80).astype(np.uint16).reshape(8, 10)
    Image.fromarray(levels).save(images / "deep.png")
    result = import_folder(images, licence="own")
    assert reasons(result) == {"deep.png": "unreadable-image"}
    assert "save it with 8" in result.rejections[0].sentence


def test_captions_are_kept_where_the_old_manifest_is_not_whole(
    images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    import_folder(images, licence="own").write(out)
    records = (out / "records.jsonl").read_text().splitlines()
    told = [record.replace('"caption": null', '"caption": "a lesion."') for record in records]
    (out / "records.jsonl").write_text("\n".join([told[0], "{}", told[2][:-20], told[3]]))
    (out / "source.json").unlink()
    import_folder(images, licence="own").write(out)
    captions = {r.key: r.caption for r in SourceManifest.read(out).records}
    assert captions == {"a": "a lesion.", "b": None, "c": None, "d": "a lesion."}


def test_a_photograph_on_its_side_fits_an_upright_mask(tmp_path: Path) -> None:
    write_noise(tmp_path / "plain.png", 1, (80, 64))
    exif = Image.Exif()
    exif[0x112] = 6
    (tmp_path / "own").mkdir()
    Image.open(tmp_path / "plain.png").save(tmp_path / "own" / "a.jpg", exif=exif)
    write_box(tmp_path / "masks" / "a.png", (64, 80))
    (record,) = import_folder(
        tmp_path / "own", masks=tmp_path / "masks", licence="own"
    ).manifest.records
    assert (record.width, record.height) == (64, 80)


def test_wrong_arguments_are_one_sentence(images: Path, tmp_path: Path) -> None:
    with pytest.raises(DidgenError, match="gone is not a folder"):
        import_folder(tmp_path / "gone", licence="own")
    with pytest.raises(DidgenError, match="gone is not a folder"):
        import_folder(images, masks=tmp_path / "gone", licence="own")
    with pytest.raises(DidgenError, match=r"gone\.csv does not exist"):
        import_folder(images, labels=tmp_path / "gone.csv", licence="own")
    with pytest.raises(DidgenError, match="not three shares"):
        import_folder(images, licence="own", options=ImportOptions(fractions=(1.0, 1.0, 1.0)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DidgenError, match="empty holds no image"):
        import_folder(tmp_path / "empty", licence="own")


@pytest.mark.data
def test_real_photographs_with_masks_and_labels_import(data_dir: Path, tmp_path: Path) -> None:
    folder = data_dir / "natural_600x450"
    result = import_folder(
        folder / "images",
        masks=folder / "masks",
        labels=folder / "labels.csv",
        licence="CC-BY-NC-4.0",
    )
    assert result.rejections == ()
    result.write(tmp_path)
    manifest = SourceManifest.read(tmp_path)
    assert len(manifest.select(labelled=True, masked=True)) == 15
    assert {(r.width, r.height) for r in manifest.records} == {(600, 450)}


def test_a_failing_drive_ends_the_import(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = Path.read_bytes

    def read(path: Path) -> bytes:
        if path.name == "c.webp":
            # A read, unlike the opening of a file, does not say which one failed.
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return reading(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    with pytest.raises(OSError, match=r"Input/output error: .*c\.webp"):
        import_folder(images, licence="own")


def test_folders_behind_links_are_read_and_circles_are_not(tmp_path: Path) -> None:
    write_noise(tmp_path / "own" / "NV" / "a.png", 0)
    write_noise(tmp_path / "far" / "b.png", 1)
    write_box(tmp_path / "masks" / "b.png")
    (tmp_path / "own" / "MEL").symlink_to(tmp_path / "far")
    (tmp_path / "own" / "NV" / "up").symlink_to(tmp_path / "own")
    # A second name of a folder that is among them, before it in the order of names.
    (tmp_path / "own" / "A").symlink_to(tmp_path / "own" / "NV")
    (tmp_path / "own" / "masks").symlink_to(tmp_path / "masks")
    result = import_folder(tmp_path / "own", masks=tmp_path / "own" / "masks", licence="own")
    found = {r.key: (r.label, r.image, r.mask) for r in result.manifest.records}
    assert found == {
        "a": ("NV", "own/NV/a.png", None),
        "b": ("MEL", "own/MEL/b.png", "masks/b.png"),
    }
    assert result.rejections == ()


@pytest.mark.parametrize(
    ("reason", "refused", "told"),
    [
        (errno.EACCES, DidgenError, "MEL cannot be opened; mend its rights, or take it out"),
        (errno.EIO, OSError, "Input/output"),
    ],
)
def test_a_closed_folder_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reason: int,
    refused: type[Exception],
    told: str,
) -> None:
    write_noise(tmp_path / "own" / "NV" / "a.png", 0)
    write_noise(tmp_path / "own" / "MEL" / "b.png", 1)
    listing = os.scandir

    def scandir(path: str) -> Any:
        # Tests may run as root, whom no rights stop.
        if Path(path).name == "MEL":
            raise OSError(reason, os.strerror(reason), str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(refused, match=told):
        import_folder(tmp_path / "own", licence="own")


def test_names_match_in_any_form_of_unicode(tmp_path: Path) -> None:
    apart, whole = (unicodedata.normalize(form, "n\u00e6vus \u00e9") for form in ("NFD", "NFC"))
    assert apart != whole
    write_noise(tmp_path / "own" / f"{apart}.png", 0)
    write_box(tmp_path / "masks" / f"{whole}_mask.png")
    (tmp_path / "labels.csv").write_text(f"image,label\n{whole},NV\n", "utf-8")
    result = import_folder(
        tmp_path / "own",
        masks=tmp_path / "masks",
        labels=tmp_path / "labels.csv",
        licence="own",
    )
    (record,) = result.manifest.records
    assert (record.label, record.mask is None) == ("NV", False)
    assert result.rejections == ()


def test_names_of_other_scripts_have_keys_of_their_own(tmp_path: Path) -> None:
    stems = ("\u5de6", "\u53f3", "\u0440\u043e_\u043b", "_DSC1", "plain a", "\u00e9" * 75)
    for number, stem in enumerate(stems):
        write_noise(tmp_path / "own" / f"{stem}.png", number)
    result = import_folder(tmp_path / "own", licence="own")
    assert result.rejections == ()
    keys = {record.key for record in result.manifest.records}
    assert len(keys) == 6 and {"_DSC1", "plain-a"} <= keys
    for key in keys:
        check_key(f"real-{key}")
        assert not key.startswith("-")


def test_a_name_in_no_encoding_is_an_image_like_others(images: Path) -> None:
    write_noise(images / os.fsdecode(b"L\xe4sion.png"), 9)
    result = import_folder(images, licence="own")
    assert [record.key for record in result.manifest.records] == ["a", "b", "c", "d"]
    (rejection,) = result.rejections
    assert rejection.reason == "bad-record"
