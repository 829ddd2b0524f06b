"""The cache of a finetuning run: what its frozen models make of the training data, on disk.

Notable choices:
- A row is computed once and kept in a safetensors shard of `SHARD` rows, written atomically: what
  a killed run left is whole, and the rest is made when the run goes on.
- One row is read by mapping its shard and copying its slice; nothing stays open or in memory.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from didgen.manifests.files import write_bytes

SHARD = 256
"""Rows of a shard: 32 MiB of 64x64 latents in half precision and four orientations."""


@dataclass(frozen=True)
class Table:
    """`count` rows of named tensors, each name of one shape, in shards `folder/NAME-*`."""

    folder: Path
    name: str
    count: int

    def shards(self) -> list[range]:
        """The rows of each shard."""
        starts = range(0, self.count, SHARD)
        return [range(start, min(start + SHARD, self.count)) for start in starts]

    def path(self, row: int) -> Path:
        """The shard of a row."""
        return self.folder / f"{self.name}-{row // SHARD:05d}.safetensors"

    def fill(
        self, compute: Callable[[int], dict[str, Tensor]], part: int = 0, parts: int = 1
    ) -> Iterator[int]:
        """Compute the rows of every `parts`-th shard that is missing; yields how many were done."""
        for rows in self.shards()[part::parts]:
            path = self.path(rows.start)
            if path.exists():
                yield len(rows)
                continue
            computed = []
            for row in rows:
                computed.append(compute(row))
                yield 1
            names = computed[0]
            stacked = {name: torch.stack([one[name] for one in computed]).cpu() for name in names}
            write_bytes(path, save(stacked))

    def read(self, row: int, name: str, *place: int) -> Tensor:
        """A tensor of a row, or the part of it at `place`."""
        with safe_open(self.path(row), "pt") as shard:
            return shard.get_slice(name)[(row % SHARD, *place)]

    def size(self) -> int:
        """Bytes on disk."""
        return sum(self.path(rows.start).stat().st_size for rows in self.shards())


@dataclass(frozen=True)
class Cache:
    """Latents and mask of every record, and the text embeddings of every prompt.

    images: rows of `latents` (O, 4, S/8, S/8), by orientation, and `mask` (1, S/8, S/8); where
    latents are drawn from a posterior, also of its `deviation` (O, 4, S/8, S/8). texts: rows of
    `context` (T, C) in the order of `prompts`, or None where the text encoder trains.
    """

    images: Table
    texts: Table | None
    prompts: dict[str, int]
    posterior: bool = False

    def __str__(self) -> str:
        texts = 0 if self.texts is None else self.texts.size()
        size = (self.images.size() + texts) / 2**20
        held = f"latents of {self.images.count} images"
        held += f" and embeddings of {self.texts.count} prompts" if self.texts else ""
        return f"{size:.0f} MiB in {self.images.folder}, because {held} stay as they are"

    def item(self, record: int, orientation: int, prompt: str) -> dict[str, Tensor]:
        """What the cache holds of a training sample; the mask is not turned yet."""
        item = {
            "latents": self.images.read(record, "latents", orientation),
            "mask": self.images.read(record, "mask"),
        }
        if self.posterior:
            item["deviation"] = self.images.read(record, "deviation", orientation)
        if self.texts is not None:
            item["context"] = self.texts.read(self.prompts[prompt], "context")
        return item
