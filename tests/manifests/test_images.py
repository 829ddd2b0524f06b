"""Tests of reading images and masks, whole and broken."""

import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from didgen.manifests import images
from didgen.manifests.errors import DidgenError
from didgen.manifests.images import (
    MAX_PIXELS,
    decode,
    middle,
    open_checked,
    read_image,
    read_mask,
    upright,
)
from tests.fixtures.metadata import marked_jpeg
from tests.fixtures.pictures import ORIENTATION, encoded, noise, on_its_side


def huge_png(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_an_image_is_turned_upright(tmp_path: Path) -> None:
    pixels = noise(0, 4, 6)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path, exif=on_its_side())
    image = read_image(path)
    assert image.size == (4, 6)
    assert np.array_equal(np.asarray(image), np.rot90(pixels, -1))


def test_every_mode_becomes_rgb(tmp_path: Path) -> None:
    for mode in ("1", "L", "P", "RGBA", "LA"):
        Image.new(mode, (3, 2)).save(tmp_path / "a.png")
        assert read_image(tmp_path / "a.png").mode == "RGB"


def test_a_truncated_jpeg_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "torn.jpg"
    data = encoded(Image.fromarray(noise(0, 64, 64)), "JPEG")
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DidgenError, match=r"torn\.jpg is truncated or not an image .*replace"):
        open_checked(path)


@pytest.mark.parametrize("data", [b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_a_foreign_file_is_one_sentence(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "note.jpg"
    path.write_bytes(data)
    with pytest.raises(DidgenError, match=r"note\.jpg is truncated or not an image") as caught:
        read_image(path)
    assert "BytesIO" not in str(caught.value)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DidgenError, match=r"gone\.jpg does not exist"):
        read_image(tmp_path / "gone.jpg")
    with pytest.raises(DidgenError, match="cannot be read"):
        read_image(tmp_path)


@pytest.mark.parametrize("width", [10_000, 12_000, 60_000])
def test_too_many_pixels_are_refused_before_decoding(width: int) -> None:
    # The three widths lie below, between and above the two limits of Pillow's own.
    assert width * 10_000 > MAX_PIXELS
    with pytest.raises(DidgenError, match="more pixels than the limit of 64,000,000"):
        decode(huge_png(width, 10_000), Path("huge.png"))


@settings(deadline=None, max_examples=150)
@given(
    kind=st.sampled_from(["JPEG", "PNG", "BMP", "WEBP"]),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4),
    keep=st.floats(0, 1),
)
def test_damage_is_either_survived_or_said(
    kind: str, changes: list[tuple[float, int]], keep: float
) -> None:
    options = {} if kind == "BMP" else {"exif": on_its_side()}
    data = bytearray(encoded(Image.fromarray(noise(0, 12, 16)), kind, **options))
    for where, value in changes:
        data[int(where * (len(data) - 1))] = value
    sentence = "damaged "
    try:
        image = decode(bytes(data[: int(keep * len(data))]), Path("damaged"))
        assert upright(image).convert("RGB").width > 0
    except DidgenError as error:
        sentence = str(error)
    assert sentence.startswith("damaged ")


def test_broken_exif_leaves_the_image_as_stored(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = encoded(Image.fromarray(noise(0, 4, 6)), "WEBP", exif=exif)
    assert data.count(b"MM\x00*") == 1
    path.write_bytes(data.replace(b"MM\x00*", b"MQ\x00*"))
    assert read_image(path).size == (6, 4)


def test_threads_can_decode_at_once() -> None:
    data = encoded(Image.fromarray(noise(0, 32, 32)), "PNG")
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(lambda _: decode(data, Path("a")), range(200)))
    assert {image.size for image in images} == {(32, 32)}


@pytest.mark.parametrize("level", [1, 76, 255])
def test_a_mask_is_true_where_it_is_not_black(tmp_path: Path, level: int) -> None:
    lesion = noise(0, 5, 7)[..., 0] > 127
    Image.fromarray((lesion * level).astype(np.uint8)).save(tmp_path / "m.png")
    mask = read_mask(tmp_path / "m.png")
    assert mask.dtype == bool
    assert np.array_equal(mask, lesion)


def test_masks_of_one_bit_palette_and_colour_are_read(tmp_path: Path) -> None:
    lesion = noise(0, 5, 7)[..., 0] > 127
    image = Image.fromarray(lesion)
    for mode in ("1", "P", "RGB", "RGBA"):
        image.convert("L").convert(mode).save(tmp_path / "m.png")
        assert np.array_equal(read_mask(tmp_path / "m.png"), lesion)


def test_a_mask_in_the_alpha_channel_is_refused(tmp_path: Path) -> None:
    lesion = noise(0, 5, 7)[..., 0] > 127
    white = np.full((5, 7, 4), 255, np.uint8)
    white[..., 3] = lesion * 255
    Image.fromarray(white).save(tmp_path / "m.png")
    with pytest.raises(DidgenError, match=r"m\.png is see-through in places; save it without"):
        read_mask(tmp_path / "m.png")
    palette = Image.fromarray(lesion).convert("L").convert("P")
    palette.save(tmp_path / "m.png", transparency=0)
    with pytest.raises(DidgenError, match="see-through"):
        read_mask(tmp_path / "m.png")


def test_a_mask_of_three_levels_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 1, 255]], np.uint8)).save(tmp_path / "m.png")
    with pytest.raises(DidgenError, match=r"m\.png is not binary: it has 2 grey levels besides"):
        read_mask(tmp_path / "m.png")
    Image.fromarray(np.array([[0, 9, 9]], np.uint8)).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png").sum() == 2


@given(st.integers(1, 9), st.integers(1, 9))
def test_the_middle_is_the_largest_square_with_equal_margins(height: int, width: int) -> None:
    image = np.moveaxis(np.indices((height, width)), 0, -1)
    cut = middle(image)
    side = min(height, width)
    assert cut.shape == (side, side, 2)
    for axis, length in enumerate((height, width)):
        before, after = cut[..., axis].min(), length - 1 - cut[..., axis].max()
        assert 0 <= after - before <= 1
    np.testing.assert_array_equal(middle(image[..., 0]), cut[..., 0])


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_what_is_encoded_has_nothing_of_the_file_it_was_read_from(form: str) -> None:
    image = decode(marked_jpeg(noise(1), "MARKER"), Path("photo"))
    assert image.info["comment"] == b"MARKER"
    assert b"MARKER" not in images.encoded(image, form)
    assert image.info["comment"] == b"MARKER", "the picture itself is left alone"
