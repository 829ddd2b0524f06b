"""Layouts: the lesion masks that pairs are guided by, drawn as shapes or taken from real masks."""

from dataclasses import dataclass, field

import numpy as np

from augment.dataset import load_mask
from manifests.errors import DidgenError
from manifests.recipe import DRAWN
from manifests.records import SourceManifest, SourceRecord


@dataclass(frozen=True)
class Layouts:
    """Layout masks by name, for images of `size` pixels; only masks of the training split.

    A layout from validation or test data would leak it into training, so none is offered.
    """

    size: int
    manifest: SourceManifest | None = None
    records: dict[str, SourceRecord] = field(init=False)

    def __post_init__(self) -> None:
        chosen = self.manifest.select(split="train", masked=True) if self.manifest else []
        object.__setattr__(self, "records", {record.key: record for record in chosen})

    def mask(self, name: str, seed: int) -> np.ndarray:
        """The layout `name` of a sample with the given seed, (size, size) boolean."""
        if name == DRAWN:
            return draw_layout(np.random.default_rng(seed), self.size)
        if self.manifest is None or name not in self.records:
            raise DidgenError(
                f"{name} is no training image with a mask; layouts come from the training split."
            )
        return load_mask(self.manifest, self.records[name], self.size)[0].numpy() > 0.5


def draw_layout(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw a lesion-like shape, (size, size) boolean, one component, at least 2 % of the frame.

    A star-shaped outline: an ellipse whose radius is disturbed by a few harmonics that fall with
    their order, so the outline is smooth. Area and place spread like those of ISIC 2018 masks,
    which are mostly central and fill 5 to 45 % of the frame.
    """
    area = np.exp(rng.uniform(np.log(0.05), np.log(0.45)))
    centre = size * (0.5 + rng.normal(0, 0.06, 2).clip(-0.15, 0.15))
    stretch = np.sqrt(rng.uniform(0.65, 1.0))
    tilt = rng.uniform(0, np.pi)
    rows, columns = np.mgrid[:size, :size] + 0.5
    down, right = rows - centre[0], columns - centre[1]
    along = (right * np.cos(tilt) + down * np.sin(tilt)) * stretch
    across = (down * np.cos(tilt) - right * np.sin(tilt)) / stretch
    angle = np.arctan2(across, along)
    orders = np.arange(2, 7)
    amplitudes = rng.normal(0, 0.12, orders.size) / (orders - 1)
    phases = rng.uniform(0, 2 * np.pi, orders.size)
    waves = amplitudes * np.cos(orders * angle[..., None] + phases)
    outline = np.clip(1 + waves.sum(-1), 0.5, 1.5)
    return np.hypot(along, across) < size * np.sqrt(area / np.pi) * outline
