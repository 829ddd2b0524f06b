"""The samples of a mix: their members from files and from a run."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.images import encoded, read_file
from didgen.manifests.privacy.pseudonyms import Naming, Pseudonyms, as_it_is
from didgen.manifests.privacy.published import (
    PublishedImage,
    Treatment,
    published_image,
    said_of,
)
from didgen.manifests.provenance.licence import strictest
from didgen.manifests.recipes.mix import MixRecipe
from didgen.manifests.reviews.consensus import Consensus, SampleId, summary
from didgen.manifests.reviews.redrawn import redrawn_mask
from didgen.manifests.runs.finish import Provenance
from didgen.manifests.runs.mix_plan import Item, MixPlan
from didgen.manifests.shards.index import MASKS_OF_RUN, Manifest, layouts_are_masks
from didgen.manifests.shards.sample import open_samples
from didgen.manifests.shards.shard import Sample, Sidecar, read_sidecar
from didgen.manifests.sources.records import SourceManifest, SourceRecord

TREATED = "published"
"""The field of a real sample's row that says what became of its image file."""


@dataclass(frozen=True)
class Mix:
    """A mix made ready: its two parts and its plan, shard by shard."""

    recipe: MixRecipe
    source: SourceManifest
    records: Mapping[str, SourceRecord]
    """By the names that they are published by."""
    run: Manifest
    plan: MixPlan
    shortages: Mapping[str, tuple[int, int]]
    """By what there is too little of: how many were wanted, and how many there are."""
    fingerprint: str
    provenance: Provenance
    pseudonyms: Pseudonyms | None = None
    reviews: Mapping[SampleId, Consensus] | None = None
    """Where only what reviewers accept is taken."""

    @property
    def naming(self) -> Naming:
        """How keys and lesions are named in what is written."""
        return self.pseudonyms.name if self.pseudonyms else as_it_is

    @cached_property
    def licence(self) -> str:
        """The licence of the synthetic samples."""
        return strictest(self.run.made_from).name

    @cached_property
    def _patients(self) -> Mapping[str, int]:
        """A number for each patient of the source, counted from 1; none where nobody names one."""
        known = sorted({r.patient_id for r in self.source.records if r.patient_id})
        return {patient: number for number, patient in enumerate(known, 1)}

    def patient_of(self, record: SourceRecord | None) -> dict[str, int]:
        """The field that tells the patients of a mix apart; 0 for one that is not known.

        A number of its own, since that of a clinic leads to the person.
        """
        patient = record.patient_id if record else None
        return {"patient": self._patients.get(patient or "", 0)} if self._patients else {}

    @cached_property
    def _has_drawn_masks(self) -> bool:
        return any(record.mask_by for record in self.source.records)

    def mask_of(self, item: Item, record: SourceRecord | None) -> dict[str, str]:
        """The field of a pair that says who drew its mask where no person did; else it is empty."""
        if item.config != "pairs" or not self._has_drawn_masks:
            return {}
        by = record.mask_by if record and item.origin == "real" else None
        return {"mask_by": by or ""}

    def summary(self) -> dict[str, str]:
        """What goes in, by config and split, and what there was too little of; in words."""
        samples = self.plan.samples
        said = {
            f"{config}, {split}": f"{samples[config, split, 'real']} real and "
            f"{samples[config, split, 'synthetic']} synthetic samples in {count} shards"
            for (config, split), count in self.plan.shards.items()
        }
        pairs = any(config == "pairs" for config, _ in self.plan.shards)
        if pairs and (sentence := self.source.no_truths()):
            said["masks"] = sentence
        if pairs and layouts_are_masks(self.run.recipe, self.run.decisions):
            said[MASKS_OF_RUN] = "the layouts that their pairs were drawn for"
        for group, (wanted, there) in self.shortages.items():
            said[f"short of {group}"] = f"{wanted} synthetic samples wanted, {there} made"
        if self.reviews is not None:
            said["reviews"] = summary(self.reviews, {config for config, _ in self.plan.shards})
        return said


