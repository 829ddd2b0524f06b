"""Layouts: the lesion shapes that guide pairs, drawn ones and masks of a source."""

import numpy as np
from PIL import Image, ImageOps

from didgen.manifests.recipes.fields import DRAWN
from didgen.manifests.sources.records import SourceManifest

LEAST, MOST = 0.5, 1.5
"""Radii between which the outline of a drawn lesion lies, in those of its ellipse."""


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
    orders = np.arange(2, 7)
    amplitudes = rng.normal(0, 0.12, orders.size) / (orders - 1)
    phases = rng.uniform(0, 2 * np.pi, orders.size)
    distance, radius = np.hypot(along, across), size * np.sqrt(area / np.pi)
    inside = distance < radius * LEAST
    # The waves decide where the outline may lie, and are slow: elsewhere they are not asked.
    near = ~inside & (distance < radius * MOST)
    angle = np.arctan2(across[near], along[near])
    waves = amplitudes * np.cos(orders * angle[:, None] + phases)
    inside[near] = distance[near] < radius * np.clip(1 + waves.sum(-1), LEAST, MOST)
    return inside


def layout_of(name: str, seed: int, size: int, source: SourceManifest | None) -> np.ndarray | None:
    """The layout of a pair for the eye, (size, size) boolean; None where it cannot be had.

    name: a key of `source`, whose mask is scaled and cut to its middle, or "drawn". A mask that
    cannot be read is a `DidgenError`.
    """
    if name == DRAWN:
        return draw_layout(np.random.default_rng(seed), size)
    records = () if source is None else source.records
    record = next((r for r in records if r.key == name and r.mask is not None), None)
    if record is None or source is None:
        return None
    mask = Image.fromarray(source.read_mask(record)).convert("L")
    cut = ImageOps.fit(mask, (size, size), Image.Resampling.BOX)
    return np.asarray(cut) > 127
