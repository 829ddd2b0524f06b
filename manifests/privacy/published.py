"""Published images: what of a real photograph is written out, and how its pixels are known again.

Notable choices:
- An upright sRGB JPEG keeps its compressed data, so that its pixels are equal to the bit; only what
  no pixel needs is cut off. Any other image is brought upright and to sRGB, and encoded once.
- A published image is published as it is: to publish it again changes nothing.
- Pixels are hashed as one decoder gives them. Another version of it may decode other ones, and
  then the hash of the file is what an image is known by.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from PIL import Image, ImageChops

from didgen.manifests.errors import DidgenError
from didgen.manifests.images import decode, encoded, is_upright, upright
from didgen.manifests.privacy.colours import has_other_colours, in_srgb
from didgen.manifests.privacy.jpeg import Part, bare_jpeg, bare_parts, is_jpeg
from didgen.manifests.privacy.png import bare_png, is_png

QUALITY = 95
"""JPEG quality of what is encoded anew."""

LONGEST_SIDE = 65_500
"""Pixels of the longest side that is encoded as JPEG."""

Treatment = Literal["kept", "stripped", "turned", "profiled", "converted"]
"""What became of an image: its bytes as they were, without what no pixel needs, or encoded anew
because it was stored on its side, in other colours than sRGB, or as no RGB JPEG."""

LOSSLESS: tuple[Treatment, ...] = ("kept", "stripped")

_WORDS: dict[Treatment, str] = {
    "kept": "as they were",
    "stripped": "without their metadata",
    "turned": "turned upright and encoded anew",
    "profiled": "brought to sRGB and encoded anew",
    "converted": "encoded as JPEG",
}

_TAIL = 16
"""Bytes at the end of a scan that are changed to see whether they hold any pixel."""

_TEXT = re.compile(rb"[ -~]{8}\Z")
"""What reads as text at the end of a scan; one in thousands does so by chance."""

_SEQUENTIAL = (b"\xff\xc0", b"\xff\xc1")
"""How the frame of a JPEG begins that has each pixel in one scan alone, in Huffman codes."""


@dataclass(frozen=True)
class PublishedImage:
    """The bytes of a JPEG without metadata, and what became of the file it is from.

    pixels: the image as RGB, upright and in sRGB, before any encoding.
    """

    data: bytes
    treatment: Treatment
    pixels: Image.Image


def published_image(data: bytes, path: Path) -> PublishedImage:
    """The image file `path` as it is published; one that cannot be decoded is a `DidgenError`."""
    return published(data, decode(data, path), path)


def published(data: bytes, image: Image.Image, path: Path) -> PublishedImage:
    """The image file `path` as it is published, once it is decoded; `image` may be turned.

    One with a side that no JPEG has room for is a `DidgenError`.
    """
    treatment: Treatment = "converted"
    if not is_upright(image):
        treatment = "turned"
    elif has_other_colours(image):
        treatment = "profiled"
    elif image.mode == "RGB" and (bare := _lossless(data, image, path)) is not None:
        return PublishedImage(bare, "kept" if bare == data else "stripped", image)
    anew = in_srgb(upright(image))
    if max(anew.size) > LONGEST_SIDE:
        raise DidgenError(
            f"{path} is {anew.width}x{anew.height} pixels, and no side of a JPEG may be longer "
            f"than {LONGEST_SIDE:,}; scale it down."
        )
    written = encoded(anew, "JPEG", quality=QUALITY, subsampling=0)
    return PublishedImage(written, treatment, anew)


def published_mask(data: bytes, path: Path) -> bytes:
    """The mask file `path` without metadata and with the same pixels, as PNG.

    One of colours that no PNG has is a `DidgenError`.
    """
    if is_png(data):
        return bare_png(data, path)
    image = decode(data, path)
    if image.mode == "CMYK":
        raise DidgenError(f"{path} is in the colours of print; save it as a PNG of 0 and 255.")
    return encoded(image, "PNG")


def without_metadata(data: bytes, path: Path) -> tuple[bytes, Treatment]:
    """The image file `path` as it is published; one that has no metadata is not decoded."""
    if is_jpeg(data):
        with suppress(DidgenError):
            if bare_jpeg(data, path) == data:
                return data, "kept"
    image = published_image(data, path)
    return image.data, image.treatment


@dataclass(frozen=True)
class PixelDigests:
    """What an image is known by, whatever file it comes in.

    pixels: the digest of its pixels, upright and in sRGB; published: of those that it has once it
    is published, where that is not without loss.
    """

    pixels: str
    published: str | None


def pixel_digests(image: PublishedImage, path: Path) -> PixelDigests:
    """The digests of the image file `path`."""
    pixels = digest(image.pixels)
    if image.treatment in LOSSLESS:
        return PixelDigests(pixels, None)
    return PixelDigests(pixels, digest(decode(image.data, path)))


def digest(image: Image.Image) -> str:
    """Hex SHA-256 of the size and the pixels of an RGB image."""
    found = hashlib.sha256(f"{image.width}x{image.height}\n".encode())
    found.update(image.tobytes())
    return found.hexdigest()


def said_of(treated: Counter[Treatment]) -> str:
    """How many images were treated how, in words."""
    names: tuple[Treatment, ...] = get_args(Treatment)
    return ", ".join(f"{treated[name]} {_WORDS[name]}" for name in names if treated[name])


def _lossless(data: bytes, image: Image.Image, path: Path) -> bytes | None:
    """The bare JPEG of a decoded image; None for no JPEG, and for one that is not told apart."""
    if not is_jpeg(data):
        return None
    try:
        parts = bare_parts(data, path)
        bare = b"".join(piece for _, piece in parts)
        same = bare == data or _same(image, decode(bare, path))
    except DidgenError:
        return None
    return bare if same and not _hides(parts, image, path) else None


def _hides(parts: Sequence[tuple[Part, bytes]], image: Image.Image, path: Path) -> bool:
    """Whether a scan of a bare JPEG goes on after its last pixel: there is room for a text.

    Of a scan that later ones refine, the last bytes may change no pixel; there only what reads as
    text is taken for one.
    """
    scans = [place for place, (kind, _) in enumerate(parts) if kind == "scan"]
    if not any(piece[:2] in _SEQUENTIAL for _, piece in parts):
        return any(_TEXT.search(parts[place][1]) for place in scans)
    pieces = [piece for _, piece in parts]
    for place in scans:
        if len(pieces[place]) > 4 * _TAIL:
            with suppress(DidgenError):
                if _same(image, decode(_altered(pieces, place), path)):
                    return True
    return False


def _altered(pieces: list[bytes], place: int) -> bytes:
    """A file from its pieces, with other bytes at the end of the scan in one place."""
    scan = pieces[place]
    # Neither a marker nor half of a stuffed byte may come of it.
    kept = scan[:-_TAIL].rstrip(b"\xff")
    tail = bytes((byte ^ 0x5A) & 0x7F for byte in scan[len(kept) :])
    return b"".join([*pieces[:place], kept, tail, *pieces[place + 1 :]])


def _same(one: Image.Image, other: Image.Image) -> bool:
    """Whether two images have the same pixels."""
    if (one.mode, one.size) != (other.mode, other.size):
        return False
    return ImageChops.difference(one, other).getbbox() is None
