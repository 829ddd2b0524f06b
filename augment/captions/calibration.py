"""Calibration: every constant of the measures, with its unit and where its value is from.

Lengths in pixels are those of the working size, `working_side` a side, if nothing else is said.
"By eye" means tuned on drawn sheets of ISIC 2018, see docs/results/captions.md.
"""

from dataclasses import dataclass

from didgen.augment.prompts.schema import Color

VERSION = 3
"""Raised with every change of a measure, so that cached captions of another are not reused."""

Lab = tuple[float, float, float]
"""A colour in CIE Lab, D65."""


@dataclass(frozen=True)
class Calibration:
    """The constants of all measures; a change of one raises `VERSION`."""

    working_side: int = 128
    """Longest side in pixels at which all is measured but hair and rulers; those at twice that."""

    size_limits: tuple[float, ...] = (0.04, 0.12, 0.35, 0.7)
    """Shares of the frame between the sizes. They part ISIC 2018's Task 3 lesions in 2, 12, 38, 37
    and 10 %."""

    center_reach: float = 0.1
    """A centroid this near the frame's middle, in frame sides along each axis, is at the center.
    By eye."""

    oval_ratio: float = 0.78
    """Minor over major axis of the ellipse of equal moments up to which a lesion is oval. By
    eye."""

    round_ratio: float = 0.83
    """The same ratio from which on it is round; between, the eye takes it for either."""

    irregular_solidity: float = 0.93
    """Area over convex area up to which an outline is irregular. By eye."""

    smooth_solidity: float = 0.95
    """Area over convex area from which on it is not irregular. By eye."""

    ragged: float = 1.5
    """Sigma in pixels of what is smoothed away first: masks made by programs have ragged
    outlines."""

    whole: float = 0.15
    """Share of an outline that the frame may cut before the lesion's form cannot be told."""

    symmetric_share: float = 0.05
    """Share of a lesion that its mirror images leave unmatched, up to which it is symmetric: mean
    of the two axes at right angles that match best, as in the ABCD rule (Stolz et al., 1994). The
    limit is by eye."""

    asymmetric_share: float = 0.13
    """The same share from which on it is asymmetric. By eye."""

    mirror_side: int = 64
    """Longest side in pixels at which symmetry is measured."""

    mirror_angles: int = 12
    """Axes in a quarter turn at which symmetry is measured."""

    blurred_rise: float = 2.6
    """Rise of L* per hundredth of the longest side below which a border is blurred. By eye."""

    sharp_rise: float = 4.2
    """The same rise from which on it is sharp; between, it is not named. By eye."""

    border_reach: int = 3
    """Hand-drawn masks miss the border by this many pixels; the steepest rise within is taken."""

    skin_margin: int = 3
    """Pixels around the mask that are left out of the skin, for the same reason."""

    color_margin: int = 2
    """Pixels inside the mask that are left out of the colours, for the same reason."""

    min_skin: float = 0.02
    """Share of the frame that must be skin for a tone to be named."""

    min_core: float = 0.3
    """Share of the lesion that must be left by the margin and by hair for it to speak for all."""

    color_share: float = 0.12
    """A colour that covers a smaller share of the lesion is not named. By eye."""

    prototypes: tuple[tuple[Color, Lab], ...] = (
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
    """Colour names under light that shows skin as `reference_skin`. Placed by eye between the
    cluster centres of each diagnosis of ISIC 2018, red and pink at those of vascular lesions."""

    reference_skin: Lab = (70.0, 12.0, 17.0)
    """Light skin. Dermatoscopes differ too much in cast for absolute colours, so colours are named
    as the eye does, relative to the skin around them (von Kries adaptation)."""

    adaptation: float = 0.6
    """Share of the skin's cast that is taken out: like the eye, which does not adapt in full, and
    sees what is redder than red skin as red. By eye."""

    exposure_limits: tuple[float, float] = (0.6, 1.7)
    """Bounds of the change of luminance to the reference, so that dark skin bleaches no lesion."""

    ring: float = 0.12
    """Width in frame sides of the outer ring that is taken for skin when there is no mask."""

    shadow: float = 20.0
    """L* below which a pixel is shadow or vignette rather than skin. By eye."""

    tone_limits: tuple[float, ...] = (75.7, 65.6, 59.6, 53.2, 39.6)
    """L* between the tones: the ITA limits 55, 41, 28, 10 and -30 degrees (Chardon et al., 1991;
    Del Bino and Bernerd, 2013) at b* = 18 of skin in daylight, since b* in a dermatoscope is its
    cast."""

    violet_hue: float = -8.0
    """CIE Lab hue angle in degrees below which skin is violet. By eye."""

    beige_hue: float = 28.0
    """The same angle from which on it is beige. By eye."""

    red_chroma: float = 24.0
    """Chroma from which on skin is red, whatever its warm hue. By eye."""

    hair_closing: int = 9
    """Side in pixels, at twice the working size, of a closing wider than hair, whose difference to
    the image is the black-hat (Lee et al., DullRazor, 1997)."""

    frame: int = 3
    """Pixels along the frame where no line is looked for: some pictures were cut with a dark
    edge."""

    contrast: int = 16
    """Grey levels of 256 in the black-hat from which on a pixel may be hair. By eye."""

    hair_length: int = 30
    """Pixels that the bounding box of a hair spans at least, corner to corner."""

    hair_density: float = 0.09
    """Area over squared span of a hair, or of hairs that cross, at most: what separates them from
    pigment networks, which clump. By eye."""

    hair_outside: int = 20
    """Pixels of a hair that lie outside the lesion at least."""

    hair_limits: tuple[float, ...] = (0.0018, 0.1)
    """Shares of the picture between no, some and dense hair. By eye."""

    ticks: tuple[tuple[int, int], ...] = ((16, 6), (10, 8))
    """Grey levels in the black-hat from which on a pixel may be a tick, and how many evenly spaced
    ticks make a ruler: first of dark ones, then of faint ones. By eye."""

    max_lines: float = 0.12
    """Share of the picture in which dark lines stand evenly by chance; no ruler is named from
    there."""

    ruler_angles: int = 48
    """Directions in half a turn in which ticks in a row are looked for."""

    tick_length: int = 5
    """Pixels across a row of ticks within which it is seen in neighbouring rows of pixels."""

    stack: int = 2
    """Rows of pixels in which the same ticks are seen at least."""

    runs: int = 6
    """Runs of evenly spaced ticks with the same gap, side by side or overlapping, in a ruler."""

    tick_gaps: tuple[int, int] = (6, 45)
    """Bounds of the distance between ticks in pixels; hairs that stand closer are often as even."""

    gap_spread: float = 0.15
    """Share by which the gaps between the ticks of a ruler may differ, or one pixel."""

    ruler_reach: int = 10
    """Pixels beside a row of ticks that are the ruler's as well: its line and longer ticks."""

    ink_chroma: float = 15.0
    """Chroma that violet and blue ink has at least. By eye."""

    ink_blue: float = -5.0
    """b* that ink has at most. By eye."""

    ink_shift: float = 15.0
    """How far below that of the skin the b* of ink lies at least. By eye."""

    ink_depth: float = 8.0
    """How far below that of the skin the L* of ink lies at least. By eye."""

    patch: int = 7
    """Side in pixels of a square that fits into a coloured sticker but not between strokes of
    ink."""

    min_ink: float = 0.002
    """Share of the picture from which on ink is named."""

    corner: float = 0.06
    """Side in frame sides of the corner squares."""

    corner_lightness: float = 0.7
    """L* over that of the skin below which a corner is dark. By eye."""


CAL = Calibration()
"""The constants that captions are measured with."""
