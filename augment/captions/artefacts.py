"""Artefacts: what lies on the skin besides the lesion: hair, ruler marks, ink, dark corners."""

import numpy as np
from PIL import Image
from scipy import ndimage

from didgen.augment.captions.calibration import CAL


def black_hat(gray: np.ndarray) -> np.ndarray:
    """How much darker a pixel is than what is beside it, (H, W), in a grey image (H, W) uint8."""
    hat = np.zeros_like(gray)
    inner = (slice(CAL.frame, -CAL.frame), slice(CAL.frame, -CAL.frame))
    hat[inner] = (ndimage.grey_closing(gray, (CAL.hair_closing, CAL.hair_closing)) - gray)[inner]
    return hat


def hair_mask(hat: np.ndarray, lesion: np.ndarray, foreign: np.ndarray) -> np.ndarray:
    """Pixels of dark hair, (H, W) bool, in a black-hat (H, W) of 256 pixels a side.

    A line that does not leave the `lesion` (H, W) bool may be its pattern, and what is `foreign`
    (H, W) bool is a ruler or ink: neither is taken for hair.
    """
    components, count = ndimage.label((hat >= CAL.contrast) & ~foreign, np.ones((3, 3)))
    boxes = ndimage.find_objects(components)
    span = np.array([np.hypot(y.stop - y.start, x.stop - x.start) for y, x in boxes])
    area, outside = (
        np.bincount(components[part], minlength=count + 1)[1:]
        for part in (np.ones_like(lesion), ~lesion)
    )
    thin = area <= CAL.hair_density * span**2
    sparse = (span >= CAL.hair_length) & thin & (outside >= CAL.hair_outside)
    # No network reaches across the whole picture; dense hair does.
    across = span >= max(hat.shape)
    return np.concatenate([[False], sparse | across])[components]


def ruler_mask(hat: np.ndarray, lesion: np.ndarray) -> np.ndarray:
    """Where a ruler lies, (H, W) bool, found by its ticks in a black-hat (H, W) of 256 pixels.

    What lies in the `lesion` (H, W) bool is not looked at: pigment networks are even as well.
    """
    for contrast, count in CAL.ticks:
        lines = (hat >= contrast) & ~lesion
        if lines.mean() <= CAL.max_lines and (found := _even_ticks(lines, count)).any():
            return found
    return np.zeros_like(lesion)


def _even_ticks(lines: np.ndarray, count: int) -> np.ndarray:
    """Strips (H, W) bool along rows of `count` ticks among dark lines (H, W) bool.

    The picture is turned to each of `ruler_angles` directions; in the right one, neighbouring rows
    of pixels show the same gaps over and over.
    """
    # As bytes, which Pillow turns and hands over faster than bits.
    picture = Image.fromarray(lines.astype(np.uint8))
    found = np.zeros_like(lines)
    for angle in np.arange(CAL.ruler_angles) * (180 / CAL.ruler_angles):
        turned = np.asarray(picture.rotate(angle, expand=True))
        runs = _runs_of_ticks(turned, count)
        strip = np.zeros(turned.shape, dtype=bool)
        for row, column, gap in runs:
            apart = np.abs(runs - (row, column, gap))
            near = apart <= (CAL.tick_length, gap * count, 1)
            same = apart <= (CAL.tick_length, 1, 1)
            # A straight hair breaks up evenly in single rows; ticks stand over one another.
            stacked = len(np.unique(runs[same.all(axis=1), 0])) >= CAL.stack
            if stacked and near.all(axis=1).sum() >= CAL.runs:
                # The ruler goes on beyond the ticks that were found.
                strip[max(0, int(row) - CAL.ruler_reach) : int(row) + CAL.ruler_reach] = True
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
    usable = (np.diff(rows) == 0) & (gaps >= CAL.tick_gaps[0]) & (gaps <= CAL.tick_gaps[1])
    # A straight hair along the row breaks up evenly as well, but into more marks than gaps.
    ends = np.append(np.flatnonzero(flat[1:] < flat[:-1]), flat.size)
    usable &= (ends[np.searchsorted(ends, starts, side="right")] - starts)[:-1] <= gaps / 2
    if usable.sum() < count - 1:
        return np.empty((0, 3))
    runs = np.lib.stride_tricks.sliding_window_view(np.where(usable, gaps, np.nan), count - 1)
    # A gap that is not usable makes its whole run not a number, which is near to nothing.
    means = runs.mean(axis=1)
    allowed = np.maximum(1.0, CAL.gap_spread * means)
    even = np.nonzero((np.abs(runs - means[:, None]) <= allowed[:, None]).all(axis=1))[0]
    return np.stack([rows[even], columns[even], means[even]], axis=1)


def ink_mask(lab: np.ndarray, lesion: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """Pixels of violet or blue surgical ink on the skin, (H, W) bool, in CIE Lab (H, W, 3).

    `lesion` is (H, W) bool, `skin` CIE Lab (3,). Stickers of one colour are no ink.
    """
    blue = lab[..., 2] <= min(CAL.ink_blue, skin[2] - CAL.ink_shift)
    blue &= np.hypot(lab[..., 1], lab[..., 2]) >= CAL.ink_chroma
    blue &= ~lesion
    sticker = ndimage.binary_dilation(
        ndimage.binary_opening(blue, np.ones((CAL.patch, CAL.patch))), iterations=CAL.patch
    )
    return blue & ~sticker & (lab[..., 0] <= skin[0] - CAL.ink_depth)


def dark_corners(lightness: np.ndarray, lesion: np.ndarray | None, skin: np.ndarray | None) -> bool:
    """Whether at least two corners are mostly dark, the lesion apart."""
    reference = np.median(lightness) if skin is None else skin[0]
    dark = lightness < CAL.corner_lightness * reference
    if lesion is not None:
        dark &= ~lesion
    rows, columns = (max(1, round(CAL.corner * side)) for side in dark.shape)
    corners = [
        dark[y, x]
        for y in (slice(rows), slice(-rows, None))
        for x in (slice(columns), slice(-columns, None))
    ]
    return sum(corner.mean() > 0.5 for corner in corners) >= 2
