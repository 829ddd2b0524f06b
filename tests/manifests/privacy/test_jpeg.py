"""Tests of bare JPEGs: whatever segments are inserted, the pixels stay equal to the bit."""

import functools
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from didgen.manifests.errors import DidgenError
from didgen.manifests.privacy.jpeg import END, bare_jpeg, bare_parts, is_jpeg
from tests.fixtures.metadata import inserted, pixels_of, segment
from tests.fixtures.pictures import encoded, noise, smooth

PATH = Path("photo.jpg")

PLAIN = st.sampled_from(
    [
        ("noise", {"quality": 90}),
        ("smooth", {"quality": 75, "subsampling": 2}),
        ("smooth", {"quality": 75, "progressive": True}),
        ("noise", {"quality": 50, "restart_marker_blocks": 3}),
        ("noise", {"quality": 50, "keep_rgb": True}),
        ("grey", {"quality": 80, "optimize": True}),
        ("cmyk", {"quality": 80}),
    ]
)
# Codes that carry nothing which pixels need: APP0 to APP15, COM, and reserved ones.
CODES = st.sampled_from([*range(0xE0, 0xF0), 0xFE])
TEXTS = st.one_of(
    st.binary(max_size=60),
    st.binary(max_size=40).map(lambda end: b"JFIF\0\x01\x02\x01\0\x48\0\x48\0\0" + end),
    st.binary(max_size=40).map(lambda end: b"Exif\0\0II*\0" + end),
    st.binary(max_size=40).map(lambda end: b"\xff\xd8\xff\xd9\xff\xda" + end),
)
# An Adobe segment says how colours are stored: it changes pixels, and so it is not inserted.
SEGMENTS = st.lists(
    st.builds(segment, CODES, TEXTS.filter(lambda text: not text.startswith(b"Adobe"))), max_size=5
)


@functools.cache
def plain(name: str, options: frozenset[tuple[str, int]]) -> bytes:
    pixels = smooth(4) if name == "smooth" else noise(3, 40, 56)
    image = Image.fromarray(pixels)
    mode = {"grey": "L", "cmyk": "CMYK"}.get(name, "RGB")
    return encoded(image.convert(mode), "JPEG", **dict(options))


def stripped_or_named(data: bytes) -> bool:
    """Whether a file becomes a JPEG, or the sentence of a `DidgenError` names it and the mend."""
    try:
        return bare_jpeg(data, PATH).startswith(b"\xff\xd8")
    except DidgenError as error:
        return re.fullmatch(r"photo\.jpg is .+; replace the file\.", str(error)) is not None


def segments_of(data: bytes) -> list[int]:
    """Where each segment ends, before the first scan."""
    ends, place = [2], 2
    while data[place + 1] != 0xDA:
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
        ends.append(place)
    return ends


@settings(deadline=None, max_examples=150)
@given(PLAIN, SEGMENTS, st.binary(max_size=50), st.data())
def test_pixels_are_equal_to_the_bit_whatever_is_inserted(
    picture: tuple[str, dict[str, int]], extra: list[bytes], after: bytes, data: st.DataObject
) -> None:
    before = plain(picture[0], frozenset(picture[1].items()))
    marked = before
    for one in extra:
        place = data.draw(st.sampled_from(segments_of(marked)))
        marked = marked[:place] + one + marked[place:]
    marked += after
    bare = bare_jpeg(marked, PATH)
    np.testing.assert_array_equal(pixels_of(bare), pixels_of(marked))
    assert bare_jpeg(bare, PATH) == bare and bare.endswith(END)
    # Inserted first, a JFIF segment would say how colours are stored; it comes first anyway.
    assert len(bare) <= len(before) + 18


@settings(deadline=None, max_examples=300)
@given(PLAIN, SEGMENTS, st.data())
def test_a_torn_file_is_stripped_or_named_and_never_more(
    picture: tuple[str, dict[str, int]], extra: list[bytes], data: st.DataObject
) -> None:
    marked = inserted(plain(picture[0], frozenset(picture[1].items())), *extra)
    torn = bytearray(marked[: data.draw(st.integers(0, len(marked)))])
    for _ in range(data.draw(st.integers(0, 3))):
        if torn:
            torn[data.draw(st.integers(0, len(torn) - 1))] = data.draw(st.integers(0, 255))
    assert stripped_or_named(bytes(torn))


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=80))
def test_any_bytes_are_stripped_or_named(data: bytes) -> None:
    for tried in (data, b"\xff\xd8\xff" + data):
        assert stripped_or_named(tried)


@pytest.mark.parametrize("name", ["noise", "smooth"])
def test_our_own_files_come_back_as_they_are(name: str) -> None:
    data = plain(name, frozenset({("quality", 95), ("subsampling", 0)}))
    assert is_jpeg(data) and bare_jpeg(data, PATH) == data


def test_everything_outside_of_what_pixels_need_goes() -> None:
    data = encoded(noise(3, 40, 56), "JPEG", progressive=True)
    scan = data.index(b"\xff\xda")
    odd = [
        inserted(data, segment(0xE0, b"JFXX\0\x10" + data)),
        inserted(data, segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\1\1" + b"RGBsecret")),
        data + b"secret",
        data[:-2] + b"\xff\xff\xff" + segment(0xFE, b"secret") + data[-2:],
        data[:scan] + b"\xff\xff" + segment(0xE7, b"secret") + data[scan:],
        data + data,
    ]
    for marked in odd:
        assert bare_jpeg(marked, PATH) == data


def test_scans_are_told_apart() -> None:
    parts = bare_parts(encoded(noise(3, 40, 56), "JPEG", progressive=True), PATH)
    kinds = [kind for kind, _ in parts]
    assert kinds.count("scan") > 5 and kinds[0] == "head" and kinds[-1] == "end"
    (once,) = [part for kind, part in bare_parts(encoded(noise(3), "JPEG"), PATH) if kind == "scan"]
    assert b"\xff\xd9" not in once


def test_of_how_colours_are_stored_one_byte_is_kept() -> None:
    data = encoded(Image.fromarray(noise(3, 40, 56)).convert("CMYK"), "JPEG")
    place = data.index(b"Adobe")
    marked = data[: place + 5] + b"\x77\x77\x66\x66\x55\x55" + data[place + 11 :]
    bare = bare_jpeg(marked, PATH)
    assert b"wwffUU" not in bare
    np.testing.assert_array_equal(pixels_of(bare), pixels_of(data))
