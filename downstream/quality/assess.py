"""Assessing a run: its figures of quality and its copies, written as a record, rows and pictures.

Notable choices:
- Images pass by in batches, and their features and hashes are what is kept. The pictures of the
  pairs that are compared pixel by pixel are read a second time.
- Synthetic images are compared with held-out ones unless asked otherwise, which say something
  because their model, as far as its run tells, was not trained on those. The floor is what the
  other real images get against the same ones: the distance of a generator that draws real images
  of new lesions.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from didgen.downstream.metrics.lpips import load_lpips
from didgen.downstream.pages.document import markdown
from didgen.downstream.pages.quality import RECORD_NAME, SHEET_NAME, quality_page
from didgen.downstream.quality.copies import (
    PLANTED,
    Calibration,
    Nearest,
    TrainingIndex,
    are_copies,
    calibrate,
    duplicates_within,
    planted,
    rate,
)
from didgen.downstream.quality.copy_record import (
    closest_sheet,
    copy_rows,
    copy_summary,
    with_start_similarity,
)
from didgen.downstream.quality.embed import (
    RESIZE,
    Collection,
    Embedded,
    embed,
    real_collection,
    synthetic_collection,
    views_of,
)
from didgen.downstream.quality.extractors import BATCH, Extractor, find_extractor
from didgen.downstream.quality.fidelity import class_fidelity, layout_fidelity, mask_fidelity
from didgen.downstream.quality.judge import Judge, read_judges
from didgen.downstream.quality.recipe import QualityRecipe
from didgen.downstream.quality.scorecard import PICTURE_SIDE, scorecard
from didgen.manifests.choices import Config, Part
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import sha256_of, write_bytes, write_json, write_json_lines
from didgen.manifests.locks import sole_writer
from didgen.manifests.progress import Progress
from didgen.manifests.provenance.trained_on import TrainedOn
from didgen.manifests.runs.copy_scores import COPY, write_scores
from didgen.manifests.runs.finish import read_trained_on, read_whole_run
from didgen.manifests.runs.training_samples import SyntheticSample, check_run, training_samples
from didgen.manifests.shards.shard import Sidecar
from didgen.manifests.sources.records import SourceManifest

PAGE_NAME, COPIES_NAME = "quality.md", "copies.jsonl"

PARTS: tuple[Part, Part] = ("train", "held-out")


@dataclass(frozen=True)
class QualityJob:
    """An assessment made ready: what is compared, with which network, at which size."""

    recipe: QualityRecipe
    run: str
    """The fingerprint of the run."""
    source: SourceManifest
    sidecars: Mapping[Config, Sequence[Sidecar]]
    samples: Mapping[Config, Sequence[SyntheticSample]]
    real: Mapping[Part, Collection]
    synthetic: Mapping[Config, Collection]
    extractor: Extractor
    size: int
    lpips: nn.Module | None
    judges: tuple[Judge, ...]
    trained_on: TrainedOn

    def counts(self) -> dict[str, dict[str, int]]:
        """Images by class, of each part of the source and each config of the run."""
        return {
            name: dict(sorted(Counter(collection.labels).items()))
            for name, collection in (*self.real.items(), *self.synthetic.items())
        }

    @property
    def looked_at(self) -> int:
        """Images that go through the extractor, whatever the number of their orientations."""
        copies = min(self.recipe.planted, len(self.real["train"])) * len(PLANTED)
        return sum(map(len, [*self.real.values(), *self.synthetic.values()])) + copies

    @property
    def passes(self) -> int:
        """Passes of an image through the extractor: all but training images go in as they can lie,
        which are eight ways."""
        return 8 * self.looked_at - 7 * len(self.real["train"])


def prepare_quality(recipe: QualityRecipe, progress: Progress | None = None) -> QualityJob:
    """Read and check all that an assessment needs; every shard is hashed, nothing is written.

    Raises DidgenError for a run that is not whole or not of this source, a source without
    training or held-out images, and an extractor or weights that are not at hand.
    """
    source = SourceManifest.read(recipe.real)
    held_out = [*source.select(split="val"), *source.select(split="test")]
    records = {"train": source.select(split="train"), "held-out": held_out}
    for part in PARTS:
        if not records[part]:
            raise DidgenError(
                f"{recipe.real} has no {part} images to compare with; import it again with other "
                "shares of the splits."
            )
    extractor = find_extractor(recipe.extractor, recipe.weights)
    size = recipe.size or extractor.side
    extractor.check_side(size)
    lpips = load_lpips(recipe.lpips) if recipe.lpips else None
    run, sidecars = read_whole_run(recipe.synthetic, progress)
    check_run(recipe.synthetic, run, recipe.real, source, recipe.config)
    samples = {
        config: list(training_samples(recipe.synthetic, run, config, shards, source))
        for config, shards in sidecars.items()
        if recipe.config in (None, config)
    }
    samples = {config: taken for config, taken in samples.items() if taken}
    if not samples:
        raise DidgenError(f"{recipe.synthetic} holds no sample; make some first.")
    return QualityJob(
        recipe,
        run.fingerprint,
        source,
        sidecars,
        samples,
        {part: real_collection(source, records[part]) for part in PARTS},
        {
            config: synthetic_collection(recipe.synthetic, config, taken, run.classes)
            for config, taken in samples.items()
        },
        extractor,
        size,
        lpips,
        read_judges(recipe.judges, source),
        read_trained_on(recipe.synthetic, run),
    )


def counted(job: QualityJob, progress: Progress | None) -> Callable[[int], None]:
    """What reports images that are looked at, by their numbers, as progress."""
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress:
            progress(done, job.looked_at)

    return advance


@dataclass(frozen=True)
class RealImages:
    """The real images of a source as a network sees them, for all runs that are held against it."""

    train: Embedded
    held_out: Embedded
    index: TrainingIndex
    calibration: Calibration


def look_at_real(job: QualityJob, advance: Callable[[int], None]) -> RealImages:
    """Embed the real images, and calibrate the copy check by those that were held out."""
    train = embed(job.real["train"], job.extractor, job.size, advance=advance)
    index = TrainingIndex(train.features, train.hashes, train.collection.units)
    held_out = embed(job.real["held-out"], job.extractor, job.size, index, advance)
    assert held_out.nearest is not None
    # An importer takes an image of an unknown lesion for a lesion of the image's own name.
    named = zip(held_out.collection.units, held_out.collection.keys, strict=True)
    calibration = calibrate(held_out.nearest, [unit != key for unit, key in named])
    return RealImages(train, held_out, index, calibration)


def assess(
    job: QualityJob,
    out: Path,
    *,
    scores: bool = False,
    progress: Progress | None = None,
    seen: RealImages | None = None,
) -> dict[str, Any]:
    """Carry an assessment out into the folder `out`, and return what `quality.json` then holds.

    With `scores`, each sample's row in the sidecars of the run gets its score of the copy check.
    `progress` is called with (images looked at, all that there are). seen: the real images, where
    another assessment has looked at them.
    """
    advance = counted(job, progress)
    if seen is None:
        seen = look_at_real(job, advance)
    else:
        advance(sum(map(len, job.real.values())))
    synthetic = {
        config: embed(collection, job.extractor, job.size, seen.index, advance)
        for config, collection in job.synthetic.items()
    }
    rows = [row for config, part in synthetic.items() for row in _checked(job, config, part, seen)]
    record = {
        "kind": "quality",
        "real": str(job.recipe.real),
        "synthetic": str(job.recipe.synthetic),
        "run": job.run,
        "against": job.recipe.against,
        "seed": job.recipe.seed,
        "classes": list(job.source.header.classes),
        "images": job.counts(),
        "weights": job.extractor.weights,
        "features": job.extractor.dimension,
        **_basis(job, "features"),
        "figures": [*_figures(job, seen, synthetic), *_fidelity(job)],
        "copies": _copies(job, seen, synthetic, rows, advance),
        "versions": {
            name: version(name)
            for name in ("didgen", "torch", "timm", "torchmetrics", "torch-fidelity")
        },
    }
    _write(out, record, rows, closest_sheet(rows, job.real["train"], job.synthetic))
    if scores:
        _write_scores(job, rows, seen.calibration.threshold)
    return record


def _figures(
    job: QualityJob, seen: RealImages, synthetic: Mapping[Config, Embedded]
) -> Iterator[dict[str, Any]]:
    """The scorecard of each config, every figure with what it rests on."""
    real, rest = sides(job, seen.train, seen.held_out)
    # Once each: that of LPIPS has the hash of its file.
    basis = cache(partial(_basis, job))
    for config, part in synthetic.items():
        for row in scorecard(
            part, real, rest, pairs=job.recipe.pairs, network=job.lpips, seed=job.recipe.seed
        ):
            yield {"config": config} | row | basis(row["basis"])


def _copies(
    job: QualityJob,
    seen: RealImages,
    synthetic: Mapping[Config, Embedded],
    rows: Sequence[dict[str, Any]],
    advance: Callable[[int], None],
) -> dict[str, Any]:
    """The record of the copy check, with the copies that were planted to try it."""
    held_out, training = seen.held_out, job.real["train"].keys
    assert held_out.nearest is not None
    return {
        **_basis(job, "features"),
        **copy_summary(
            rows, seen.calibration, held_out.nearest, held_out.collection.keys, training
        ),
        "trained_on": {
            "images": len(job.trained_on),
            "beyond": len(job.trained_on.beyond(job.source.select(split="train"))),
        },
        "planted": _planted(job, seen.index, seen.calibration.threshold, advance),
        "duplicates_within": {
            config: rate(duplicates_within(part.hashes)) for config, part in synthetic.items()
        },
    }


def _write(
    out: Path, record: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], sheet: bytes
) -> None:
    """Write what an assessment says, its record last of all."""
    names = (SHEET_NAME, COPIES_NAME, PAGE_NAME, RECORD_NAME)
    with sole_writer(out, "quality", *(out / name for name in names)):
        # Without it, the files of two assessments are not taken for those of one.
        (out / RECORD_NAME).unlink(missing_ok=True)
        write_bytes(out / SHEET_NAME, sheet)
        write_json_lines(out / COPIES_NAME, rows)
        write_bytes(out / PAGE_NAME, markdown(quality_page(record)).encode())
        write_json(out / RECORD_NAME, record)


def sides(job: QualityJob, train: Embedded, held_out: Embedded) -> tuple[Embedded, Embedded]:
    """The real images that figures compare with, and those that make the real baseline."""
    against = job.recipe.against
    if against == "train":
        return train, held_out
    if against == "held-out":
        return held_out, train
    split = {record.key for record in job.source.select(split=against)}
    places = [n for n, key in enumerate(held_out.collection.keys) if key in split]
    if not places:
        raise DidgenError(
            f"{job.recipe.real} has no {against} images to compare with; import it again with "
            "other shares of the splits."
        )
    return held_out.take(places), train


def _fidelity(job: QualityJob) -> Iterator[dict[str, Any]]:
    """How well the samples are what they were to be."""
    for config, taken in job.samples.items():
        rows: list[dict[str, Any]] = []
        for judge in job.judges:
            if judge.classes:
                rows += class_fidelity(judge, job.synthetic[config])
            elif config == "pairs":
                rows.append(mask_fidelity(judge, job.recipe.synthetic, taken, job.source))
        if config == "pairs":
            kept = {
                key: row for sidecar in job.sidecars[config] for key, row in sidecar.kept.items()
            }
            rows += layout_fidelity(kept)
        yield from ({"config": config} | row for row in rows)


def _basis(job: QualityJob, basis: str) -> dict[str, Any]:
    """How the images of a figure were seen: their size, the filter, the network and its weights."""
    name: str | None
    if basis == "features":
        name, sha256, size = job.extractor.name, job.extractor.sha256, job.size
    else:
        name, sha256, size = None, None, PICTURE_SIDE
        if basis == "lpips" and job.recipe.lpips:
            name, sha256 = "LPIPS on AlexNet", sha256_of(job.recipe.lpips)
    return {"size": size, "resize": RESIZE, "extractor": name, "extractor_sha256": sha256}


def _planted(
    job: QualityJob, index: TrainingIndex, threshold: float, advance: Callable[[int], None]
) -> dict[str, Any]:
    """How many changed training images are found as copies, by what was done to them."""
    training = job.real["train"]
    rng = np.random.default_rng(job.recipe.seed)
    places = np.sort(rng.permutation(len(training))[: job.recipe.planted])
    pixels = training.pictures(places, job.size).numpy()
    found = {}
    for kind in PLANTED:
        copies = torch.from_numpy(np.stack([planted(image, kind) for image in pixels]))
        parts = []
        for batch in copies.split(BATCH):
            parts.append(index.nearest(*views_of(batch, job.extractor, turned=True)))
            advance(len(batch))
        nearest = Nearest.joined(parts)
        flags = are_copies(nearest, threshold)
        right = (nearest.places == places) | (nearest.hash_places == places)
        found[kind] = {**rate(flags), "right_image": rate(flags & right)}
    return {
        kind: {"recall" if name == "rate" else name: value for name, value in reported.items()}
        for kind, reported in found.items()
    }


def _checked(
    job: QualityJob, config: Config, part: Embedded, seen: RealImages
) -> list[dict[str, Any]]:
    """The copy check of the samples of a config; a config without any has none."""
    if part.nearest is None:
        return []
    training, threshold = job.real["train"].keys, seen.calibration.threshold
    rows = copy_rows(config, job.samples[config], part.nearest, training, threshold)
    return with_start_similarity(rows, part.features, seen.index, training)


def _write_scores(job: QualityJob, rows: Sequence[Mapping[str, Any]], threshold: float) -> None:
    """Put each sample's score into the sidecar of its shard."""
    for config in job.samples:
        scores = {
            row["key"]: {
                "nearest": row["nearest"],
                "similarity": row["similarity"],
                "threshold": threshold,
                "hash_nearest": row["hash_nearest"],
                "hash_distance": row["hash_distance"],
                "is_copy": row[COPY],
                "extractor": job.extractor.name,
                "extractor_sha256": job.extractor.sha256,
                "size": job.size,
            }
            for row in rows
            if row["config"] == config
        }
        for sidecar in job.sidecars[config]:
            write_scores(job.recipe.synthetic, config, sidecar, scores)
