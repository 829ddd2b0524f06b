"""Tests of inputs that are odd in one way: the right data set, or one sentence; nothing in silence.

Each builds its own folder, and a table where it needs one.
"""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from didgen.manifests.errors import DidgenError
from didgen.manifests.importers.admission import Import
from didgen.manifests.importers.folder import import_folder
from tests.fixtures.pictures import noise, square, write_noise, write_picture


def two_classes(root: Path) -> Path:
    """Three photographs of each of two classes."""
    for number in range(3):
        write_noise(root / "benign" / f"a{number}.png", number)
        write_noise(root / "malignant" / f"b{number}.png", 100 + number)
    return root


def with_table(root: Path, text: str, encoding: str = "utf-8") -> Import:
    """Four photographs, p0 to p3, with a table."""
    for number in range(4):
        write_noise(root / "d" / f"p{number}.png", number)
    (root / "t.csv").write_bytes(text.encode(encoding))
    return import_folder(root / "d", labels=root / "t.csv", licence="own")


def labels(result: Import) -> Counter[str | None]:
    return Counter(record.label for record in result.manifest.records)


PAIRS = "p0{0}MEL{1}p1{0}NV{1}p2{0}NV{1}p3{0}MEL{1}"
CODES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")


def decimals(one: str, nothing: str) -> str:
    """A one-hot table as a spreadsheet with decimal commas saves it."""
    rows = [";".join(["image", *CODES])]
    for number, code in enumerate(["MEL", "NV", "NV", "MEL"]):
        rows.append(";".join([f"p{number}", *(one if c == code else nothing for c in CODES)]))
    return "\r\n".join(rows)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("image,label\r" + PAIRS.format(",", "\r"), "utf-8"),
        ("image\tlabel\r\n" + PAIRS.format("\t", "\r\n"), "utf-16"),
        ("sep=;\r\nimage;label\r\n" + PAIRS.format(";", "\r\n"), "utf-8-sig"),
        ('"sep=;"\nimage;label\n' + PAIRS.format(";", "\n"), "utf-8"),
        (decimals("1,0", "0,0"), "utf-8-sig"),
        ("\ufeff\ufeffimage,label\n" + PAIRS.format(",", "\n"), "utf-8"),
        ("image,label\n" + PAIRS.format(",", "\u200b\n"), "utf-8"),
        ("image,label\n" + PAIRS.format(",", "\u00a0\n"), "utf-8"),
        ("image,label\n" + PAIRS.format(",\u200e", "\n"), "utf-8"),
        ("image,label,age [years]\n" + PAIRS.format(",", ",40.5\n"), "utf-8"),
    ],
)
def test_tables_of_any_writing_give_the_same(tmp_path: Path, text: str, encoding: str) -> None:
    result = with_table(tmp_path, text, encoding)
    assert labels(result) == {"MEL": 2, "NV": 2} and not result.rejections


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-32", "cp1252"])
def test_tables_of_other_encodings_are_refused(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(DidgenError, match=r"t\.csv is not UTF-8 CSV .*; save it as such\."):
        with_table(tmp_path, "image,label\np0,N\u00e4vus\np1,MEL\n", encoding)


def test_two_classes_in_one_cell_are_no_class(tmp_path: Path) -> None:
    text = "image,label\np0,MEL;NV\np1,mel\np2,NV\np3,NV|BCC\n"
    result = with_table(tmp_path, text)
    assert labels(result) == {"MEL": 1, "NV": 1}
    assert [r.reason for r in result.rejections] == ["bad-label"] * 2
    assert "line 2 gives p0 more than one class (MEL;NV); keep one" in result.rejections[0].sentence
    # A part that is no class belongs to a name.
    result = with_table(tmp_path, 'image,label\np0,"MEL, in situ"\np1,MEL\np2,NV\np3,NV\n')
    assert labels(result) == {"MEL, in situ": 1, "MEL": 1, "NV": 2}


def test_rows_without_a_lesion_are_counted(tmp_path: Path) -> None:
    text = "image,label,lesion_id\np0,MEL,L1\np1,MEL,L1\np2,NV,\np3,NV,nan\n"
    result = with_table(tmp_path, text)
    assert len({record.lesion_id for record in result.manifest.records}) == 3
    assert any("2 rows of t.csv give no lesion" in note for note in result.notes)


def test_marks_of_direction_in_a_folders_name_part_no_class(tmp_path: Path) -> None:
    two_classes(tmp_path)
    write_noise(tmp_path / "mal\u202eignant" / "c.png", 7)
    assert labels(import_folder(tmp_path, licence="own")) == {"benign": 3, "malignant": 4}


def write_animation(path: Path) -> None:
    first, *rest = (Image.fromarray(noise(number, 64, 80)) for number in range(50, 53))
    first.save(path, save_all=True, append_images=rest)


def write_cut_out(path: Path) -> None:
    alpha = np.where(square(64, 8, 56), 255, 0).astype(np.uint8)
    Image.fromarray(np.dstack([noise(60, 64, 64), alpha])).save(path)


def write_link(path: Path) -> None:
    path.symlink_to("/nowhere/at all.png")


def write_heic(path: Path) -> None:
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(200))


def write_pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


