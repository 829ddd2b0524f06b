"""Geometry: size, place, shape, border and symmetry of a lesion, measured on its mask."""

from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.measure import regionprops

from didgen.augment.prompts.schema import Asymmetry, Attributes, Border, Position, Shape, Size
from didgen.augment.prompts.sentence import replace_geometry

WORKING_SIDE = 128
"""Longest side in pixels at which all is measured but hair and rulers; those at twice that."""

SIZE_LIMITS = (0.04, 0.12, 0.35, 0.7)
"""Shares of the frame between the sizes: 2, 12, 38, 37 and 10 % of ISIC 2018's Task 3 lesions."""

CENTER_REACH = 0.1
"""A centroid this near the frame's middle, in frame sides along each axis, is at the center."""

OVAL_RATIO, ROUND_RATIO = 0.78, 0.83
"""Minor over major axis of the ellipse of equal moments up to which a lesion is oval and from
which on it is round; between, the eye takes it for either."""

IRREGULAR_SOLIDITY, SMOOTH_SOLIDITY = 0.93, 0.95
"""Area over convex area up to which an outline is irregular and from which on it is not."""

RAGGED = 1.5
"""Sigma in pixels of what is smoothed away first: masks made by programs have ragged outlines."""

WHOLE = 0.15
"""Share of an outline that the frame may cut before the lesion's form cannot be told."""

SYMMETRIC_SHARE, ASYMMETRIC_SHARE = 0.05, 0.13
"""Share of a lesion that is not matched by its mirror images, up to which it is symmetric and
from which on it is asymmetric: mean of the two axes at right angles that match best."""

MIRROR_SIDE, MIRROR_ANGLES = 64, 12
"""Longest side in pixels, and axes in a quarter turn, at which symmetry is measured."""

BORDER_RISES = (2.6, 4.2)
"""Rise of L* per hundredth of the longest side below which a border is blurred and from which on
it is sharp, set by eye; between, it is not named."""

BORDER_REACH = 3
"""Hand-drawn masks miss the border by this many pixels; the steepest rise within is taken."""

SKIN_MARGIN = 3
"""Pixels around the mask that are left out of the skin."""

MIN_SKIN = 0.02
"""Share of the frame that must be skin for a tone to be named."""


class Room(NamedTuple):
    """What a layout leaves to be said: its lesion's geometry, and whether border and skin show."""

    geometry: "Geometry"
    border: bool
    skin: bool


def room(mask: np.ndarray) -> Room | None:
    """What a layout mask (H, W) bool leaves to be said; None of an empty one."""
    if not mask.any():
        return None
    small = shrink(mask, *working_size(mask.shape))
    skin = (~ndimage.binary_dilation(small, iterations=SKIN_MARGIN)).mean() >= MIN_SKIN
    return Room(geometry(mask), bool(_edge(small).any()), bool(skin))


def agree(attributes: Attributes, layout: Room) -> Attributes:
    """Take the geometry of a lesion from a layout, so that no prompt denies it.

    Nor is a border or skin named that the layout leaves no room for. Other attributes stay as
    they are, and so do all where no lesion is described.
    """
    if attributes.lesion is None:
        return attributes
    found: dict[str, object] = layout.geometry._asdict()
    if not layout.border:
        found["border"] = None
    surround = attributes.surround
    if not layout.skin:
        surround = surround.model_copy(update={"tone": None, "tint": None})
    lesion = attributes.lesion.model_copy(update=found)
    return attributes.model_copy(update={"lesion": lesion, "surround": surround})


def agree_sentence(caption: str, layout: Room) -> str:
    """Like `agree`, for a caption that was not rendered: its geometry becomes the layout's."""
    size, shape, position, _ = layout.geometry
    form = " ".join(filter(None, (size, shape)))
    return replace_geometry(caption, f"a {form} lesion at the {position}")


class Geometry(NamedTuple):
    """What a mask alone says of its lesion."""

    size: Size
    shape: Shape | None
    position: Position
    asymmetry: Asymmetry | None


