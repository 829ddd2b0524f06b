"""Geometry: size, place, shape, border and symmetry of a lesion, measured on its mask."""

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.measure import regionprops

from didgen.augment.captions.calibration import CAL
from didgen.augment.prompts.agreement import Geometry, Room
from didgen.augment.prompts.schema import Asymmetry, Border, Position, Shape, Size


def room(mask: np.ndarray) -> Room | None:
    """What a layout mask (H, W) bool leaves to be said; None of an empty one."""
    if not mask.any():
        return None
    small = shrink(mask, *working_size(mask.shape))
    skin = (~ndimage.binary_dilation(small, iterations=CAL.skin_margin)).mean() >= CAL.min_skin
    return Room(geometry(mask), bool(_edge(small).any()), bool(skin))


def geometry(mask: np.ndarray) -> Geometry:
    """The geometry of a lesion from its mask (H, W) bool with at least one pixel."""
    small = shrink(mask, *working_size(mask.shape))
    size = list(Size)[int(np.searchsorted(CAL.size_limits, mask.mean(), side="right"))]
    (region,) = regionprops(small.astype(np.uint8))
    offset = (np.array(region.centroid) + 0.5) / small.shape - 0.5
    row, column = (int(np.sign(x)) * int(abs(x) > CAL.center_reach) + 1 for x in offset)
    position = list(Position)[3 * row + column]
    frame = np.ones_like(small)
    frame[1:-1, 1:-1] = False
    outline = small & ~ndimage.binary_erosion(small)
    if (outline & frame).sum() > CAL.whole * outline.sum():
        return Geometry(size, None, position, None)
    smooth = ndimage.gaussian_filter(small.astype(float), CAL.ragged) >= 0.5
    solidity = regionprops(smooth.astype(np.uint8))[0].solidity if smooth.any() else 1.0
    if solidity <= CAL.irregular_solidity:
        odd = asymmetry(mask) is Asymmetry.ASYMMETRIC
        return Geometry(size, Shape.IRREGULAR, position, Asymmetry.ASYMMETRIC if odd else None)
    ratio = region.axis_minor_length / max(region.axis_major_length, 1e-6)
    shape = None
    if solidity >= CAL.smooth_solidity:
        shape = (
            Shape.ROUND
            if ratio >= CAL.round_ratio
            else Shape.OVAL
            if ratio <= CAL.oval_ratio
            else None
        )
    return Geometry(size, shape, position, asymmetry(mask))


def asymmetry(mask: np.ndarray) -> Asymmetry | None:
    """Whether a mask (H, W) bool is its own mirror image about two axes at right angles.

    As in the ABCD rule (Stolz et al., 1994), the axes go through the centroid and are those that
    fit best.
    """
    side = CAL.mirror_side / max(mask.shape)
    small = shrink(mask, *(max(1, round(length * side)) for length in mask.shape[::-1]))
    points = np.argwhere(small)
    centroid = points.mean(axis=0)
    angles = np.arange(2 * CAL.mirror_angles) * (np.pi / (2 * CAL.mirror_angles))
    turns = np.stack(
        [np.cos(2 * angles), np.sin(2 * angles), np.sin(2 * angles), -np.cos(2 * angles)], axis=-1
    ).reshape(-1, 2, 2)
    mirrored = np.rint((points - centroid) @ turns + centroid).astype(int)
    inside = ((mirrored >= 0) & (mirrored < small.shape)).all(axis=-1)
    mirrored[~inside] = 0
    unmatched = 1 - (small[mirrored[..., 0], mirrored[..., 1]] & inside).mean(axis=1)
    share = (unmatched[: CAL.mirror_angles] + unmatched[CAL.mirror_angles :]).min() / 2
    if share <= CAL.symmetric_share:
        return Asymmetry.SYMMETRIC
    return Asymmetry.ASYMMETRIC if share >= CAL.asymmetric_share else None


def border(lightness: np.ndarray, mask: np.ndarray) -> Border | None:
    """How steeply L* (H, W) rises across the border of a mask (H, W); None if it is in doubt."""
    edge = _edge(mask)
    if not edge.any():
        return None
    depth = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    inward = np.stack(np.gradient(ndimage.gaussian_filter(depth, 2)))
    slope = np.stack(np.gradient(ndimage.gaussian_filter(lightness, 1)))
    rise = -(slope * inward).sum(axis=0) / np.maximum(np.hypot(*inward), 1e-6)
    steepest = ndimage.maximum_filter(rise, 2 * CAL.border_reach + 1)[edge].mean()
    steepest *= max(mask.shape) / 100
    if steepest >= CAL.sharp_rise:
        return Border.SHARP
    return Border.BLURRED if steepest < CAL.blurred_rise else None


def working_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Width and height at which an image of shape (H, W) is measured."""
    scale = CAL.working_side / max(shape)
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
