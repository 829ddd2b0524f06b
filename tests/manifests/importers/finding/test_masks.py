"""Tests of masks: found beside their images, turned along, inverted, and never photographs."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from didgen.manifests.errors import DidgenError
from didgen.manifests.images import read_image
from didgen.manifests.importers.admission import Import, ImportOptions
from didgen.manifests.importers.finding.masks import looks_like_mask, named_as_mask
from didgen.manifests.importers.folder import import_folder
from tests.fixtures.pictures import ORIENTATION, smooth, write_box, write_noise, write_picture

ENDINGS = [
    "_mask",
    "_Mask",
    "-mask",
    " mask",
    "_segmentation",
    "_Segmentation",
    "_lesion",
    "_seg",
    "_gt",
    "_GroundTruth",
    "_ground_truth",
    "_binary_mask",
    "_masks",
    "_lesion_mask",
]


def kinds(result: Import) -> dict[str, str]:
    return {Path(r.file).name: r.reason for r in result.rejections}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("suffix", [".png", ".PNG", ".bmp"])
def test_masks_beside_images_are_no_photographs(tmp_path: Path, ending: str, suffix: str) -> None:
    for name in ("a", "b"):
        write_noise(tmp_path / f"{name}.jpg", ord(name))
        # By its name alone: what it holds would pass for a photograph.
        write_noise(tmp_path / f"{name}{ending}{suffix}", 9)
    result = import_folder(tmp_path, licence="own")
    assert [r.key for r in result.manifest.records] == ["a", "b"]
    assert {*kinds(result).values()} == {"looks-like-mask"} and len(result.rejections) == 2
    assert all("--masks" in rejection.sentence for rejection in result.rejections)


@pytest.mark.parametrize("ending", ENDINGS)
def test_masks_may_lie_in_the_folder_of_the_images(tmp_path: Path, ending: str) -> None:
    for name in ("a", "b"):
        write_noise(tmp_path / f"{name}.JPG", ord(name))
        write_box(tmp_path / f"{name}{ending}.PNG")
    result = import_folder(tmp_path, masks=tmp_path, licence="own")
    found = {r.key: r.mask for r in result.manifest.records}
    assert found == {name: f"{name}{ending}.PNG" for name in ("a", "b")}
    assert result.rejections == ()


@pytest.mark.parametrize("form", ["L", "1", "RGB", "P", "JPEG", "grey two", "blank"])
def test_two_grey_levels_are_no_photograph(tmp_path: Path, form: str) -> None:
    mask = np.zeros((80, 96), np.uint8)
    mask[10:60, 20:70] = 255
    picture = Image.fromarray(mask)
    name = "odd.png"
    if form == "JPEG":
        name = "odd.jpg"
    elif form == "grey two":
        picture = Image.fromarray(mask // 2 + 60)
    elif form == "blank":
        picture = Image.new("RGB", (96, 80), "black")
    else:
        picture = picture.convert(form)
    write_noise(tmp_path / "a.png", 1)
    picture.save(tmp_path / name)
    result = import_folder(tmp_path, licence="own")
    assert kinds(result) == {name: "looks-like-mask"}
    assert "--masks" in result.rejections[0].sentence


def test_photographs_are_not_taken_for_masks() -> None:
    grey = np.asarray(Image.fromarray(smooth(3, 96)).convert("L"))
    for picture in (smooth(1, 96), smooth(2, 96) // 8, grey):
        assert not looks_like_mask(Image.fromarray(picture))


@pytest.mark.data
def test_real_photographs_are_not_taken_for_masks_and_masks_are(data_dir: Path) -> None:
    folder = data_dir / "natural_600x450"
    assert not any(looks_like_mask(Image.open(p)) for p in (folder / "images").iterdir())
    assert all(looks_like_mask(Image.open(p)) for p in (folder / "masks").iterdir())


def test_maps_of_superpixels_are_no_photographs(tmp_path: Path) -> None:
    write_noise(tmp_path / "ISIC_1.jpg", 1)
    write_noise(tmp_path / "ISIC_1_superpixels.png", 2)
    result = import_folder(tmp_path, licence="own")
    assert [r.key for r in result.manifest.records] == ["ISIC_1"]
    assert kinds(result) == {"ISIC_1_superpixels.png": "looks-like-mask"}


def test_a_folder_of_masks_beside_class_folders_is_no_class(tmp_path: Path) -> None:
    for label in ("MEL", "NV"):
        write_noise(tmp_path / label / f"{label}.png", len(label))
    write_box(tmp_path / "masks" / "MEL.png")
    result = import_folder(tmp_path, licence="own")
    assert {r.label for r in result.manifest.records} == {"MEL", "NV"}
    assert kinds(result) == {"MEL.png": "looks-like-mask"}
    result = import_folder(tmp_path, masks=tmp_path, licence="own")
    assert {r.key: r.mask for r in result.manifest.records} == {"MEL": "masks/MEL.png", "NV": None}


def test_masks_of_no_image_at_all_are_refused(tmp_path: Path) -> None:
    write_noise(tmp_path / "own" / "MEL" / "a.png", 1)
    write_box(tmp_path / "masks" / "mask_0001.png")
    with pytest.raises(DidgenError, match=r"holds no mask that has the name of an image; .*0001"):
        import_folder(tmp_path / "own", masks=tmp_path / "masks", licence="own")


def test_masks_of_other_formats_are_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_noise(tmp_path / "own" / "MEL" / f"{name}.png", ord(name))
    write_box(tmp_path / "masks" / "a.png")
    (tmp_path / "masks" / "b.tif").write_bytes(b"II*\0")
    result = import_folder(tmp_path / "own", masks=tmp_path / "masks", licence="own")
    assert kinds(result) == {"b.tif": "other-format"}


def test_the_folder_of_masks_may_hold_that_of_the_images(tmp_path: Path) -> None:
    write_noise(tmp_path / "images" / "a.jpg", 1)
    write_box(tmp_path / "truth" / "a_Segmentation.png")
    result = import_folder(tmp_path / "images", masks=tmp_path, licence="own")
    assert [r.mask for r in result.manifest.records] == ["truth/a_Segmentation.png"]


def photograph(root: Path, name: str, orientation: int, size: tuple[int, int] = (96, 80)) -> None:
    """A photograph as stored, turned by EXIF, with a bright lesion off its centre; its mask is
    stored unturned."""
    pixels = smooth(ord(name), max(size))[: size[1], : size[0]].copy()
    mask = np.zeros(pixels.shape[:2], np.uint8)
    mask[5:30, 8:60] = 255
    pixels[mask > 0] = 250, 20, 20
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    write_picture(root / "own" / f"{name}.png", pixels, exif=exif)
    write_picture(root / "masks" / f"{name}.png", mask)


def overlap(result: Import) -> float:
    """How well the mask lies over the bright lesion as everybody reads the two."""
    (record,) = result.manifest.records
    image = np.asarray(read_image(result.manifest.image_path(record))).astype(int)
    lesion = (image[..., 0] > 240) & (image[..., 1] < 40)
    mask = result.manifest.read_mask(record)
    return float((lesion & mask).sum() / (lesion | mask).sum())


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_mask_that_fits_turned_alone_is_turned_along(tmp_path: Path, orientation: int) -> None:
    photograph(tmp_path, "a", orientation)
    result = import_folder(tmp_path / "own", masks=tmp_path / "masks", licence="own")
    assert overlap(result) == 1
    assert result.notes == ("1 masks were turned along with their photographs, as EXIF says.",)


@pytest.mark.parametrize(
    ("orientation", "size"), [(2, (96, 80)), (3, (96, 80)), (4, (96, 80)), (6, (80, 80))]
)
def test_a_mask_that_fits_both_ways_needs_a_word(
    tmp_path: Path, orientation: int, size: tuple[int, int]
) -> None:
    photograph(tmp_path, "a", orientation, size)
    with pytest.raises(
        DidgenError, match=r"1 photographs are turned by their EXIF .*a\.png first.*--mask-orient"
    ):
        import_folder(tmp_path / "own", masks=tmp_path / "masks", licence="own")
    found = {
        drawn_on: import_folder(
            tmp_path / "own",
            masks=tmp_path / "masks",
            licence="own",
            options=ImportOptions(mask_orientation=drawn_on),
        )
        for drawn_on in ("stored", "upright")
    }
    assert overlap(found["stored"]) == 1
    assert overlap(found["upright"]) < 0.5


def test_a_mask_that_is_the_same_either_way_needs_no_word(tmp_path: Path) -> None:
    photograph(tmp_path, "a", 3)
    write_box(tmp_path / "masks" / "a.png", (96, 80))
    result = import_folder(tmp_path / "own", masks=tmp_path / "masks", licence="own")
    assert len(result.manifest.records) == 1


def test_a_mask_with_an_orientation_of_its_own_is_upright_by_it(tmp_path: Path) -> None:
    photograph(tmp_path, "a", 3)
    mask = np.asarray(Image.open(tmp_path / "masks" / "a.png"))
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    Image.fromarray(mask).save(tmp_path / "masks" / "a.png", exif=exif)
    assert overlap(import_folder(tmp_path / "own", masks=tmp_path / "masks", licence="own")) == 1


def inverted_set(root: Path, inverted: int, count: int = 6) -> None:
    for number in range(count):
        write_noise(root / "own" / f"{number}.png", number, (96, 80))
        mask = np.zeros((80, 96), np.uint8)
        mask[20:50, 30:70] = 255
        write_picture(root / "masks" / f"{number}.png", 255 - mask if number < inverted else mask)


def test_inverted_masks_are_warned_of_and_can_be_inverted(tmp_path: Path) -> None:
    inverted_set(tmp_path, 6)
    result = import_folder(tmp_path / "own", masks=tmp_path / "masks", licence="own")
    (note,) = result.notes
    assert note.startswith("Warning: 6 of 6 masks cover all four corners")
    assert "import again with --invert-masks" in note
    options = ImportOptions(invert_masks=True)
    result = import_folder(
        tmp_path / "own", masks=tmp_path / "masks", licence="own", options=options
    )
    assert result.notes == ("6 masks were inverted.",)
    for record in result.manifest.records:
        assert result.manifest.read_mask(record).sum() == 30 * 40
    inverted_set(tmp_path, 0)
    result = import_folder(
        tmp_path / "own", masks=tmp_path / "masks", licence="own", options=options
    )
    assert "import again without --invert-masks" in result.notes[1]


def test_a_few_large_lesions_are_no_warning(tmp_path: Path) -> None:
    inverted_set(tmp_path, 1, count=12)
    result = import_folder(tmp_path / "own", masks=tmp_path / "masks", licence="own")
    assert result.notes == ()


@pytest.mark.parametrize(
    ("stem", "image"),
    [
        ("a_mask", "a"),
        ("IMD002_lesion", "IMD002"),
        ("mask", None),
        ("a_masked", None),
        ("_mask", None),
    ],
)
def test_the_image_of_a_mask_is_told_by_its_name(stem: str, image: str | None) -> None:
    assert named_as_mask(stem) == image
