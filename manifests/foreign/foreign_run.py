"""Foreign runs: a folder of another generator's samples as a run, so that it meets the benchmarks.

Notable choices:
- A folder is read as `import folder` reads one, and what that leaves out is left out here too.
- Nobody knows what such a generator was trained on: its run lists no training images, and no layout
  of its pairs has a name. So its scope is unknown.
- A sample that is nearly a held-out image of the source is a failure of the run, with the reason:
  it is in no shard, and is counted.
"""

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import leftovers
from didgen.manifests.images import encoded, read_file, read_image
from didgen.manifests.importers.admission import WORKERS, Import, ImportOptions
from didgen.manifests.importers.folder import import_folder
from didgen.manifests.locks import claimed
from didgen.manifests.perceptual_hash import HASH_SIDE, NEAR, nearest, perceptual_hash
from didgen.manifests.privacy.published import published_image
from didgen.manifests.progress import Progress
from didgen.manifests.recipes.fields import FOREIGN
from didgen.manifests.recipes.fingerprint import fingerprint
from didgen.manifests.recipes.synthetic import SyntheticRecipe
from didgen.manifests.runs.claim import start_run
from didgen.manifests.runs.finish import DOCUMENTS, Provenance, finish_run, finished, mend_run
from didgen.manifests.runs.order import keep_order
from didgen.manifests.runs.tidy import tidy
from didgen.manifests.shards.index import Ingredient, Manifest
from didgen.manifests.shards.rows import shard_is_whole
from didgen.manifests.shards.shard import Failure, Sample, Stamp, write_shard
from didgen.manifests.sources.records import SourceManifest, SourceRecord
from didgen.manifests.sources.rejections import write_rejections

SIDE = 256
"""Pixels of the central square that near-duplicates are looked for in."""


@dataclass(frozen=True)
class Foreign:
    """A folder of samples made ready. near: by key, the held-out image that a sample nearly is."""

    recipe: SyntheticRecipe
    found: Import
    classes: Sequence[str]
    configs: Mapping[Config, Sequence[SourceRecord]]
    near: Mapping[str, str]
    fingerprint: str

    @property
    def generator(self) -> str:
        """What made the samples, in words."""
        return self.recipe.generator or self.recipe.images.name

    def record(self) -> dict[str, str]:
        """What goes in by config, and how much was left out, without a name of file or image."""
        said: dict[str, str] = {}
        for config, records in self.configs.items():
            kept = sum(record.key not in self.near for record in records)
            said[config] = f"{kept} samples in {len(self.shards(config))} shards"
        if self.near:
            said["near-duplicates"] = (
                f"{len(self.near)} samples are nearly held-out images and were left out"
            )
        if self.found.rejections:
            said["rejected"] = f"{len(self.found.rejections)} files"
        return said

    def summary(self) -> dict[str, str]:
        """The record for this machine alone: with the first name of what was left out."""
        said = self.record()
        if self.near:
            first = next(iter(self.near))
            said["near-duplicates"] += f"; {first} {self.near[first]}"
        if self.found.rejections:
            said["rejected"] += f"; {self.found.rejections[0].sentence}"
        return said

    def shards(self, config: Config) -> list[Sequence[SourceRecord]]:
        """The samples of a config, cut into shards."""
        records, size = self.configs[config], self.recipe.shard_size
        return [records[start : start + size] for start in range(0, len(records), size)]


def prepare_foreign(recipe: SyntheticRecipe, progress: Progress | None = None) -> Foreign:
    """Look at every sample of a folder, and hold it against the held-out images of the source.

    Raises DidgenError as `import_folder` does, for samples with neither label nor mask, for a class
    that the source lacks, and where nothing is left. `progress` is called with (images looked at,
    all of the folder).
    """
    source = SourceManifest.read(recipe.source)
    found = import_folder(
        recipe.images,
        licence=recipe.licence,
        masks=recipe.masks,
        labels=recipe.labels,
        # Synthetic samples train, and nothing else.
        options=ImportOptions(fractions=(1.0, 0.0, 0.0), progress=progress),
    )
    samples = found.manifest
    if held := next((one for one in samples.records if one.split != "train"), None):
        raise DidgenError(
            f"{recipe.images} gives {held.key} to the split {held.split}, and synthetic samples "
            "are for training alone; name a folder that holds nothing else."
        )
    labels = {record.label for record in samples.records if record.label}
    if unknown := sorted(labels - {*source.header.classes}):
        raise DidgenError(
            f"{recipe.images} has samples of the class {unknown[0]}, which {recipe.source} does "
            f"not have; its classes are {', '.join(source.header.classes)}."
        )
    configs = _configs(samples, recipe.images)
    held_out = [record for record in source.records if record.split != "train"]
    near = _near(samples, source, held_out)
    for config, records in configs.items():
        if all(record.key in near for record in records):
            raise DidgenError(
                f"Every sample of {recipe.images} for {config} is nearly a held-out image of "
                f"{recipe.source}; nothing is left to import."
            )
    decided = fingerprint(
        {
            "recipe": recipe.model_dump(
                mode="json", exclude={"images", "labels", "masks", "source"}
            ),
            "classes": source.header.classes,
            "samples": {
                config: [[r.key, r.label, r.sha256, r.mask_sha256] for r in records]
                for config, records in configs.items()
            },
            "near": dict(sorted(near.items())),
        }
    )
    return Foreign(recipe, found, source.header.classes, configs, near, decided)


