"""Masks of real photographs from a segmentation net that `didgen segment` trained.

Notable choices:
- The net sees the whole photograph, brought to the square that it was trained at: a lesion may lie
  outside its middle.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from didgen.downstream.benchmark.segmentation.benchmark import predict
from didgen.downstream.quality.judge import open_judge
from didgen.manifests.errors import DidgenError
from didgen.manifests.images import read_image
from didgen.manifests.sources.annotating import DrawnMask
from didgen.manifests.sources.records import SourceManifest, SourceRecord

BATCH = 16


class NetworkAnnotator:
    """Draws masks by a trained segmentation net."""

    def __init__(self, folder: Path) -> None:
        self.judge = open_judge(folder)
        if self.judge.classes:
            raise DidgenError(f"{folder} is a classifier; give a training of `didgen segment`.")
        self.name = f"network {self.judge.name}, {self.judge.sha256[:8]}"

    def masks(
        self, manifest: SourceManifest, records: Sequence[SourceRecord]
    ) -> Iterator[DrawnMask]:
        """A mask for each record."""
        size = (self.judge.size, self.judge.size)
        for first in range(0, len(records), BATCH):
            batch = records[first : first + BATCH]
            pixels = [
                np.array(read_image(manifest.image_path(record)).resize(size)) for record in batch
            ]
            images = torch.from_numpy(np.stack(pixels)).movedim(-1, 1)
            with torch.no_grad():
                found = predict(self.judge.network, images)
            for record, mask in zip(batch, found, strict=True):
                whole = Image.fromarray(np.asarray(mask, bool))
                yield DrawnMask(record, np.asarray(whole.resize((record.width, record.height))))