def treatments(sidecars: Iterable[Sidecar]) -> dict[str, str]:
    """What became of the image files of a mix's real samples, in words."""
    found: Counter[Treatment] = Counter(
        row[TREATED] for sidecar in sidecars for row in sidecar.kept.values() if TREATED in row
    )
    return {"real images": said_of(found)} if found else {}


def mixed_samples(job: Mix, items: Sequence[Item]) -> Iterator[Sample]:
    """The samples of a shard: real ones from their files, synthetic ones from their run."""
    by_shard: dict[tuple[Config, str], set[str]] = defaultdict(set)
    for item in items:
        if item.shard:
            by_shard[item.config, item.shard].add(item.taken)
    generated = {}
    for (config, shard), keys in by_shard.items():
        tar = job.recipe.run / config / shard
        rows = read_sidecar(tar.with_suffix(".json")).kept
        for key, members, reported in open_samples(tar, config, rows, job.run, keys):
            generated[key] = members, reported
    for item in items:
        record = job.records.get(item.source_key)
        row: dict[str, Any] = {
            "label": item.label,
            "origin": item.origin,
            "layout": item.layout,
            "source_key": item.source_key,
        }
        if item.origin == "real":
            assert record is not None
            image = _real_image(job.source, record)
            members = {"jpg": image.data}
            if item.config == "pairs":
                mask = job.source.read_mask(record)
                members["mask.png"] = encoded(Image.fromarray(mask).convert("L"), "PNG")
            known = {"licence": record.licence, "prompt": record.caption or "", "seed": -1}
            row[TREATED] = image.treatment
        else:
            members, known = _generated_members(job, *generated[item.taken], item)
        known |= _described(job, item, record)
        if item.config == "images":
            members["cls"] = str(known["label"]).encode()
        members["json"] = json.dumps(known, sort_keys=True).encode()
        yield Sample(item.key, members, row)


def _described(job: Mix, item: Item, record: SourceRecord | None) -> dict[str, Any]:
    """What the record of a sample says of it, wherever it comes from."""
    return {
        "key": item.key,
        "label": job.source.header.classes.index(item.label) if item.label else -1,
        "class": item.label,
        "origin": item.origin,
        "split": item.split,
        "source_key": item.source_key,
        "lesion_id": job.naming(record.lesion_id) if record else "",
        **job.patient_of(record),
        **job.mask_of(item, record),
        "layout": item.layout,
        "run": job.run.fingerprint if item.shard else "",
        "run_key": item.taken if item.shard else "",
    }


def _generated_members(
    job: Mix, taken: Mapping[str, bytes], reported: Mapping[str, Any], item: Item
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The image of a synthetic sample, with its mask for a pair, and what its record says."""
    wanted = ("jpg", "mask.png") if item.config == "pairs" else ("jpg",)
    members = {name: taken[name] for name in wanted}
    known = {"prompt": str(reported.get("prompt", "")), "seed": int(reported.get("seed", -1))}
    if start := str(reported.get("start", "")):
        known["start"] = job.naming(start)
    consensus = (job.reviews or {}).get((item.config, item.taken))
    if item.config == "pairs" and consensus is not None and consensus.curves:
        place = Path(item.shard) / f"{item.taken}.jpg"
        members["mask.png"] = redrawn_mask(consensus.curves, members["jpg"], place)
    return members, {**known, "licence": job.licence}


def _real_image(source: SourceManifest, record: SourceRecord) -> PublishedImage:
    """The image of a record without metadata; one that is not as imported is a `DidgenError`."""
    path = source.image_path(record)
    data = read_file(path)
    if hashlib.sha256(data).hexdigest() != record.sha256:
        raise DidgenError(f"{path} has changed since it was imported; import it again.")
    return published_image(data, path)
