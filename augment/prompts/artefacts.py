"""Artefacts: what lies on the skin besides the lesion: hair, ruler marks, ink, dark corners."""

import numpy as np
from PIL import Image
from scipy import ndimage

HAIR_CLOSING = 9
"""Side in pixels of a closing wider than hair, whose difference to the image is the black-hat
(Lee et al., DullRazor, 1997)."""

FRAME = 3
"""Pixels along the frame where no line is looked for: some pictures were cut with a dark edge."""

CONTRAST = 16
"""Grey levels of 256 in the black-hat from which on a pixel may be hair."""

HAIR_LENGTH = 30
"""Pixels that the bounding box of a hair spans at least, corner to corner."""

HAIR_DENSITY = 0.09
"""Area over squared span of a hair, or of hairs that cross, at most: what separates them from
pigment networks, which clump."""

TICKS = ((16, 6), (10, 8))
"""Grey levels in the black-hat from which on a pixel may be a tick, and how many evenly spaced
ticks make a ruler: first of dark ones, then of faint ones."""

HAIR_OUTSIDE = 20
"""Pixels of a hair that lie outside the lesion at least."""

MAX_LINES = 0.12
"""Share of the picture in which dark lines stand evenly by chance; no ruler is named from there."""

RULER_ANGLES = 48
"""Directions in half a turn in which ticks in a row are looked for."""

TICK_LENGTH = 5
"""Pixels across a row of ticks within which it is seen in neighbouring rows of pixels."""

STACK = 2
"""Rows of pixels in which the same ticks are seen."""

RUNS = 6
"""Runs of evenly spaced ticks with the same gap, side by side or overlapping, in a ruler."""

TICK_GAPS = (6, 45)
"""Bounds of the distance between ticks in pixels; hairs that stand closer are often as even."""

GAP_SPREAD = 0.15
"""Share by which the gaps between the ticks of a ruler may differ, or one pixel."""

RULER_REACH = 10
"""Pixels beside a row of ticks that are the ruler's as well: its line and longer ticks."""

INK_CHROMA, INK_BLUE, INK_SHIFT, INK_DEPTH = 15.0, -5.0, 15.0, 8.0
"""In CIE Lab, violet and blue ink has at least this chroma, a b* below this and this much below
that of the skin, and an L* this much below that of the skin. Set by eye."""

PATCH = 7
"""Side in pixels of a square that fits into a coloured sticker but not between strokes of ink."""

MIN_INK = 0.002
"""Share of the picture from which on ink is named."""

CORNER = 0.06
"""Side in frame sides of the corner squares."""

CORNER_LIGHTNESS = 0.7
"""L* over that of the skin below which a corner is dark."""


def black_hat(gray: np.ndarray) -> np.ndarray:
    """How much darker a pixel is than what is beside it, (H, W), in a grey image (H, W) uint8."""
    hat = np.zeros_like(gray)
    inner = (slice(FRAME, -FRAME), slice(FRAME, -FRAME))
    hat[inner] = (ndimage.grey_closing(gray, (HAIR_CLOSING, HAIR_CLOSING)) - gray)[inner]
    return hat


def hair_mask(hat: np.ndarray, lesion: np.ndarray, foreign: np.ndarray) -> np.ndarray:
    """Pixels of dark hair, (H, W) bool, in a black-hat (H, W) of 256 pixels a side.

    A line that does not leave the `lesion` (H, W) bool may be its pattern, and what is `foreign`
    (H, W) bool is a ruler or ink: neither is taken for hair.
    """
    components, count = ndimage.label((hat >= CONTRAST) & ~foreign, np.ones((3, 3)))
    boxes = ndimage.find_objects(components)
    span = np.array([np.hypot(y.stop - y.start, x.stop - x.start) for y, x in boxes])
    area, outside = (
        np.bincount(components[part], minlength=count + 1)[1:]
        for part in (np.ones_like(lesion), ~lesion)
    )
    sparse = (span >= HAIR_LENGTH) & (area <= HAIR_DENSITY * span**2) & (outside >= HAIR_OUTSIDE)
    # No network reaches across the whole picture; dense hair does.
    across = span >= max(hat.shape)
    return np.concatenate([[False], sparse | across])[components]


def ruler_mask(hat: np.ndarray, lesion: np.ndarray) -> np.ndarray:
    """Where a ruler lies, (H, W) bool, found by its ticks in a black-hat (H, W) of 256 pixels.

    What lies in the `lesion` (H, W) bool is not looked at: pigment networks are even as well.
    """
    for contrast, count in TICKS:
        lines = (hat >= contrast) & ~lesion
        if lines.mean() <= MAX_LINES and (found := _even_ticks(lines, count)).any():
            return found
    return np.zeros_like(lesion)


