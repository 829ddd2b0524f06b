"""Task 1: predicted masks as images of the photographs' own size.

The challenge asks for `ISIC_<image_id>_segmentation.png`, one channel of 8 bits, 0 outside and 255
inside the lesion, of exactly the image's size (challenge.isic-archive.com/landing/2018/45).

Notable choices:
- Networks see the central square of a photograph. What lies outside it is written as skin.
- A mask is scaled between its pixels' centres and is lesion above one half.
- The challenge wishes for one region without holes. The mask is written as it was predicted.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from didgen.downstream.benchmark.results import Segmentations
from didgen.manifests.images import encoded
from didgen.manifests.sources.records import SourceRecord


def write_masks(found: Segmentations, records: dict[str, SourceRecord], folder: Path) -> None:
    """Write one PNG an image, of the size of its record."""
    folder.mkdir(parents=True)
    for key, mask in zip(found.keys, found.masks, strict=True):
        record = records[key]
        whole = over_whole(mask, record.width, record.height)
        image = encoded(whole.astype(np.uint8) * 255, "PNG")
        (folder / f"{key}_segmentation.png").write_bytes(image)


def over_whole(mask: NDArray[np.bool_], width: int, height: int) -> NDArray[np.bool_]:
    """A mask (S, S) of the central square as one of the whole image, (height, width)."""
    side = min(width, height)
    shares = Image.fromarray(mask.astype(np.float32)).resize(
        (side, side), Image.Resampling.BILINEAR
    )
    whole = np.zeros((height, width), np.bool_)
    top, left = (height - side) // 2, (width - side) // 2
    whole[top : top + side, left : left + side] = np.asarray(shares) > 0.5
    return whole
