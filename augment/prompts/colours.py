"""Colours: the colour names of a lesion, and the tone and tint of the skin around it."""

import numpy as np
from scipy import ndimage
from skimage.color import lab2xyz, rgb2xyz, xyz2lab

from didgen.augment.prompts.geometry import MIN_SKIN, SKIN_MARGIN
from didgen.augment.prompts.schema import MAX_COLORS, Color, Tint, Tone

COLOR_MARGIN = 2
"""Pixels inside the mask that are left out of the colours, for the same reason."""

MIN_CORE = 0.3
"""Share of the lesion that must be left by that margin and by hair."""

COLOR_SHARE = 0.12
"""A colour that covers a smaller share of the lesion is not named."""

PROTOTYPES: tuple[tuple[Color, tuple[float, float, float]], ...] = (
    (Color.BLACK, (12, 7, 3)),
    (Color.BLACK, (24, 4, 3)),
    (Color.DARK_BROWN, (24, 16, 10)),
    (Color.DARK_BROWN, (31, 30, 22)),
    (Color.LIGHT_BROWN, (50, 21, 23)),
    (Color.LIGHT_BROWN, (47, 31, 28)),
    (Color.LIGHT_BROWN, (55, 26, 27)),
    (Color.TAN, (64, 17, 22)),
    (Color.TAN, (70, 13, 19)),
    (Color.BLUE_GRAY, (28, 13, -2)),
    (Color.BLUE_GRAY, (46, 13, 0)),
    (Color.RED, (42, 46, 10)),
    (Color.RED, (48, 44, 21)),
    (Color.PINK, (53, 27, 19)),
    (Color.PINK, (61, 26, 19)),
    (Color.PINK, (56, 31, 12)),
    (Color.PINK, (65, 28, 8)),
    (Color.WHITE, (84, 6, 8)),
    (Color.YELLOW, (70, 12, 42)),
)
"""CIE Lab of the colour names under light that shows skin as `REFERENCE_SKIN`; placed by eye
between the cluster centres of each diagnosis, red and pink at those of vascular lesions."""

REFERENCE_SKIN = (70.0, 12.0, 17.0)
"""CIE Lab of light skin. Dermatoscopes differ too much in cast for absolute colours, so colours
are named as the eye does, relative to the skin around them (von Kries adaptation)."""

ADAPTATION = 0.6
"""Share of the skin's cast that is taken out: like the eye, which does not adapt in full, and
sees what is redder than red skin as red. Set by eye."""

EXPOSURE_LIMITS = (0.6, 1.7)
"""Bounds of the change of luminance to the reference, so that dark skin bleaches no lesion."""

RING = 0.12
"""Width in frame sides of the outer ring that is taken for skin when there is no mask."""

SHADOW = 20.0
"""L* below which a pixel is shadow or vignette rather than skin."""

TONE_LIMITS = (75.7, 65.6, 59.6, 53.2, 39.6)
"""L* between the tones: the ITA limits 55, 41, 28, 10 and -30 degrees (Chardon et al. 1991; Del
Bino and Bernerd 2013) at b* = 18 of skin in daylight, since b* in a dermatoscope is its cast."""

VIOLET_HUE, BEIGE_HUE, RED_CHROMA = -8.0, 28.0, 24.0
"""CIE Lab hue angles in degrees below and above which skin is violet and beige; the chroma from
which on it is red whatever its warm hue. Set by eye."""


def colors(rgb: np.ndarray, skin: np.ndarray | None) -> tuple[Color, ...]:
    """Name the colours of lesion pixels (N, 3) uint8, by falling share and relative to the skin.

    `skin` is CIE Lab (3,); without it the pixels are taken as they are.
    """
    xyz = rgb2xyz(rgb[None])
    if skin is not None:
        reference = np.array(REFERENCE_SKIN)
        reference[1:] = ADAPTATION * reference[1:] + (1 - ADAPTATION) * skin[1:]
        gain = lab2xyz(reference) / lab2xyz(skin)
        xyz = xyz * gain * (np.clip(gain[1], *EXPOSURE_LIMITS) / gain[1])
    lab = xyz2lab(xyz)[0]
    distance = np.square(lab[:, None] - np.array([point for _, point in PROTOTYPES])).sum(axis=-1)
    nearest = np.bincount(distance.argmin(axis=1), minlength=len(PROTOTYPES)) / len(lab)
    shares = dict.fromkeys(Color, 0.0)
    for (name, _), share in zip(PROTOTYPES, nearest, strict=True):
        shares[name] += float(share)
    ranked = sorted(Color, key=lambda name: -shares[name])
    return (ranked[0], *(n for n in ranked[1:MAX_COLORS] if shares[n] >= COLOR_SHARE))


def tone(skin: np.ndarray) -> Tone:
    """The tone of a skin colour, CIE Lab (3,)."""
    return list(Tone)[sum(float(skin[0]) < limit for limit in TONE_LIMITS)]


def tint(skin: np.ndarray) -> Tint:
    """The tint of a skin colour, CIE Lab (3,)."""
    hue = np.degrees(np.arctan2(skin[2], skin[1]))
    if hue < VIOLET_HUE:
        return Tint.VIOLET
    if np.hypot(skin[1], skin[2]) >= RED_CHROMA:
        return Tint.RED
    return Tint.BEIGE if hue >= BEIGE_HUE else Tint.PINK


def skin_color(lab: np.ndarray, lesion: np.ndarray | None, bare: np.ndarray) -> np.ndarray | None:
    """Median CIE Lab (3,) of the skin in frame, or None if there is too little."""
    if lesion is None:
        outside = np.ones_like(bare)
        rows, columns = (round(RING * side) for side in bare.shape)
        outside[rows : bare.shape[0] - rows, columns : bare.shape[1] - columns] = False
    else:
        outside = ~ndimage.binary_dilation(lesion, iterations=SKIN_MARGIN)
    outside &= bare & (lab[..., 0] >= SHADOW)
    return np.median(lab[outside], axis=0) if outside.mean() >= MIN_SKIN else None