def _configs(samples: SourceManifest, folder: Path) -> dict[Config, Sequence[SourceRecord]]:
    """The samples of each config: images are those with a label, pairs those with a mask."""
    configs: dict[Config, Sequence[SourceRecord]] = {
        "images": samples.select(labelled=True),
        "pairs": samples.select(masked=True),
    }
    there = {config: records for config, records in configs.items() if records}
    if not there:
        raise DidgenError(
            f"{folder} has samples without label and mask; give a table with --labels, a folder "
            "with --masks, or a folder for each class."
        )
    return there


def _near(
    samples: SourceManifest, source: SourceManifest, held_out: Sequence[SourceRecord]
) -> dict[str, str]:
    """By key, the samples that are nearly a held-out image, and which one, in words."""
    if not held_out:
        return {}
    places, bits = nearest(_hashes(samples, samples.records), _hashes(source, held_out))
    return {
        record.key: f"is nearly {held_out[place].key} of {held_out[place].split} "
        f"({apart} of {HASH_SIDE**2} bits differ)"
        for record, place, apart in zip(samples.records, places, bits, strict=True)
        if apart <= NEAR
    }


def _hashes(source: SourceManifest, records: Sequence[SourceRecord]) -> NDArray[np.bool_]:
    """The perceptual hash of the central square of each record's image, (N, 256)."""

    def hashed(record: SourceRecord) -> NDArray[np.bool_]:
        square = ImageOps.fit(
            read_image(source.image_path(record)), (SIDE, SIDE), Image.Resampling.BILINEAR
        )
        return perceptual_hash(np.asarray(square).transpose(2, 0, 1))

    with ThreadPoolExecutor(WORKERS) as pool:
        return np.stack([*pool.map(hashed, records)])


def import_foreign(job: Foreign, out: Path, progress: Progress | None = None) -> Manifest:
    """Write the samples as shards into the run directory `out`; go on where a stopped one stopped.

    `progress` is called with (shards written, all that were missing). Raises DidgenError where
    `out` holds another run, or where an image is no longer the one that was looked at.
    """
    with claimed(out, "run"):
        return _carry_out(job, out, progress)


def _carry_out(job: Foreign, out: Path, progress: Progress | None) -> Manifest:
    start_run(
        out,
        fingerprint=job.fingerprint,
        recipe=job.recipe.model_dump(mode="json"),
        planned={config: len(records) for config, records in job.configs.items()},
        documents=DOCUMENTS,
    )
    keep_order(out, "synthetic", job.recipe.model_dump(mode="json"))
    tidy(out, leftovers(out))
    write_rejections(out, job.found.rejections)
    planned = {config: len(job.shards(config)) for config in job.configs}
    every = [
        (config, index, records)
        for config in job.configs
        for index, records in enumerate(job.shards(config))
    ]
    todo = [
        (config, index, records)
        for config, index, records in every
        if not shard_is_whole(
            out, config, index, fingerprint=job.fingerprint, keys=[r.key for r in records]
        )
    ]
    made_from = Ingredient(kind="data", name=job.generator, licence=job.recipe.licence)
    provenance = Provenance([made_from])
    classes = list(job.classes)
    if not todo and finished(out, planned, classes):
        return mend_run(out, provenance)
    versions = {package: version(package) for package in ("didgen", "pillow")}
    versions["python"] = platform.python_version()
    for done, (config, index, records) in enumerate(todo, 1):
        write_shard(
            out,
            config,
            index,
            _samples(job, config, records),
            Stamp(job.fingerprint, versions),
        )
        if progress:
            progress(done, len(todo))
    return finish_run(
        out,
        planned,
        decisions=job.record(),
        versions=versions,
        classes=classes,
        provenance=provenance,
    )


def _samples(
    job: Foreign, config: Config, records: Sequence[SourceRecord]
) -> Iterator[Sample | Failure]:
    """The samples of a shard, and those that are nearly held-out images as failures."""
    # The members of all samples of a config are the same.
    classed = config == "images" or all(r.label for r in job.configs[config])
    for record in records:
        layout = FOREIGN if config == "pairs" else ""
        row = {"label": record.label or "", "layout": layout}
        if record.key in job.near:
            yield Failure(record.key, "near-duplicate: it is nearly a held-out image", row)
        else:
            yield Sample(record.key, _members(job, config, record, classed), row)


def _members(job: Foreign, config: Config, record: SourceRecord, classed: bool) -> dict[str, bytes]:
    samples = job.found.manifest
    path = samples.image_path(record)
    data = read_file(path)
    if hashlib.sha256(data).hexdigest() != record.sha256:
        raise DidgenError(f"{path} has changed since it was looked at; run the command again.")
    index = job.classes.index(record.label) if record.label else -1
    members = {"jpg": published_image(data, path).data}
    if config == "pairs":
        mask = samples.read_mask(record)
        members["mask.png"] = encoded(Image.fromarray(mask).convert("L"), "PNG")
    if classed:
        members["cls"] = str(index).encode()
    said: dict[str, Any] = {
        "key": record.key,
        "label": index,
        "class": record.label or "",
        "prompt": "",
        "seed": -1,
        "layout": FOREIGN if config == "pairs" else "",
        "run": job.fingerprint,
        "generator": job.generator,
        "licence": record.licence,
    }
    members["json"] = json.dumps(said, sort_keys=True).encode()
    return members
