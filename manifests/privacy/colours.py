"""Colours: an image as sRGB, by the ICC profile that it carries."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

NEAR = 3
"""Levels of 255 by which colours of a profile may differ from sRGB's and still count as these.

Profiles that makers call sRGB round their curves in several ways.
"""

_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC

_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION

_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}
"""The colour space that a profile of an image of a mode of Pillow is for."""

_FAULTS = (ImageCms.PyCMSError, OSError, ValueError, TypeError)
"""What Pillow raises of a profile that is broken in one way or another."""


def has_other_colours(image: Image.Image) -> bool:
    """Whether an image carries a profile by which its colours are not those of sRGB."""
    profile, plain = image.info.get("icc_profile"), _plain_mode(image)
    return isinstance(profile, bytes) and _differs(profile, plain)


def in_srgb(image: Image.Image) -> Image.Image:
    """An image as RGB in sRGB; one without a profile that can be used is in sRGB already."""
    if not has_other_colours(image):
        return image.convert("RGB")
    return _transformed(image.convert(_plain_mode(image)), image.info["icc_profile"])


def _plain_mode(image: Image.Image) -> str:
    """The mode without palette or transparency that an image's colours are told in."""
    if image.mode == "CMYK":
        return "CMYK"
    return "L" if image.mode in ("1", "L", "LA", "La") else "RGB"


@lru_cache(maxsize=64)
def _differs(profile: bytes, mode: str) -> bool:
    """Whether a profile gives other colours than sRGB; one that cannot be used does not."""
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    bands = len(Image.new(mode, (1, 1)).getbands())
    grid = np.stack(np.meshgrid(*[steps] * bands), -1).reshape(len(steps), -1, bands)
    tried = Image.fromarray(grid[..., 0] if bands == 1 else grid, mode=mode)
    try:
        seen = np.asarray(_transformed(tried, profile), np.int16)
    except _FAULTS:
        return False
    return bool(np.abs(seen - np.asarray(tried.convert("RGB"), np.int16)).max() > NEAR)


def _transformed(image: Image.Image, profile: bytes) -> Image.Image:
    """The RGB image that a profile makes of an image of a plain mode."""
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if opened.profile.xcolor_space.strip() != _SPACES[image.mode]:
        raise ValueError("the profile is for another kind of colours")
    target = ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(
        opened, target, image.mode, "RGB", renderingIntent=_INTENT, flags=_FLAGS
    )
    changed = ImageCms.applyTransform(image, transform)
    assert changed is not None
    return changed