def _even_ticks(lines: np.ndarray, count: int) -> np.ndarray:
    """Strips (H, W) bool along rows of `count` ticks among dark lines (H, W) bool.

    The picture is turned to each of `RULER_ANGLES` directions; in the right one, neighbouring rows
    of pixels show the same gaps over and over.
    """
    # As bytes, which Pillow turns and hands over faster than bits.
    picture = Image.fromarray(lines.astype(np.uint8))
    found = np.zeros_like(lines)
    for angle in np.arange(RULER_ANGLES) * (180 / RULER_ANGLES):
        turned = np.asarray(picture.rotate(angle, expand=True))
        runs = _runs_of_ticks(turned, count)
        strip = np.zeros(turned.shape, dtype=bool)
        for row, column, gap in runs:
            apart = np.abs(runs - (row, column, gap))
            near = apart <= (TICK_LENGTH, gap * count, 1)
            same = apart <= (TICK_LENGTH, 1, 1)
            # A straight hair breaks up evenly in single rows; ticks stand over one another.
            stacked = len(np.unique(runs[same.all(axis=1), 0])) >= STACK
            if stacked and near.all(axis=1).sum() >= RUNS:
                # The ruler goes on beyond the ticks that were found.
                strip[max(0, int(row) - RULER_REACH) : int(row) + RULER_REACH] = True
        if strip.any():
            back = np.asarray(Image.fromarray(strip).rotate(-angle, expand=True))
            top, left = ((a - b) // 2 for a, b in zip(back.shape, lines.shape, strict=True))
            found |= back[top : top + lines.shape[0], left : left + lines.shape[1]]
    return found


def _runs_of_ticks(marks: np.ndarray, count: int) -> np.ndarray:
    """Rows, first columns and gaps (N, 3) of runs of `count` even marks in (H, W) of 0 and 1."""
    flat = marks.ravel()
    starts = np.flatnonzero(flat[1:] > flat[:-1])
    rows, columns = np.divmod(starts, marks.shape[1])
    if len(rows) < count:
        return np.empty((0, 3))
    gaps = np.diff(columns).astype(float)
    usable = (np.diff(rows) == 0) & (gaps >= TICK_GAPS[0]) & (gaps <= TICK_GAPS[1])
    # A straight hair along the row breaks up evenly as well, but into more marks than gaps.
    ends = np.append(np.flatnonzero(flat[1:] < flat[:-1]), flat.size)
    usable &= (ends[np.searchsorted(ends, starts, side="right")] - starts)[:-1] <= gaps / 2
    if usable.sum() < count - 1:
        return np.empty((0, 3))
    runs = np.lib.stride_tricks.sliding_window_view(np.where(usable, gaps, np.nan), count - 1)
    # A gap that is not usable makes its whole run not a number, which is near to nothing.
    means = runs.mean(axis=1)
    allowed = np.maximum(1.0, GAP_SPREAD * means)
    even = np.nonzero((np.abs(runs - means[:, None]) <= allowed[:, None]).all(axis=1))[0]
    return np.stack([rows[even], columns[even], means[even]], axis=1)


def ink_mask(lab: np.ndarray, lesion: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """Pixels of violet or blue surgical ink on the skin, (H, W) bool, in CIE Lab (H, W, 3).

    `lesion` is (H, W) bool, `skin` CIE Lab (3,). Stickers of one colour are no ink.
    """
    blue = lab[..., 2] <= min(INK_BLUE, skin[2] - INK_SHIFT)
    blue &= np.hypot(lab[..., 1], lab[..., 2]) >= INK_CHROMA
    blue &= ~lesion
    sticker = ndimage.binary_dilation(
        ndimage.binary_opening(blue, np.ones((PATCH, PATCH))), iterations=PATCH
    )
    return blue & ~sticker & (lab[..., 0] <= skin[0] - INK_DEPTH)


def dark_corners(lightness: np.ndarray, lesion: np.ndarray | None, skin: np.ndarray | None) -> bool:
    """Whether at least two corners are mostly dark, the lesion apart."""
    reference = np.median(lightness) if skin is None else skin[0]
    dark = lightness < CORNER_LIGHTNESS * reference
    if lesion is not None:
        dark &= ~lesion
    rows, columns = (max(1, round(CORNER * side)) for side in dark.shape)
    corners = [
        dark[y, x]
        for y in (slice(rows), slice(-rows, None))
        for x in (slice(columns), slice(-columns, None))
    ]
    return sum(corner.mean() > 0.5 for corner in corners) >= 2
