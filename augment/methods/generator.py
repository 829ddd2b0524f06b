"""The generator: the one interface through which the factory asks for samples.

Plan, gates, shards, provenance and the cluster know nothing of the method behind it. A model
directory says which method it is for; what opens it gives an `Opened`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from didgen.augment.models.cost import Network
from didgen.manifests.choices import Config

if TYPE_CHECKING:
    from didgen.augment.device import Device
    from didgen.augment.diffusion.noise import TrySeed
    from didgen.manifests.views.attention_maps import AttentionHistory


@dataclass(frozen=True)
class Planned:
    """One sample before it is made.

    layout: the real image whose mask guides it, "drawn", or "" for none. mask_of: the sample of
    another run whose mask guides it, itself guided by `layout`; "" where the mask is the layout's.
    start: the real image that it is a variation of, "" where it begins from noise alone.
    """

    config: Config
    key: str
    label: str
    index: int
    seed: int
    prompt: str
    layout: str = ""
    mask_of: str = ""
    start: str = ""

    def row(self) -> dict[str, Any]:
        """The record as JSON values; `start` of variations alone."""
        row = asdict(self)
        if not self.start:
            del row["start"]
        return row


@dataclass(frozen=True)
class Drawing:
    """A batch as it was drawn.

    images: (B, H, W, 3) uint8; masks: (B, H, W) boolean, None for images without; scores: what the
    method itself measured of each sample, for its record and the gates, empty where that is
    nothing; attention: that of the first samples, as many as were asked for, empty where a method
    has none.
    """

    images: NDArray[np.uint8]
    masks: NDArray[np.bool_] | None = None
    scores: tuple[Mapping[str, float], ...] = ()
    attention: "tuple[AttentionHistory, ...]" = ()


class Generator(Protocol):
    """What draws samples: a loaded model with all that its recipe says of the drawing."""

    def to(self, device: "Device") -> None:
        """Bring the model to a device; its weights are read here at the latest."""

    def draw(
        self,
        planned: Sequence[Planned],
        seeds: "Sequence[TrySeed]",
        layouts: NDArray[np.bool_] | None,
        device: "Device",
        watched: int = 0,
    ) -> Drawing:
        """Draw the planned samples of one batch, each from its own seed.

        seeds: (planned seed, number of the try) of each sample; a seed alone is its first try, 0.
        layouts: (B, H, H) for pairs, None for images. watched: of how many samples, the first of
        the batch, the attention is kept. The same samples and seeds give the same bits on a CPU.
        """


class LayoutPairs(ABC):
    """A generator of pairs alone, each of a planned layout that is its mask."""

    @abstractmethod
    def to(self, device: "Device") -> None:
        """See `Generator`."""

    @abstractmethod
    def images(
        self,
        planned: Sequence[Planned],
        seeds: "Sequence[TrySeed]",
        layouts: NDArray[np.bool_],
        device: "Device",
    ) -> NDArray[np.uint8]:
        """Images (B, H, H, 3) of layouts (B, H, H), each from its own seed."""

    def draw(
        self,
        planned: Sequence[Planned],
        seeds: "Sequence[TrySeed]",
        layouts: NDArray[np.bool_] | None,
        device: "Device",
        watched: int = 0,
    ) -> Drawing:
        """See `Generator`."""
        assert layouts is not None, "the recipe's `images` were refused"
        return Drawing(self.images(planned, seeds, layouts, device), layouts)


@dataclass(frozen=True)
class Deferred:
    """A generator whose model is read when it is first brought to a device.

    So a recipe is checked, and a finished run found to be whole, without torch.
    """

    load: Callable[[], Generator]

    @cached_property
    def loaded(self) -> Generator:
        """The generator itself; a model whose weights cannot be read is a `DidgenError`."""
        return self.load()

    def to(self, device: "Device") -> None:
        """See `Generator`."""
        self.loaded.to(device)

    def draw(
        self,
        planned: Sequence[Planned],
        seeds: "Sequence[TrySeed]",
        layouts: NDArray[np.bool_] | None,
        device: "Device",
        watched: int = 0,
    ) -> Drawing:
        """See `Generator`."""
        return self.loaded.draw(planned, seeds, layouts, device, watched)


def no_tokens(text: str) -> int:
    """The tokens of a prompt for a method that reads none: no prompt is too long for it."""
    return 0


@dataclass(frozen=True)
class Opened:
    """A model directory opened for a recipe: its generator, and what the plan asks of it.

    image_size: side of its images in pixels. count_tokens: the positions that a prompt takes, start
    and end included. classes: those it can draw; None where a prompt can name any. varies: whether
    it draws variations of real images. decided: what the run records of the drawing, each with its
    reason. network: what its cost is told by; None for a method whose cost nobody knows.
    """

    generator: Generator
    image_size: int
    count_tokens: Callable[[str], int] = no_tokens
    classes: tuple[str, ...] | None = None
    varies: bool = False
    decided: Mapping[str, str] = field(default_factory=dict)
    network: Network | None = None