@pytest.mark.parametrize(
    ("name", "write", "told"),
    [
        ("x.webp", write_animation, "an animation of 3 pictures; save the one that is meant"),
        ("x.png", write_animation, "an animation of 3 pictures"),
        ("x.png", write_cut_out, "see-through in places.*; save it without transparency"),
        ("x.png", write_link, "does not exist; restore it"),
        ("x.jpg", write_heic, "is HEIC, which is not read; save it as PNG"),
        ("x.jpg", write_pointer, "is a pointer of Git LFS, .*; run `git lfs pull`"),
        ("x.png", Path.touch, "truncated or not an image"),
        ("x\u202e\n.png", Path.touch, "truncated or not an image"),
    ],
)
def test_what_is_no_photograph_is_left_out_with_its_reason(
    tmp_path: Path, name: str, write: Callable[[Path], None], told: str
) -> None:
    two_classes(tmp_path)
    write(tmp_path / "benign" / name)
    result = import_folder(tmp_path, licence="own")
    assert labels(result) == {"benign": 3, "malignant": 3}
    (rejection,) = result.rejections
    with pytest.raises(DidgenError, match=told):
        raise DidgenError(rejection.sentence)


def test_names_that_are_no_utf8_are_left_out(tmp_path: Path) -> None:
    two_classes(tmp_path)
    (tmp_path / "benign" / "a0.png").rename(tmp_path / "benign" / os.fsdecode(b"\xff.png"))
    result = import_folder(tmp_path, licence="own")
    assert labels(result) == {"benign": 2, "malignant": 3}
    assert "?.png: its path is not UTF-8; rename" in result.rejections[0].sentence
    (tmp_path / "benign").rename(tmp_path / os.fsdecode(b"b\xe4nign"))
    with pytest.raises(DidgenError, match=r"one reason: .* its path is not UTF-8; rename"):
        import_folder(tmp_path, licence="own")


@pytest.mark.parametrize(
    ("folders", "told"),
    [
        (["x", "x/benign"], r"x alone, with folders in it \(benign\).*--folders skip/class"),
        (["x/2020/NV", "x/2020/MEL"], "x alone.*--folders skip/skip/class"),
        (["train/x/NV", "test/x/MEL"], "x alone.*--folders split/skip/class"),
        (["NV/p1"], "NV alone.*--folders skip/class"),
        (["NV/p1", "NV/p2"], "NV alone.*--folders class/patient"),
        (["train/a", "val/a", "extra/a"], r"parts and no classes.*--folders split/class"),
    ],
)
def test_a_folder_around_all_others_is_no_class_unasked(
    tmp_path: Path, folders: list[str], told: str
) -> None:
    for number, folder in enumerate(folders):
        write_noise(tmp_path / folder / f"{number}.png", number)
    with pytest.raises(DidgenError, match=told):
        import_folder(tmp_path, licence="own")
    result = import_folder(tmp_path, licence="own", folders=("class",))
    assert len(result.manifest.records) == len(folders)


def test_folders_that_may_be_patients_are_told_with_the_option(tmp_path: Path) -> None:
    for number, folder in enumerate(["MEL/p1", "NV/p1", "NV/p2"]):
        write_noise(tmp_path / folder / f"{number}.png", number)
    (note,) = import_folder(tmp_path, licence="own").notes
    assert note.endswith("say nothing: p1, p2; if they are of patients: --folders class/patient.")


def test_masks_that_may_be_of_several_images_are_told_so(tmp_path: Path) -> None:
    for number, label in enumerate(["NV", "MEL"]):
        write_noise(tmp_path / "i" / label / "0.png", number)
    write_picture(tmp_path / "m" / "0.png", np.pad(square(64, 16, 48), ((0, 0), (8, 8))))
    with pytest.raises(DidgenError, match=r"no mask of one image alone: .*name of 2 images"):
        import_folder(tmp_path / "i", masks=tmp_path / "m", licence="own")


def test_deep_masks_of_16_bits_and_of_one_colour_are_masks(tmp_path: Path) -> None:
    box = np.pad(square(64, 16, 48), ((0, 0), (8, 8))).astype(np.uint8)
    empty = np.zeros_like(box)
    masks: dict[str, np.ndarray] = {
        "p0": box.astype(np.uint16),
        "p1": box.astype(np.uint16) * 65535,
        "p2": np.dstack([box * 255, empty, empty]),
        "p3": box,
    }
    for number, (name, mask) in enumerate(masks.items()):
        write_noise(tmp_path / "i" / f"{name}.png", number)
        write_picture(tmp_path / "m" / "a" / "b" / f"{name}_Mask.PNG", mask)
    result = import_folder(tmp_path / "i", masks=tmp_path / "m", licence="own")
    assert len(result.manifest.records) == 4
    for record in result.manifest.records:
        assert np.array_equal(result.manifest.read_mask(record), box > 0)


@pytest.mark.parametrize("licence", ["", "  ", "CC0\n"])
def test_a_licence_says_something(tmp_path: Path, licence: str) -> None:
    with pytest.raises(DidgenError, match="licence is empty or no line of text"):
        import_folder(two_classes(tmp_path), licence=licence)


def test_what_systems_put_beside_photographs_is_passed_by(tmp_path: Path) -> None:
    two_classes(tmp_path)
    for name in (".DS_Store", "Thumbs.db", "thumbs.db", "Desktop.ini", "._a0.png", "Icon\r"):
        (tmp_path / "benign" / name).write_bytes(b"x")
    result = import_folder(tmp_path, licence="own")
    assert len(result.manifest.records) == 6 and not result.rejections
    assert not any("passed by" in note for note in result.notes)
