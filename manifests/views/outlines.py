"""Outlines: for the eye, outlines of masks on images, and panels side by side."""

import numpy as np
from matplotlib import colormaps
from PIL import Image
from scipy import ndimage

MASK_COLOUR, LAYOUT_COLOUR = (0, 255, 140), (255, 255, 255)


def outline(image: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """The image (H, W, 3) uint8 with the border of a boolean mask (H, W) drawn on it."""
    edge = mask & ~ndimage.binary_erosion(mask, iterations=2)
    drawn = image.copy()
    drawn[edge] = colour
    return drawn


def binary(mask: np.ndarray) -> np.ndarray:
    """A boolean mask (H, W) as an image (H, W, 3) of black and white."""
    return np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=-1)


def pair_panel(image: np.ndarray, mask: np.ndarray, layout: np.ndarray | None = None) -> np.ndarray:
    """An image with its mask's outline in green and its layout's in white; the mask beside it.

    image: (H, W, 3) uint8; mask, layout: (H, W) booleans. Returns (H, 2 W, 3).
    """
    marked = image if layout is None else outline(image, layout, LAYOUT_COLOUR)
    return np.concatenate([outline(marked, mask, MASK_COLOUR), binary(mask)], axis=1)


def heat(levels: np.ndarray, side: int) -> np.ndarray:
    """A map (S, S) uint8 as an image (side, side, 3) uint8, from black over red to pale yellow."""
    enlarged = Image.fromarray(levels).resize((side, side), Image.Resampling.BICUBIC)
    return (255 * colormaps["magma"](np.asarray(enlarged))[..., :3]).round().astype(np.uint8)
