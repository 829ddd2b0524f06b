"""The images of a GAN's training: decoded once into a table on disk, drawn in random orientation.

Notable choices:
- What is drawn for training sample number g comes from `[seed, g]`, as in `finetuning.dataset`.
- Pixels are kept as fp16 in [-1, 1]; that moves a grey level by a sixteenth of one at most.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from didgen.augment.diffusion.images import load_mask, load_pixels
from didgen.augment.finetuning.dataset import ORIENTATIONS, class_weights, orient
from didgen.augment.finetuning.latent_cache import Table
from didgen.augment.rivals.rival_run import RivalRun, Weighted
from didgen.manifests.progress import progress_bar


def picture_table(run: RivalRun) -> Table:
    """Fill `out/cache` with the pixels and masks of a run's records: a row each.

    `pixels` (3, S, S) in [-1, 1]; `mask` (1, S, S), the lesion's share of each pixel.
    """
    manifest, records, size = run.manifest, run.records, run.recipe.image_size
    table = Table(run.out / "cache", "pictures-fp16", len(records))

    def row(index: int) -> dict[str, Tensor]:
        record = records[index]
        both = {
            "pixels": load_pixels(manifest, record, size),
            "mask": load_mask(manifest, record, size),
        }
        return {name: value.half() for name, value in both.items()}

    with progress_bar() as progress:
        task = progress.add_task("cache of pictures", total=len(records), state="")
        for done in table.fill(row):
            progress.advance(task, done)
    return table


class GanImages(Weighted):
    """Images of a table, each in a random orientation of those that a recipe allows.

    An item: pixels (3, S, S) float32 in [-1, 1]; `label`, the number of its class; with `masked`,
    mask (1, S, S). rows: which rows of the table there are; labels: the class of each. `weights`
    says how often each is drawn, by the recipe's `class_balance`.
    """

    def __init__(
        self,
        run: RivalRun,
        table: Table,
        rows: Sequence[int],
        labels: Sequence[int],
        masked: bool = False,
    ) -> None:
        recipe = run.recipe
        self.table, self.rows, self.labels, self.seed = table, rows, labels, recipe.seed
        self.orientations = ORIENTATIONS[recipe.orientations]
        self.names = ("pixels", "mask") if masked else ("pixels",)
        self.weights = class_weights([run.records[row] for row in rows], recipe.class_balance)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, draw: tuple[int, int]) -> dict[str, Any]:
        number, index = draw
        rng = np.random.default_rng([self.seed, number])
        orientation = self.orientations[int(rng.integers(len(self.orientations)))]
        item: dict[str, Any] = {"label": torch.tensor(self.labels[index])}
        for name in self.names:
            kept = self.table.read(self.rows[index], name).float()
            item[name] = orient(kept, *orientation).contiguous()
        return item
