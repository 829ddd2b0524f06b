"""Tests of bare PNGs: the pixels stay, and nothing else does."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from didgen.manifests.errors import DidgenError
from didgen.manifests.privacy.png import bare_png, is_png
from tests.fixtures.metadata import chunk, marked_png, pixels_of
from tests.fixtures.pictures import encoded, noise, speckles

PATH = Path("mask.png")
PLAIN = encoded(speckles(1), "PNG")
KINDS = st.sampled_from([b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME", b"pHYs", b"prVt"])


@settings(deadline=None)
@given(st.lists(st.builds(chunk, KINDS, st.binary(max_size=40)), max_size=4), st.binary())
def test_whatever_is_inserted_goes(extra: list[bytes], after: bytes) -> None:
    # Behind the header, whose chunk has 13 bytes of content.
    marked = PLAIN[:33] + b"".join(extra) + PLAIN[33:] + after
    assert bare_png(marked, PATH) == PLAIN


@settings(deadline=None)
@given(st.integers(0, len(PLAIN)), st.binary(max_size=8))
def test_a_torn_file_is_named(length: int, odd: bytes) -> None:
    torn = PLAIN[:length] + odd
    if length == len(PLAIN):
        assert bare_png(torn, PATH) == PLAIN
        return
    try:
        bare_png(torn, PATH)
    except DidgenError as error:
        sentence = str(error)
    else:
        sentence = "mask.png is whole; replace the file."
    assert sentence.startswith("mask.png is ") and sentence.endswith("; replace the file.")


def test_palette_and_transparency_stay() -> None:
    for image in (
        Image.fromarray(noise(1)).quantize(8),
        Image.fromarray(noise(1)).convert("RGBA"),
        Image.fromarray(speckles(1)).convert("1"),
    ):
        data = encoded(image, "PNG", **({"transparency": 0} if image.mode == "P" else {}))
        bare = bare_png(data, PATH)
        assert is_png(bare) and bare == data
        marked = marked_png(image, "MARKER")
        assert b"MARKER" not in bare_png(marked, PATH)
        np.testing.assert_array_equal(pixels_of(bare_png(marked, PATH)), pixels_of(marked))
    with pytest.raises(DidgenError, match="is no PNG; replace the file"):
        bare_png(b"GIF89a", PATH)
