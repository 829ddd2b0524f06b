"""Images: a record's photograph and mask as tensors, cut to the central square."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from didgen.manifests.images import read_image
from didgen.manifests.sources.records import SourceManifest, SourceRecord


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
