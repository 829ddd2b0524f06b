"""Reading images and masks: size-limited before decoding, one sentence for each fault."""

import io
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from didgen.manifests.errors import DidgenError
from didgen.manifests.files import naming

MAX_PIXELS = 64_000_000
"""Images of more pixels than this are refused before they are decoded."""

FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
"""What Pillow may try; its other readers are many, and some start foreign programs."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp")
"""File name endings of `FORMATS`, in lower case."""

_EXIF_FAULTS = (OSError, SyntaxError, ValueError, KeyError, TypeError, struct.error)
"""What Pillow raises of EXIF that is broken in one way or another."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings a picture upright, by its EXIF orientation."""

_warning_filters = threading.Lock()


@dataclass(frozen=True)
class Drawn:
    """How a mask file was drawn: `orientation` is the EXIF one that turns it along with its
    photograph, and in an inverted one the skin is white."""

    orientation: int = 1
    inverted: bool = False


AS_STORED = Drawn()
"""A mask that lies over the upright photograph, with a white lesion."""


@contextmanager
def _without_warnings() -> Iterator[None]:
    # Python's warning filters belong to the process, so two threads must not swap them at once.
    with _warning_filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def decode(data: bytes, path: Path) -> Image.Image:
    """Decode the bytes of the image file `path`; an oversized or broken one is a `DidgenError`."""
    too_large = f"{path} has more pixels than the limit of {MAX_PIXELS:,}; scale it down."
    try:
        with _without_warnings():
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise DidgenError(too_large)
        image.load()
    except Image.DecompressionBombError:
        raise DidgenError(too_large) from None
    except (OSError, SyntaxError, ValueError) as error:
        # Pillow's own text for a foreign file shows the address of a buffer, which says nothing.
        foreign = isinstance(error, UnidentifiedImageError)
        detail = f"no {', '.join(FORMATS)} header" if foreign else str(error).rstrip(".")
        raise DidgenError(
            f"{path} is truncated or not an image ({detail}); replace the file."
        ) from None
    return image


def encoded(picture: Image.Image | np.ndarray, form: str, **options: int) -> bytes:
    """The bytes of an image file of a format of Pillow; options are those of its writer.

    What the picture was read with does not go along: Pillow would write its comment and profile.
    """
    image = picture.copy() if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.info = {}
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def open_checked(path: Path) -> Image.Image:
    """Decode an image file; a missing, oversized, truncated or foreign file is a `DidgenError`."""
    return decode(read_file(path), path)


def read_file(path: Path) -> bytes:
    """Read a file whole; one that is missing or closed is a `DidgenError`.

    What a failing drive or system raises is none: it stays an OSError, which says nothing of the
    file itself.
    """
    try:
        with naming(path):
            return path.read_bytes()
    except FileNotFoundError:
        raise DidgenError(f"{path} does not exist; restore it or take it out.") from None
    except (PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise DidgenError(f"{path} cannot be read ({error.strerror}); mend its rights.") from None


def upright(image: Image.Image) -> Image.Image:
    """Turn an image in place by its EXIF orientation, and return it."""
    # Broken EXIF leaves the pixels whole; viewers show such a picture as it is stored.
    with _without_warnings(), suppress(*_EXIF_FAULTS):
        ImageOps.exif_transpose(image, in_place=True)
    return image


def orientation(image: Image.Image) -> int:
    """The EXIF orientation by which viewers turn an image, 1 to 8; 1 where there is none."""
    with _without_warnings(), suppress(*_EXIF_FAULTS):
        stored = image.getexif().get(ExifTags.Base.Orientation, 1)
        return stored if stored in _TURNS else 1
    return 1


def is_upright(image: Image.Image) -> bool:
    """Whether an image is stored the way up that it is shown."""
    return orientation(image) == 1


def turned(mask: np.ndarray, orientation: int) -> np.ndarray:
    """A boolean mask (H, W), turned as viewers turn a photograph of this EXIF orientation."""
    if orientation not in _TURNS:
        return mask
    return np.asarray(Image.fromarray(mask).transpose(_TURNS[orientation]))


def read_image(path: Path) -> Image.Image:
    """Read an RGB image, turned upright by its EXIF orientation."""
    return upright(open_checked(path)).convert("RGB")


def see_through(image: Image.Image) -> bool:
    """Whether some pixels of a picture are transparent and others are not."""
    if not image.has_transparency_data:
        return False
    least, most = image.convert("RGBA").getchannel("A").getextrema()
    return least != most


def middle(pixels: np.ndarray) -> np.ndarray:
    """The central square of an image or mask (H, W) or (H, W, C): what models are trained on."""
    side = min(pixels.shape[:2])
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def as_mask(image: Image.Image, path: Path) -> np.ndarray:
    """Turn a decoded mask into boolean (H, W); True is lesion.

    A mask has two levels at most, black and one other, and is not see-through in places; anything
    else is a `DidgenError` that names `path`.
    """
    if see_through(image):
        # White on see-through white would be a mask of everything.
        raise DidgenError(
            f"{path} is see-through in places; save it without transparency, as 0 and 255."
        )
    grey = upright(image).convert("L")
    levels = sum(count > 0 for count in grey.histogram()[1:])
    if levels > 1:
        raise DidgenError(
            f"{path} is not binary: it has {levels} grey levels besides black; "
            "threshold it to 0 and 255."
        )
    return np.asarray(grey) > 0


def read_mask(path: Path, drawn: Drawn = AS_STORED) -> np.ndarray:
    """Read a lesion mask as boolean (H, W), over the upright photograph; True is lesion.

    A mask has two levels at most, black and one other; anything else is a `DidgenError`.
    """
    mask = turned(as_mask(open_checked(path), path), drawn.orientation)
    return ~mask if drawn.inverted else mask
