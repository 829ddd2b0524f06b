"""Annotating: masks for the images of a source that have none, drawn by a model or a network.

Notable choices:
- Such a mask lies in the folder of the manifest, not among the photographs, and its record says who
  drew it. It is trained on; no test and no validation takes it for the truth.
- A person corrects a mask in any editor, or by a review: the next call takes in what has changed.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from didgen.manifests.errors import DidgenError
from didgen.manifests.files import naming, write_bytes, write_json_lines
from didgen.manifests.images import encoded, read_mask
from didgen.manifests.progress import Progress
from didgen.manifests.sources.mask_gates import MaskBounds, mask_fault, mask_scores
from didgen.manifests.sources.records import SourceManifest, SourceRecord, writing

FOLDER = "annotated"
"""Where a manifest's folder has the masks that no person drew."""

TRIES_FILE = "annotated.jsonl"
"""Every mask that was drawn, with its scores and why it was stopped, beside the manifest."""

CORRECTED = ", corrected by hand"
"""How the name of who drew a mask ends where a person changed it."""


@dataclass(frozen=True)
class DrawnMask:
    """A mask (H, W) over an upright image, True is lesion, and what its drawing measured."""

    record: SourceRecord
    mask: NDArray[np.bool_]
    scores: Mapping[str, float] = field(default_factory=dict)


class Annotator(Protocol):
    """What draws masks; its `name` is kept in each record as `mask_by`."""

    @property
    def name(self) -> str:
        """Way and model."""

    def masks(
        self, manifest: SourceManifest, records: Sequence[SourceRecord]
    ) -> Iterator[DrawnMask]:
        """A mask for each record, in their order."""


@dataclass(frozen=True)
class MaskGates:
    """What a mask must measure to be kept; the same bounds as the `gates` of a recipe."""

    mask_area: tuple[float, float] = (0.005, 0.95)
    components: int | None = 3
    attention_contrast: float = 0.0
    separability: float = 0.8
    """Maps of held-out photographs whose masks were wrong had 0.66 to 0.79; see the page on
    `annotate` for figures."""


@dataclass(frozen=True)
class Annotation:
    """What came of it: the manifest, masks drawn and taken in from a person, and those stopped."""

    manifest: SourceManifest
    drawn: int
    corrected: int
    stopped: Mapping[str, str]


def without_mask(
    manifest: SourceManifest, *, again: bool = False, passed: Collection[str] = ()
) -> list[SourceRecord]:
    """The records whose masks are to be drawn; `again` also redraws masks that no person drew.

    The keys `passed` are left as they are.
    """
    return [
        record
        for record in manifest.records
        if record.key not in passed
        and (record.mask is None or (again and record.mask_by and not _is_corrected(record)))
    ]


def annotate_source(
    folder: Path,
    opened: Callable[[], Annotator],
    bounds: MaskBounds,
    *,
    again: bool = False,
    passed: Collection[str] = (),
    progress: Progress | None = None,
) -> Annotation:
    """Draw the masks that the source in a folder lacks; what is finished is kept, however it ends.

    `opened` is called where there is something to draw. An image's caption goes with its mask: it
    says where the lesion lies. Raises DidgenError for a corrected mask of another size.
    """
    with writing(folder):
        manifest, corrected = _corrections(SourceManifest.read(folder))
        todo = without_mask(manifest, again=again, passed=passed)
        tries: list[dict[str, Any]] = []
        changed: dict[str, SourceRecord] = {}
        try:
            if todo:
                annotator = opened()
                for one in annotator.masks(manifest, todo):
                    scores = {**mask_scores(one.mask), **one.scores}
                    fault = mask_fault(scores, bounds)
                    tries.append({"key": one.record.key, "scores": scores, "stopped": fault})
                    if fault is None:
                        changed[one.record.key] = _kept(folder, one, annotator.name)
                    elif one.record.mask is not None:
                        changed[one.record.key] = _bare(one.record)
                    if progress:
                        progress(len(tries), len(todo))
        finally:
            records = tuple(changed.get(record.key, record) for record in manifest.records)
            manifest = replace(manifest, records=records).rewrite(folder)
            if tries:
                write_json_lines(folder / TRIES_FILE, tries)
    stopped = {row["key"]: row["stopped"] for row in tries if row["stopped"]}
    return Annotation(manifest, len(tries) - len(stopped), corrected, stopped)


def _kept(folder: Path, drawn: DrawnMask, name: str) -> SourceRecord:
    """The record of an image whose mask is now in the manifest's folder."""
    record = drawn.record
    place = f"{FOLDER}/{record.key}.png"
    data = encoded(Image.fromarray(drawn.mask).convert("L"), "PNG")
    with naming(folder / place):
        write_bytes(folder / place, data)
    said = {"mask": place, "mask_by": name, "mask_sha256": hashlib.sha256(data).hexdigest()}
    return _bare(record).model_copy(update=said)


def _bare(record: SourceRecord) -> SourceRecord:
    """A record without mask, and without the caption that was measured by it."""
    gone = ("mask", "mask_by", "mask_sha256", "caption", "caption_by", "caption_fallback")
    as_stored = {"mask_orientation": 1, "mask_inverted": False}
    return record.model_copy(update=dict.fromkeys(gone) | as_stored)


def _is_corrected(record: SourceRecord) -> bool:
    return bool(record.mask_by and record.mask_by.endswith(CORRECTED))


def _corrections(manifest: SourceManifest) -> tuple[SourceManifest, int]:
    """The manifest with the masks that a person has changed since they were drawn, and how many.

    One that was deleted is drawn anew.
    """
    records, corrected = [], 0
    for record in manifest.records:
        if name := record.mask_by:
            path = manifest.mask_path(record)
            if not path.is_file():
                record = _bare(record)
            elif (digest := manifest.mask_digest(record)) != record.mask_sha256:
                height, width = read_mask(path).shape
                if (width, height) != (record.width, record.height):
                    raise DidgenError(
                        f"{path} has {width} x {height} pixels and its image {record.width} x "
                        f"{record.height}; draw it at that size, or delete it."
                    )
                by = name.removesuffix(CORRECTED) + CORRECTED
                said = {"mask": record.mask, "mask_by": by, "mask_sha256": digest}
                record = _bare(record).model_copy(update=said)
                corrected += 1
        records.append(record)
    return replace(manifest, records=tuple(records)), corrected
