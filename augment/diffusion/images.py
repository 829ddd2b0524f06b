"""Images: photographs and masks as tensors, a record's cut to the central square."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from didgen.manifests.images import read_image
from didgen.manifests.sources.records import SourceManifest, SourceRecord

Masks = Tensor | np.ndarray | Image.Image | Sequence[Image.Image | np.ndarray | Tensor]
"""What a caller may have for layouts."""


def load_pixels(manifest: SourceManifest, record: SourceRecord, size: int) -> Tensor:
    """An image with its short side at `size`, cut to its middle, (3, size, size) in [-1, 1]."""
    array = np.asarray(read_image(manifest.image_path(record)))
    pixels = torch.from_numpy(array.copy()).movedim(-1, 0)[None].float()
    height, width = pixels.shape[-2:]
    if min(height, width) != size:
        scale = size / min(height, width)
        shape = (max(size, round(height * scale)), max(size, round(width * scale)))
        pixels = F.interpolate(pixels, shape, mode="bilinear", antialias=True)
    return _middle(pixels[0], size) / 127.5 - 1


def load_mask(manifest: SourceManifest, record: SourceRecord, size: int) -> Tensor:
    """The lesion mask cut like its image, (1, size, size): the lesion's share of each pixel."""
    mask = torch.from_numpy(manifest.read_mask(record))[None, None].float()
    height, width = mask.shape[-2:]
    scale = size / min(height, width)
    shape = (max(size, round(height * scale)), max(size, round(width * scale)))
    return _middle(F.interpolate(mask, shape, mode="area")[0], size)


def _middle(image: Tensor, size: int) -> Tensor:
    """The central square of (C, H, W)."""
    top, left = (image.shape[-2] - size) // 2, (image.shape[-1] - size) // 2
    return image[:, top : top + size, left : left + size]


def as_layouts(masks: Masks, count: int, size: tuple[int, int] = (1, 1)) -> Tensor:
    """Layouts (count, 1, H, W) float in [0, 1] of what a caller has; ValueError where it is not.

    size: height and width of the images, whose proportions they must have.
    """
    if isinstance(masks, Image.Image):
        masks = [masks]
    if not isinstance(masks, Tensor | np.ndarray):
        masks = np.stack(
            [
                np.asarray(mask.convert("L"), np.float32) / 255
                if isinstance(mask, Image.Image)
                else np.asarray(mask)
                for mask in masks
            ]
        )
    layouts = torch.as_tensor(masks).float()
    layouts = layouts[:, None] if layouts.ndim == 3 else layouts
    if layouts.ndim != 4 or layouts.shape[:2] != (count, 1):
        raise ValueError(f"masks of {count} prompts are ({count}, 1, H, W), not {masks.shape}")
    if layouts.shape[2] * size[1] != layouts.shape[3] * size[0]:
        wanted = "square" if size[0] == size[1] else f"in proportions of {size[0]} to {size[1]}"
        raise ValueError(f"masks are {wanted}, like the images, not {tuple(layouts.shape[2:])}")
    if not bool(((layouts >= 0) & (layouts <= 1)).all()):
        raise ValueError("masks lie in [0, 1]; divide levels of 0 to 255 by 255")
    return layouts
