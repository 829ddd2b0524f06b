"""Samples: the planned of a shard drawn in batches, judged, drawn again or given up, and packed.

Notable choices:
- Try n of a sample draws its noise from [planned seed, n]; its prompt and its layout stay.
- What the gates stop is drawn again together, over a whole shard: few and full batches. Each row
  keeps who was drawn with it, so that the same batch, and so the same bits, can be drawn again.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from didgen.augment.device import Device
from didgen.augment.generation.gates import fault, measure
from didgen.augment.generation.plan import batches_of
from didgen.augment.generation.prepare import GenerationJob
from didgen.augment.methods.generator import Planned
from didgen.manifests.images import encoded
from didgen.manifests.shards.shard import Failure, Sample
from didgen.manifests.views.attention_maps import FIELD, AttentionHistory


@dataclass(frozen=True)
class Drawn:
    """A sample as it was drawn at its try number `redraws`, among the keys of `batch`.

    image: (H, W, 3) uint8; mask: (H, W) boolean, None for an image without one; attention: of the
    few pairs that are watched.
    """

    planned: Planned
    redraws: int
    batch: tuple[str, ...]
    image: np.ndarray
    mask: np.ndarray | None
    scores: dict[str, float]
    attention: AttentionHistory | None = None


def make(
    job: GenerationJob, shard: Sequence[Planned], device: Device, advance: Callable[[int], object]
) -> Iterator[Sample | Failure]:
    """Draw the samples of a shard and pack each; what no try makes usable is a Failure.

    They come in the order of the plan, once the last of them is drawn.
    """
    generated: dict[str, Sample] = {}
    rejected: dict[str, list[str]] = {planned.key: [] for planned in shard}
    waiting = list(shard)
    for redraws in range(job.recipe.gates.redraws + 1):
        for batch in batches_of(waiting, job.recipe.sampling.batch_size):
            for drawn in draw_batch(job, batch, redraws, device):
                reasons = rejected[drawn.planned.key]
                if reason := fault(drawn.scores, job.recipe.gates):
                    reasons.append(reason)
                else:
                    generated[drawn.planned.key] = pack(drawn, reasons, job)
            if redraws == 0:
                advance(len(batch))
        waiting = [planned for planned in waiting if planned.key not in generated]
    for planned in shard:
        yield generated.get(planned.key) or given_up(planned, rejected[planned.key])


def draw_batch(
    job: GenerationJob, batch: Sequence[Planned], redraws: int, device: Device
) -> list[Drawn]:
    """Draw planned samples together, each at the same try, and measure them."""
    layouts = None
    if batch[0].layout:
        layouts = np.stack([job.layouts.mask(one.layout, one.seed, one.mask_of) for one in batch])
    # A batch has the order of the plan, so that those that are watched come first in it.
    drawing = job.generator.draw(
        batch,
        [(planned.seed, redraws) for planned in batch],
        layouts,
        device,
        job.watched(batch),
    )
    keys = tuple(planned.key for planned in batch)
    drawn = []
    for place, planned in enumerate(batch):
        image = drawing.images[place]
        mask = None if drawing.masks is None else drawing.masks[place]
        scores = measure(image, mask, None if layouts is None else layouts[place])
        if drawing.scores:
            scores |= drawing.scores[place]
        history = drawing.attention[place] if place < len(drawing.attention) else None
        drawn.append(Drawn(planned, redraws, keys, image, mask, scores, history))
    return drawn


def pack(drawn: Drawn, rejected: Sequence[str], job: GenerationJob) -> Sample:
    """A sample as shard members, with its row; `rejected` has the reasons of its earlier tries."""
    planned = drawn.planned
    index = job.classes.index(planned.label) if planned.label else -1
    members = {"jpg": encoded(drawn.image, "JPEG", quality=job.recipe.jpeg_quality, subsampling=0)}
    if drawn.mask is None:
        members["cls"] = str(index).encode()
    else:
        members["mask.png"] = encoded(drawn.mask.astype(np.uint8) * 255, "PNG")
    record: dict[str, Any] = {
        "key": planned.key,
        "label": index,
        "class": planned.label,
        "prompt": planned.prompt,
        "seed": planned.seed,
        "redraws": drawn.redraws,
        "layout": planned.layout,
        "mask_of": planned.mask_of,
        "run": job.fingerprint,
        "scores": drawn.scores,
    }
    if planned.start:
        record["start"] = planned.start
    members["json"] = json.dumps(record, sort_keys=True).encode()
    row = planned.row() | {
        "scores": drawn.scores,
        "redraws": drawn.redraws,
        "rejected": list(rejected),
        "batch": list(drawn.batch),
    }
    if drawn.attention is not None:
        row[FIELD] = drawn.attention.to_row()
    return Sample(planned.key, members, row)


def given_up(planned: Planned, rejected: Sequence[str]) -> Failure:
    """A sample that no try made usable, with the reason of each in its row."""
    tries = "drawn once" if len(rejected) == 1 else f"drawn {len(rejected)} times"
    row = planned.row() | {"redraws": len(rejected) - 1, "rejected": list(rejected)}
    return Failure(planned.key, f"{tries}, at last {rejected[-1]}", row)
