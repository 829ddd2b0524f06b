"""Attention: how the lesion token's map of a pair grew while it was drawn, as its row keeps it.

The maps are small and few, so that they travel as PNGs in the sidecar's row: with the sample, by
whichever process made it, and only of the try that was kept.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from didgen.manifests.errors import DidgenError
from didgen.manifests.images import decode, encoded

WATCHED = 4
"""Pairs of a run, the first of its plan, whose maps are kept."""

MOMENTS = 6
"""Steps of the drawing at which a map is read, the first and the last among them."""

FIELD = "attention"
"""The field of a row that holds them."""


class _Row(BaseModel):
    """The field as JSON: steps counted from 1, of so many; PNGs in base64, maps side by side."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: list[int] = Field(min_length=1, max_length=MOMENTS)
    of: int = Field(ge=1)
    maps: str
    propagated: str


@dataclass(frozen=True)
class AttentionHistory:
    """The lesion token's cross-attention A_C at some steps, and A_CS of Eq. 7 at the last one.

    steps: (T,), counted from 1, of `of`; maps: (T, S, S) uint8 and propagated: (P, P) uint8, each
    stretched from its least to its largest value.
    """

    steps: tuple[int, ...]
    of: int
    maps: np.ndarray
    propagated: np.ndarray

    def to_row(self) -> dict[str, Any]:
        """As JSON values, for the row of the sample."""
        strip = np.concatenate(list(self.maps), axis=1)
        row = _Row(
            steps=list(self.steps), of=self.of, maps=_png(strip), propagated=_png(self.propagated)
        )
        return row.model_dump()

    @classmethod
    def of_row(cls, row: Mapping[str, Any], key: str) -> Self | None:
        """What the row of a sample keeps; None for nothing, a `DidgenError` for what is no map."""
        if FIELD not in row:
            return None
        try:
            reported = _Row.model_validate(row[FIELD])
            strip, propagated = _pixels(reported.maps), _pixels(reported.propagated)
            maps = np.stack(np.split(strip, len(reported.steps), axis=1))
        except (ValidationError, ValueError, binascii.Error, DidgenError):
            raise DidgenError(
                f"The attention maps of {key} are not what didgen writes into a sidecar; delete "
                "its shard and sidecar and run `didgen augment` again."
            ) from None
        return cls(tuple(reported.steps), reported.of, maps, propagated)


def stretched(maps: np.ndarray) -> np.ndarray:
    """Maps (..., H, W) of any range as uint8, each from its least to its largest value."""
    low = maps.min((-2, -1), keepdims=True)
    span = np.maximum(maps.max((-2, -1), keepdims=True) - low, 1e-8)
    return np.rint(255 * (maps - low) / span).astype(np.uint8)


def moments(steps: int) -> list[int]:
    """The places, from 0, of the steps at which a map is read: evenly spread, the last included."""
    return sorted({round(place) for place in np.linspace(0, steps - 1, min(steps, MOMENTS))})


def _png(pixels: np.ndarray) -> str:
    return base64.b64encode(encoded(pixels, "PNG")).decode()


def _pixels(text: str) -> np.ndarray:
    data = base64.b64decode(text, validate=True)
    return np.asarray(decode(data, Path("attention.png")).convert("L"))
