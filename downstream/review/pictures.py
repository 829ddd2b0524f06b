"""Pictures of samples for the browser; each is made from the run, or from the source's records."""

import io
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image

from didgen.downstream.review.samples import ReviewJob, ReviewSample
from didgen.manifests.errors import DidgenError
from didgen.manifests.images import as_mask, decode, encoded, read_image
from didgen.manifests.shards.shard import read_shard, read_sidecar
from didgen.manifests.views.attention_maps import AttentionHistory
from didgen.manifests.views.layouts import layout_of
from didgen.manifests.views.outlines import MASK_COLOUR, binary, heat

View = Literal["image", "thumb", "outline", "mask", "layout", "nearest", "attention"]

VIEWS: tuple[View, ...] = get_args(View)

THUMB = 160
"""Longest side of a thumbnail, in pixels."""

SHOWN = 1024
"""Longest side of a real image, in pixels."""

MAP_SIDE = 128

SHARDS = 4
"""Shards held in memory, the last ones that were looked into."""

PHOTOGRAPHS = 32
"""Photographs held in memory, likewise."""


class Pictures:
    """The pictures of a run's samples: PNG or JPEG bytes by sample and view."""

    def __init__(self, job: ReviewJob) -> None:
        self.job = job
        self._shard = lru_cache(SHARDS)(self._read_shard)
        self._photograph = lru_cache(PHOTOGRAPHS)(self._read_photograph)
        self._thumb = lru_cache(2048)(self._small)

    def picture(self, sample: ReviewSample, view: View) -> bytes | None:
        """The bytes of a view, None where the sample has none; raises what readers raise."""
        views: dict[View, Callable[[ReviewSample], bytes | None]] = {
            "image": lambda one: self.members(one).get("jpg"),
            "thumb": lambda one: self._thumb(one.config, one.key),
            "outline": self._outline,
            "mask": self._mask_picture,
            "layout": self._layout,
            "nearest": self._nearest,
            "attention": self._attention,
        }
        return views[view](sample)

    def members(self, sample: ReviewSample) -> Mapping[str, bytes]:
        """The members of a sample; one that its shard has lost is a `DidgenError`.

        Those of a photograph are as in a run: its upright pixels, without metadata, and its mask.
        """
        if self.job.origin == "real":
            return self._photograph(sample.key)
        members = self._shard(sample.config, sample.shard).get(sample.key)
        if members is None or "jpg" not in members:
            raise DidgenError(
                f"{sample.shard} of {self.job.directory} does not hold {sample.key}, which its "
                "sidecar lists; run `didgen verify` to see what is wrong."
            )
        return members

    def size(self, sample: ReviewSample) -> tuple[int, int]:
        """Width and height of the image."""
        with Image.open(io.BytesIO(self.members(sample)["jpg"]), formats=("JPEG",)) as image:
            return image.size

    def mask(self, sample: ReviewSample) -> np.ndarray | None:
        """The mask of a pair, (H, W) boolean."""
        data, place = self.members(sample).get("mask.png"), Path(sample.shard) / sample.key
        if data is None:
            return None
        return as_mask(decode(data, place), place)

    def _read_shard(self, config: str, shard: str) -> dict[str, dict[str, bytes]]:
        return dict(read_shard(self.job.directory / config / shard))

    def _read_photograph(self, key: str) -> dict[str, bytes]:
        assert self.job.source is not None, "photographs are of a source"
        record = self.job.records[key]
        image = read_image(self.job.source.image_path(record))
        mask = Image.fromarray(self.job.source.read_mask(record)).convert("L")
        image.thumbnail((SHOWN, SHOWN))
        shown = mask.resize(image.size, Image.Resampling.NEAREST)
        return {"jpg": encoded(image, "JPEG", quality=90), "mask.png": encoded(shown, "PNG")}

    def _small(self, config: str, key: str) -> bytes:
        sample = self.job.samples[config, key]  # type: ignore[index]
        image = decode(self.members(sample)["jpg"], Path(sample.shard) / key).convert("RGB")
        image.thumbnail((THUMB, THUMB))
        return encoded(image, "JPEG", quality=85)

    def _outline(self, sample: ReviewSample) -> bytes | None:
        """The outline of the mask, see-through elsewhere: it is laid over the image."""
        mask = self.mask(sample)
        if mask is None:
            return None
        # At the border of the frame the outline is drawn too.
        padded = np.pad(mask, 1)
        inner = padded[1:-1, :-2] & padded[1:-1, 2:] & padded[:-2, 1:-1] & padded[2:, 1:-1]
        drawn = np.zeros((*mask.shape, 4), np.uint8)
        drawn[mask & ~inner] = (*MASK_COLOUR, 255)
        return encoded(drawn, "PNG")

    def _mask_picture(self, sample: ReviewSample) -> bytes | None:
        mask = self.mask(sample)
        return None if mask is None else encoded(binary(mask), "PNG")

    def _layout(self, sample: ReviewSample) -> bytes | None:
        if not sample.layout:
            return None
        layout = layout_of(sample.layout, sample.seed, self.size(sample)[0], self.job.source)
        return None if layout is None else encoded(binary(layout), "PNG")

    def _nearest(self, sample: ReviewSample) -> bytes | None:
        record = self.job.records.get(sample.nearest)
        if record is None or self.job.source is None:
            return None
        image = read_image(self.job.source.image_path(record))
        image.thumbnail((SHOWN, SHOWN))
        return encoded(image, "JPEG", quality=90)

    def _attention(self, sample: ReviewSample) -> bytes | None:
        """The lesion token's map at some steps of the drawing, side by side, Eq. 7's last."""
        if not sample.shard:
            return None
        tar = self.job.directory / sample.config / sample.shard
        row = read_sidecar(tar.with_suffix(".json")).kept.get(sample.key, {})
        history = AttentionHistory.of_row(row, sample.key)
        if history is None:
            return None
        maps = [*history.maps, history.propagated]
        return encoded(np.concatenate([heat(one, MAP_SIDE) for one in maps], axis=1), "PNG")

    def views(self, sample: ReviewSample) -> list[View]:
        """The views that are shown beside the image, those that there are."""
        shown: tuple[View, ...] = ("mask", "layout", "nearest", "attention")
        return [view for view in shown if self.picture(sample, view) is not None]
