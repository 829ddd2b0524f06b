"""Run sheets: the contact sheets of a run's images, pairs and attention maps."""

import io
import json
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from didgen.augment.contact_sheets import attention_sheet, image_sheet, pair_sheet
from didgen.augment.generation.prepare import GenerationJob
from didgen.manifests.files import write_bytes
from didgen.manifests.images import encoded
from didgen.manifests.shards.shard import iterate
from didgen.manifests.views.attention_maps import WATCHED, AttentionHistory

SHEET_IMAGES = 8
"""Images of each class on the contact sheet."""

SHEET_PAIRS = 24
"""Pairs on the contact sheet."""


def write_sheets(job: GenerationJob, out: Path) -> None:
    """Contact sheets of a finished run: images by class, pairs with both outlines, attention."""
    sheets = {
        "images": _images_sheet(job, out) if job.images else None,
        "pairs": _pairs_sheet(job, out) if job.pairs else None,
        "attention": _attention_sheet(out) if job.pairs else None,
    }
    for name, sheet in sheets.items():
        if sheet is not None:
            write_bytes(out / "sheets" / f"{name}.png", encoded(sheet, "PNG"))


def _images_sheet(job: GenerationJob, out: Path) -> Image.Image | None:
    """The first images of each class, a class after the other; None where none was made."""
    by_class: dict[str, list[np.ndarray]] = {label: [] for label in job.classes}
    lacking = Counter(dict.fromkeys(job.classes, SHEET_IMAGES))
    lacking &= Counter(job.images.counts if job.images else {})
    for sample in iterate(out, "images"):
        label = json.loads(sample.members["json"])["class"]
        if label in lacking:
            by_class[label].append(_decoded(sample.members["jpg"]))
            lacking -= Counter([label])
        if not lacking:
            break
    titled = [(label, image) for label, images in by_class.items() for image in images]
    if not titled:
        return None
    columns = max(len(images) for images in by_class.values())
    return image_sheet(np.stack([image for _, image in titled]), [t for t, _ in titled], columns)


def _pairs_sheet(job: GenerationJob, out: Path) -> Image.Image | None:
    """The first pairs with the outlines of mask and layout; None where none was made."""
    samples = list(islice(iterate(out, "pairs"), SHEET_PAIRS))
    if not samples:
        return None
    records = [json.loads(sample.members["json"]) for sample in samples]
    return pair_sheet(
        np.stack([_decoded(sample.members["jpg"]) for sample in samples]),
        np.stack([_decoded(sample.members["mask.png"]) > 0 for sample in samples]),
        np.stack([_layout(job, record) for record in records]),
        [
            f"{record['class']} {record['key']}: IoU with layout "
            f"{record['scores']['layout_iou']:.2f}".strip()
            for record in records
        ],
    )


def _attention_sheet(out: Path) -> Image.Image | None:
    """The attention maps of the first pairs, as far as their rows keep them."""
    watched = [
        (sample, history)
        for sample in islice(iterate(out, "pairs"), WATCHED)
        if (history := AttentionHistory.of_row(sample.row, sample.key)) is not None
    ]
    if not watched:
        return None
    return attention_sheet(
        [_decoded(sample.members["jpg"]) for sample, _ in watched],
        [_decoded(sample.members["mask.png"]) > 0 for sample, _ in watched],
        [history for _, history in watched],
        [
            f"{sample.key}: attention to the lesion at steps {', '.join(map(str, history.steps))} "
            f"of {history.of}, that of Eq. 7, and the mask cut from it"
            for sample, history in watched
        ],
    )


def _layout(job: GenerationJob, record: dict[str, Any]) -> np.ndarray:
    """The layout that a pair was guided by, as its record names it."""
    return job.layouts.mask(record["layout"], record["seed"], record["mask_of"])


def _decoded(data: bytes) -> np.ndarray:
    """An image of our own making as an array."""
    return np.asarray(Image.open(io.BytesIO(data)))
