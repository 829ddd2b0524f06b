"""Tests of colours: a profile is applied where it says other colours than sRGB, and only there."""

import numpy as np
import pytest
from PIL import Image, ImageCms

from didgen.manifests.privacy.colours import has_other_colours, in_srgb
from tests.fixtures.metadata import WIDE, profile
from tests.fixtures.pictures import smooth

PIXELS = smooth(2)


def image(mode: str, icc: bytes | None) -> Image.Image:
    made = Image.fromarray(PIXELS).convert(mode)
    if icc is not None:
        made.info["icc_profile"] = icc
    return made


BUILT_IN = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize(
    "icc", [None, b"", b"no profile", profile("x")[:200], profile("x"), BUILT_IN]
)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK"])
def test_srgb_and_what_is_no_profile_change_nothing(mode: str, icc: bytes | None) -> None:
    one = image(mode, icc)
    assert not has_other_colours(one)
    np.testing.assert_array_equal(in_srgb(one), one.convert("RGB"))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_a_wide_profile_spreads_colours_and_keeps_grey(mode: str) -> None:
    one = image(mode, profile("wide", WIDE))
    assert has_other_colours(one)
    seen, plain = np.asarray(in_srgb(one), int), np.asarray(one.convert("RGB"), int)
    spread = seen.max(-1) - seen.min(-1), plain.max(-1) - plain.min(-1)
    assert spread[0].mean() > spread[1].mean() + 5
    grey = Image.new("RGB", (4, 4), (90, 90, 90))
    grey.info["icc_profile"] = profile("wide", WIDE)
    assert np.abs(np.asarray(in_srgb(grey), int) - 90).max() <= 2


def test_a_profile_for_other_pixels_is_none() -> None:
    assert not has_other_colours(image("L", profile("wide", WIDE)))
    assert not has_other_colours(image("CMYK", profile("wide", WIDE)))