def geometry(mask: np.ndarray) -> Geometry:
    """The geometry of a lesion from its mask (H, W) bool with at least one pixel."""
    small = shrink(mask, *working_size(mask.shape))
    size = list(Size)[int(np.searchsorted(SIZE_LIMITS, mask.mean(), side="right"))]
    (region,) = regionprops(small.astype(np.uint8))
    offset = (np.array(region.centroid) + 0.5) / small.shape - 0.5
    row, column = (int(np.sign(x)) * int(abs(x) > CENTER_REACH) + 1 for x in offset)
    position = list(Position)[3 * row + column]
    frame = np.ones_like(small)
    frame[1:-1, 1:-1] = False
    outline = small & ~ndimage.binary_erosion(small)
    if (outline & frame).sum() > WHOLE * outline.sum():
        return Geometry(size, None, position, None)
    smooth = ndimage.gaussian_filter(small.astype(float), RAGGED) >= 0.5
    solidity = regionprops(smooth.astype(np.uint8))[0].solidity if smooth.any() else 1.0
    if solidity <= IRREGULAR_SOLIDITY:
        odd = asymmetry(mask) is Asymmetry.ASYMMETRIC
        return Geometry(size, Shape.IRREGULAR, position, Asymmetry.ASYMMETRIC if odd else None)
    ratio = region.axis_minor_length / max(region.axis_major_length, 1e-6)
    shape = None
    if solidity >= SMOOTH_SOLIDITY:
        shape = Shape.ROUND if ratio >= ROUND_RATIO else Shape.OVAL if ratio <= OVAL_RATIO else None
    return Geometry(size, shape, position, asymmetry(mask))


def asymmetry(mask: np.ndarray) -> Asymmetry | None:
    """Whether a mask (H, W) bool is its own mirror image about two axes at right angles.

    As in the ABCD rule (Stolz et al., 1994), the axes go through the centroid and are those that
    fit best.
    """
    side = MIRROR_SIDE / max(mask.shape)
    small = shrink(mask, *(max(1, round(length * side)) for length in mask.shape[::-1]))
    points = np.argwhere(small)
    centroid = points.mean(axis=0)
    angles = np.arange(2 * MIRROR_ANGLES) * (np.pi / (2 * MIRROR_ANGLES))
    turns = np.stack(
        [np.cos(2 * angles), np.sin(2 * angles), np.sin(2 * angles), -np.cos(2 * angles)], axis=-1
    ).reshape(-1, 2, 2)
    mirrored = np.rint((points - centroid) @ turns + centroid).astype(int)
    inside = ((mirrored >= 0) & (mirrored < small.shape)).all(axis=-1)
    mirrored[~inside] = 0
    unmatched = 1 - (small[mirrored[..., 0], mirrored[..., 1]] & inside).mean(axis=1)
    share = (unmatched[:MIRROR_ANGLES] + unmatched[MIRROR_ANGLES:]).min() / 2
    if share <= SYMMETRIC_SHARE:
        return Asymmetry.SYMMETRIC
    return Asymmetry.ASYMMETRIC if share >= ASYMMETRIC_SHARE else None


def border(lightness: np.ndarray, mask: np.ndarray) -> Border | None:
    """How steeply L* (H, W) rises across the border of a mask (H, W); None if it is in doubt."""
    edge = _edge(mask)
    if not edge.any():
        return None
    depth = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    inward = np.stack(np.gradient(ndimage.gaussian_filter(depth, 2)))
    slope = np.stack(np.gradient(ndimage.gaussian_filter(lightness, 1)))
    rise = -(slope * inward).sum(axis=0) / np.maximum(np.hypot(*inward), 1e-6)
    steepest = ndimage.maximum_filter(rise, 2 * BORDER_REACH + 1)[edge].mean()
    blurred, sharp = BORDER_RISES
    steepest *= max(mask.shape) / 100
    return Border.SHARP if steepest >= sharp else Border.BLURRED if steepest < blurred else None


def working_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Width and height at which an image of shape (H, W) is measured."""
    scale = WORKING_SIDE / max(shape)
    height, width = (max(1, round(side * scale)) for side in shape)
    return width, height


def doubled(mask: np.ndarray) -> np.ndarray:
    """A mask (H, W) at twice its sides, each pixel four times."""
    return mask.repeat(2, axis=0).repeat(2, axis=1)


def halved(mask: np.ndarray) -> np.ndarray:
    """Where all four pixels of (2H, 2W) bool hold, (H, W) bool."""
    squares = mask.reshape(mask.shape[0] // 2, 2, mask.shape[1] // 2, 2)
    return np.asarray(squares.all(axis=(1, 3)))


def _edge(mask: np.ndarray) -> np.ndarray:
    """The pixels of a mask (H, W) bool that border on what is not in it, the frame apart."""
    return mask & ~ndimage.binary_erosion(mask, border_value=1)


def shrink(mask: np.ndarray, width: int, height: int) -> np.ndarray:
    """Reduce a mask by area; the fullest pixel stays however small the lesion is."""
    cover = np.asarray(
        Image.fromarray(mask.astype(np.float32)).resize((width, height), Image.Resampling.BOX)
    )
    return cover >= min(0.5, cover.max())
