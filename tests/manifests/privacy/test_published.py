"""Tests of published images: no metadata goes along, and the pixels are equal to the bit."""

import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from didgen.manifests.errors import DidgenError
from didgen.manifests.images import decode
from didgen.manifests.privacy.published import (
    LONGEST_SIDE,
    QUALITY,
    Treatment,
    digest,
    pixel_digests,
    published_image,
    published_mask,
    said_of,
    without_metadata,
)
from tests.fixtures.metadata import SRGB, WIDE, marked_jpeg, marked_png, pixels_of, profile
from tests.fixtures.pictures import encoded, noise, on_its_side, smooth, speckles

PATH = Path("photo")
MARKER = "MuellerAnna"
PIXELS = noise(1, 48, 64)


def image_of(data: bytes) -> Image.Image:
    return decode(data, PATH)


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 2}, {"quality": 40}]
)
def test_an_upright_srgb_jpeg_keeps_its_pixels_to_the_bit(options: dict[str, Any]) -> None:
    marked = marked_jpeg(PIXELS, MARKER, **options)
    image = published_image(marked, PATH)
    assert image.treatment == "stripped"
    assert MARKER.encode() in marked and MARKER.encode() not in image.data
    np.testing.assert_array_equal(pixels_of(image.data), pixels_of(marked))
    assert (
        not image_of(image.data).info.keys()
        - {"jfif", "jfif_version", "jfif_unit"}
        - {*("jfif_density", "dpi", "progressive", "progression")}
    )
    assert published_image(image.data, PATH).treatment == "kept"


def test_a_photograph_with_a_second_image_is_a_jpeg_like_others() -> None:
    buffer = io.BytesIO()
    first, second = (Image.fromarray(noise(number, 48, 64)) for number in (1, 2))
    first.save(buffer, "MPO", save_all=True, append_images=[second], comment=MARKER)
    data = buffer.getvalue()
    assert image_of(data).format == "MPO"
    image = published_image(data, PATH)
    assert image.treatment == "stripped" and len(image.data) < 0.6 * len(data)
    np.testing.assert_array_equal(pixels_of(image.data), pixels_of(data))


def test_a_turned_photograph_is_brought_upright_and_encoded_once() -> None:
    marked = marked_jpeg(PIXELS, MARKER, orientation=6)
    image = published_image(marked, PATH)
    assert image.treatment == "turned" and MARKER.encode() not in image.data
    upright = np.rot90(pixels_of(marked), -1)
    np.testing.assert_array_equal(np.asarray(image.pixels), upright)
    assert image.data == encoded(upright, "JPEG", quality=QUALITY, subsampling=0)
    assert published_image(image.data, PATH).treatment == "kept"


def test_other_colours_are_brought_to_srgb() -> None:
    pixels = smooth(3)
    plain = published_image(marked_jpeg(pixels, MARKER), PATH)
    wide = published_image(marked_jpeg(pixels, MARKER, icc=profile(MARKER, WIDE)), PATH)
    assert (plain.treatment, wide.treatment) == ("stripped", "profiled")
    assert MARKER.encode() not in wide.data and "icc_profile" not in image_of(wide.data).info
    changed = np.abs(np.asarray(wide.pixels, int) - np.asarray(plain.pixels, int))
    assert 5 < changed.max() < 120


@pytest.mark.parametrize(
    ("data", "treatment"),
    [
        (marked_png(PIXELS, MARKER), "converted"),
        (marked_png(PIXELS, MARKER, orientation=6), "turned"),
        (encoded(PIXELS, "BMP"), "converted"),
        (encoded(PIXELS, "WEBP", exif=on_its_side(), xmp=MARKER.encode()), "turned"),
        (encoded(PIXELS[..., 0], "JPEG", comment=MARKER), "converted"),
        (encoded(Image.fromarray(PIXELS).convert("CMYK"), "JPEG", comment=MARKER), "converted"),
        (encoded(Image.fromarray(PIXELS).convert("RGBA"), "PNG"), "converted"),
        (encoded(Image.fromarray(PIXELS).quantize(), "PNG"), "converted"),
        (encoded(PIXELS, "JPEG", icc_profile=b"no profile"), "stripped"),
    ],
)
def test_any_other_image_becomes_a_jpeg_of_its_pixels(data: bytes, treatment: Treatment) -> None:
    image = published_image(data, PATH)
    assert image.treatment == treatment and MARKER.encode() not in image.data
    written = image_of(image.data)
    assert (written.format, written.mode, written.size) == ("JPEG", "RGB", image.pixels.size)
    assert not {"exif", "icc_profile", "comment", "xmp"} & written.info.keys()


