"""Layouts: the lesion masks that pairs are guided by: drawn, of real images, or of another run."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image, ImageOps

from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.augment import LayoutSubset
from didgen.manifests.recipes.fields import DRAWN
from didgen.manifests.shards.index import Manifest
from didgen.manifests.shards.shard import Sidecar, read_shard
from didgen.manifests.sources.records import SourceManifest, SourceRecord
from didgen.manifests.sources.subset import subset
from didgen.manifests.views.layouts import draw_layout


@dataclass(frozen=True)
class Layout:
    """A layout by its name, with the class of the pairs that it guides.

    name: the real image whose mask it is, or that first guided it; or "drawn". mask_of: the sample
    of another run whose mask it is, else "".
    """

    name: str
    label: str
    mask_of: str = ""

    @classmethod
    def of_a_drawing(cls, label: str) -> Self:
        """A layout that is drawn anew for each pair."""
        return cls(DRAWN, label)

    @property
    def drawn(self) -> bool:
        """Whether the mask is drawn from the pair's own seed."""
        return self.name == DRAWN and not self.mask_of


class RunMasks:
    """The masks of another run's pairs, by key; each keeps the real image that first guided it."""

    def __init__(self, directory: Path, manifest: Manifest, sidecars: Sequence[Sidecar]) -> None:
        self.directory, self.manifest, self.sidecars = directory, manifest, sidecars

    @cached_property
    def shard_of(self) -> dict[str, str]:
        """The tar that holds each pair."""
        return {key: sidecar.shard for sidecar in self.sidecars for key in sidecar.kept}

    def layouts(self) -> Iterator[Layout]:
        """One for each pair, in the order of the run."""
        for sidecar in self.sidecars:
            for key, row in sidecar.kept.items():
                yield Layout(str(row.get("layout", "")), str(row.get("label") or ""), key)

    def mask(self, key: str, size: int) -> np.ndarray:
        """The mask of a pair, scaled to (size, size), boolean."""
        if key not in self.shard_of:
            raise DidgenError(f"{self.directory} has no pair {key}; restore that run.")
        data = _masks_of(self.directory / "pairs" / self.shard_of[key])[key]
        mask = Image.open(io.BytesIO(data)).convert("L")
        return np.asarray(ImageOps.fit(mask, (size, size), Image.Resampling.BOX)) > 127


@lru_cache(maxsize=8)
def _masks_of(tar: Path) -> Mapping[str, bytes]:
    """The masks of one tar, still encoded: pairs of a plan take them in any order."""
    return {key: members["mask.png"] for key, members in read_shard(tar)}


@dataclass(frozen=True)
class Layouts:
    """Layout masks by name, for images of `size` pixels; only masks of the training split.

    A layout from validation or test data would leak it into training, so none is offered.
    keep: which of the source's masks are offered; None for all.
    """

    size: int
    manifest: SourceManifest | None = None
    run: RunMasks | None = None
    keep: LayoutSubset | None = None

    @cached_property
    def records(self) -> dict[str, SourceRecord]:
        """The training images of the source whose masks are offered."""
        chosen = self.manifest.select(split="train", masked=True) if self.manifest else []
        if self.keep is not None:
            wanted = self.keep.collections
            chosen = [record for record in chosen if wanted is None or record.source in wanted]
            if self.keep.k > len(chosen):
                raise DidgenError(
                    f"`pairs.layouts.subset` asks for {self.keep.k} masks and the source has "
                    f"{len(chosen)} for training; ask for fewer."
                )
            kept = subset((record.key for record in chosen), self.keep.k, self.keep.seed)
            chosen = [record for record in chosen if record.key in kept]
        return {record.key: record for record in chosen}

    def offered(self) -> Iterator[Layout]:
        """The layouts of the other run, or of the source."""
        if self.run is not None:
            yield from self.run.layouts()
        else:
            for key, record in self.records.items():
                yield Layout(key, record.label or "")

    def mask(self, name: str, seed: int, mask_of: str = "") -> np.ndarray:
        """The layout of a sample with the given seed, (size, size) boolean."""
        if mask_of:
            if self.run is None:
                raise DidgenError(f"{mask_of} is a pair of another run, which the recipe lacks.")
            return self.run.mask(mask_of, self.size)
        if name == DRAWN:
            return draw_layout(np.random.default_rng(seed), self.size)
        if self.manifest is None or name not in self.records:
            raise DidgenError(
                f"{name} is no training image with a mask; layouts come from the training split."
            )
        # A dry run reads no mask, and need not wait for torch.
        from didgen.augment.diffusion.images import load_mask

        return load_mask(self.manifest, self.records[name], self.size)[0].numpy() > 0.5