@pytest.mark.parametrize("options", [{}, {"subsampling": 2}, {"progressive": True}])
def test_a_text_behind_the_last_pixel_of_a_scan_is_not_kept(options: dict[str, int]) -> None:
    data = encoded(smooth(5), "JPEG", **options)
    assert published_image(data, PATH).treatment == "kept"
    hiding = data[:-2] + b"Anna Mueller, born 12.03.1987" + data[-2:]
    np.testing.assert_array_equal(pixels_of(hiding), pixels_of(data))
    image = published_image(hiding, PATH)
    assert image.treatment == "converted" and b"Mueller" not in image.data


@pytest.mark.parametrize("value", [0, 128, 130, 255])
@pytest.mark.parametrize("quality", [75, 95, 100])
def test_an_image_of_one_colour_hides_nothing(value: int, quality: int) -> None:
    data = encoded(np.full((450, 600, 3), value, np.uint8), "JPEG", quality=quality)
    assert published_image(data, PATH).treatment == "kept"


def test_masks_keep_their_pixels_and_nothing_else() -> None:
    mask = speckles(1)
    marked = marked_png(mask, MARKER)
    bare = published_mask(marked, PATH)
    assert MARKER.encode() not in bare
    np.testing.assert_array_equal(pixels_of(bare), mask)
    assert published_mask(bare, PATH) == bare == published_mask(encoded(mask, "PNG"), PATH)
    other = published_mask(encoded(mask, "BMP"), PATH)
    np.testing.assert_array_equal(pixels_of(other), mask)


def test_what_has_no_metadata_is_not_decoded() -> None:
    torn = encoded(PIXELS, "JPEG")[:-40] + b"\xff\xd9"
    assert without_metadata(torn, PATH) == (torn, "kept")
    marked = marked_jpeg(PIXELS, MARKER)
    assert without_metadata(marked, PATH) == (published_image(marked, PATH).data, "stripped")
    with pytest.raises(DidgenError, match="photo is truncated or not an image"):
        without_metadata(b"no image", PATH)


def test_a_copy_without_metadata_is_known_by_its_pixels() -> None:
    for data in (
        marked_jpeg(PIXELS, MARKER),
        marked_jpeg(PIXELS, MARKER, orientation=8),
        marked_jpeg(PIXELS, MARKER, icc=profile(MARKER, WIDE)),
        marked_png(PIXELS, MARKER),
        encoded(PIXELS, "BMP"),
    ):
        first = published_image(data, PATH)
        before, copy = pixel_digests(first, PATH), published_image(first.data, PATH)
        after = pixel_digests(copy, PATH)
        assert after.published is None
        assert after.pixels == (before.published or before.pixels)
        # A lossless copy of what was published, as nnU-Net gets it, has these pixels at once.
        lossless = published_image(encoded(copy.pixels, "PNG"), PATH)
        assert pixel_digests(lossless, PATH).pixels == after.pixels
        # So has one of the file as it came.
        stripped = published_image(encoded(first.pixels, "PNG"), PATH)
        assert pixel_digests(stripped, PATH).pixels == before.pixels


def test_a_digest_knows_the_size() -> None:
    row = np.zeros((1, 6, 3), np.uint8)
    digests = {digest(Image.fromarray(row.reshape(shape))) for shape in ((1, 6, 3), (2, 3, 3))}
    assert len(digests) == 2


def test_a_side_that_no_jpeg_has_is_named() -> None:
    data = encoded(np.zeros((1, LONGEST_SIDE + 1, 3), np.uint8), "PNG")
    with pytest.raises(DidgenError, match="photo is 65501x1 pixels, and no side of a JPEG"):
        published_image(data, PATH)


def test_treatments_in_words() -> None:
    assert said_of(Counter({"turned": 2, "kept": 1})) == (
        "1 as they were, 2 turned upright and encoded anew"
    )
    assert said_of(Counter()) == ""


def test_a_profile_of_srgb_changes_nothing() -> None:
    data = encoded(PIXELS, "JPEG", icc_profile=profile("sRGB", SRGB))
    assert published_image(data, PATH).treatment == "stripped"


def test_large_progressive_images_are_probed_in_all_their_scans(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ImageFile, "MAXBLOCK", 2**22)
    data = encoded(noise(2, 150, 200), "JPEG", quality=100, subsampling=0, progressive=True)
    assert published_image(data, PATH).treatment == "kept"
