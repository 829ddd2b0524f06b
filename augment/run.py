"""The run: a recipe's plan carried out shard by shard, sampled, annotated and written.

Notable choices:
- A shard is the unit of work: it is whole or it is not there, and a second run makes only what is
  missing.
- A sample that cannot be used is a row with its reason, never a gap.
"""

import io
import json
from collections import Counter
from collections.abc import Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from augment.attention import layers_at
from augment.cluster import make_on_cluster
from augment.display import decisions, progress_bar
from augment.job import Job
from augment.layout import Layouts
from augment.model import CAPTIONS_NAME, load_pipeline, model_hashes, pinned
from augment.part import Part
from augment.pipeline import LesionPairPipeline, scheduler_of
from augment.plan import (
    Planned,
    Prompts,
    captions_of,
    plan_images,
    plan_pairs,
    read_captions,
    real_counts,
    shards_of,
)
from augment.provenance import beside, ingredients, trained_on, unlisted
from augment.sheet import attention_sheet, image_sheet, pair_sheet
from augment.tokens import P_TOKENS
from augment.worker import Worker, is_whole, versions
from manifests.attention import WATCHED, AttentionHistory
from manifests.errors import DidgenError
from manifests.files import sha256_of, write_bytes
from manifests.images import encoded
from manifests.locks import claimed
from manifests.ownership import claim_of, is_started, start_run
from manifests.recipe import AugmentRecipe, asked, fingerprint
from manifests.records import CLASSES, SourceManifest
from manifests.runs import (
    DOCUMENTS,
    Manifest,
    finish_run,
    finished,
    is_documented,
    mend_run,
    missing_shards,
)
from manifests.shards import (
    Config,
    Sidecar,
    iterate,
    read_sidecars,
)
from manifests.tidy import strays, tidy

SHEET_IMAGES = 8
"""Images of each class on the contact sheet."""

SHEET_PAIRS = 24
"""Pairs on the contact sheet."""


def prepare(recipe: AugmentRecipe) -> Job:
    """Load what a recipe names and fix its plan; nothing is written.

    Raises DidgenError for a model or source that is not there or does not fit the recipe.
    """
    manifest = SourceManifest.read(recipe.source) if recipe.source else None
    pipeline = load_pipeline(recipe.model, recipe.revision)
    recipe = pinned(recipe)
    missing = [t for t in P_TOKENS if t not in pipeline.tokenizer.get_vocab()]
    if missing:
        raise DidgenError(
            f"The model {recipe.model} does not know {' and '.join(missing)}; "
            "run `didgen finetune` on it first."
        )
    _check_sampling(recipe, pipeline)
    if recipe.captions is not None:
        captions = read_captions(recipe.captions)
    elif manifest is not None:
        captions = captions_of((r.label, r.caption) for r in manifest.select(split="train"))
    else:
        captions = _model_captions(recipe)
    if manifest is not None:
        classes = manifest.header.classes
        real = real_counts(manifest)
    else:
        known = [label for label in CLASSES if label in captions]
        classes = tuple(known + sorted(set(captions) - set(known) - {""}))
        real = {label: len(captions[label]) for label in classes}
    prompts = Prompts(captions, lambda text: len(pipeline.tokenizer(text).input_ids))
    layouts = Layouts(pipeline.image_size, manifest)
    plan: dict[Config, list[list[Planned]]] = {}
    if recipe.images is not None:
        plan["images"] = shards_of(plan_images(recipe, real, prompts), recipe.shard_size)
    if recipe.pairs is not None:
        plan["pairs"] = shards_of(plan_pairs(recipe, classes, layouts, prompts), recipe.shard_size)
    plan = {config: shards for config, shards in plan.items() if shards}
    if not plan:
        raise DidgenError("The recipe asks for no sample at all; raise a count in it.")
    planned = [p for shards in plan.values() for shard in shards for p in shard]
    used = {layouts.records[p.layout] for p in planned if p.layout in layouts.records}
    decided_by = {
        "recipe": asked(recipe),
        "plan": [p.row() for p in planned],
        "model": model_hashes(recipe.model, recipe.revision),
        "masks": {r.key: sha256_of(manifest.mask_path(r)) for r in used} if manifest else {},
    }
    seen = trained_on(recipe.model, recipe.revision)
    return Job(recipe, pipeline, classes, layouts, plan, fingerprint(decided_by), seen)


def _model_captions(recipe: AugmentRecipe) -> dict[str, list[str]]:
    """The captions that the recipe's model was finetuned with."""
    path = beside(recipe.model, recipe.revision, CAPTIONS_NAME)
    if not path.exists():
        raise DidgenError(
            f"The model {recipe.model} has no {CAPTIONS_NAME}; give the recipe a `source` with "
            "captions."
        )
    return read_captions(path)


def _check_sampling(recipe: AugmentRecipe, pipeline: LesionPairPipeline) -> None:
    """Raise DidgenError for a sampling that the model cannot do, before there is a folder of it."""
    sampling = recipe.sampling
    trained = scheduler_of(pipeline, sampling.scheduler).config.num_train_timesteps
    if sampling.steps > trained:
        raise DidgenError(
            f"`sampling.steps` is {sampling.steps}, but the model {recipe.model} knows {trained} "
            "timesteps; lower it."
        )
    for kind in ("attn2", "attn1") if recipe.pairs else ():
        layers_at(pipeline.unet, kind, sampling.maps, pipeline.unet.config.sample_size)


def check_source(job: Job, out: Path | None) -> None:
    """Raise DidgenError where the source holds out what the model was trained on.

    Not where this run has begun in `out`: it can still be carried out again and mended.
    """
    source, manifest = job.recipe.source, job.layouts.manifest
    begun = claim_of(out) if out is not None else None
    if begun is not None and begun.fingerprint == job.fingerprint:
        return
    if source is not None and manifest is not None:
        job.trained_on.check(f"The model {job.recipe.model}", source, manifest)


Engine = Literal["local", "ray"]
"""Who makes the shards: this process, or the workers of a Ray cluster."""


def augment(
    job: Job,
    out: Path,
    part: Part = Part(),  # noqa: B008 - immutable
    engine: Engine = "local",
) -> Manifest | None:
    """Carry out a job, or a part of it, into the run directory `out`; goes on where one stopped.

    Several processes may work on one directory, here or elsewhere: each makes shards that nobody
    has in hand. Who finds all shards there writes the index; None where some are still missing.
    Raises DidgenError where `out` holds a run of another recipe, and, before a run begins, for a
    source that holds out what the model was trained on: one that has begun can still be mended.
    """
    check_source(job, out)
    if not is_started(out, job.fingerprint):
        rows = [p.row() for shards in job.plan.values() for shard in shards for p in shard]
        with claimed(out, "run"):
            start_run(
                out,
                fingerprint=job.fingerprint,
                recipe=asked(job.recipe),
                plan=rows,
                documents=DOCUMENTS,
            )
    everything = [(config, index) for config, count in job.shards.items() for index in range(count)]
    ours = [shard for place, shard in enumerate(everything) if part.has(place)]
    if todo := [shard for shard in ours if not is_whole(job, out, *shard)]:
        if engine == "ray":
            decisions(unlisted(job.recipe.model, job.trained_on))
            make_on_cluster(job, out, todo)
        else:
            _make(job, out, todo)
    return None if missing_shards(out, job.shards) else _finish(job, out)


def _make(job: Job, out: Path, todo: list[tuple[Config, int]]) -> None:
    """Make shards; those that another process has in hand come last, and are made if it dies."""
    worker = Worker(job, out)
    decisions(_decisions(job, str(worker.device)))
    with progress_bar() as progress:
        tasks = {config: progress.add_task(config, total=0, state="") for config, _ in todo}
        for config, index in todo:
            task, size = tasks[config], len(job.plan[config][index])
            progress.update(task, total=(progress.tasks[task].total or 0) + size)
        for wait in (False, True):
            held = []
            for config, index in todo:
                task = tasks[config]
                progress.update(task, state="another process has the rest in hand" if wait else "")
                before = progress.tasks[task].completed
                if worker.make(config, index, partial(progress.advance, task), wait=wait) is None:
                    held.append((config, index))
                    continue
                progress.update(task, completed=before + len(job.plan[config][index]), state="")
            todo = held


def _finish(job: Job, out: Path) -> Manifest:
    """Write the index of a run whose shards are all there, unless it is there, and tidy up."""
    source = job.layouts.manifest
    made_from = ingredients(job.recipe, source.select(split="train") if source else ())
    manifest = finished(out, job.shards, job.classes)
    documented = manifest and is_documented(out, manifest, made_from, job.trained_on)
    if manifest and documented and not strays(out, job.shards):
        return manifest
    with claimed(out, "run"):
        tidy(out, strays(out, job.shards))
        # Another process may have been faster.
        if finished(out, job.shards, job.classes):
            return mend_run(out, made_from, job.trained_on)
        write_sheets(job, out)
        # What made the samples is known to their shards: it need not be this process.
        sidecars = [sidecar for config in job.plan for sidecar in read_sidecars(out, config)]
        stack = {name: _each(sidecars, name) for name in versions()}
        return finish_run(
            out,
            job.shards,
            decisions=_decisions(job, _each(sidecars, "device")),
            versions=stack,
            classes=list(job.classes),
            made_from=made_from,
            trained_on=job.trained_on,
        )


def _each(sidecars: Iterable[Sidecar], name: str) -> str:
    """What the sidecars record under a name, each value once."""
    return "; ".join(sorted({sidecar.versions.get(name, "unknown") for sidecar in sidecars}))


def _decisions(job: Job, device: str) -> dict[str, str]:
    """A run's own choices, each with its reason."""
    sampling = job.recipe.sampling
    return unlisted(job.recipe.model, job.trained_on) | {
        "device": device,
        "sampling": f"{sampling.scheduler}, {sampling.steps} steps, guidance {sampling.cfg}, "
        f"batches of {sampling.batch_size}, because the recipe says so",
        "plan": ", ".join(
            f"{job.count(config)} {config} in {count} shards"
            for config, count in job.shards.items()
        ),
    }


def write_sheets(job: Job, out: Path) -> None:
    """Contact sheets of a finished run: images by class, pairs with both outlines, attention."""
    sheets = {
        "images": _images_sheet(job, out) if "images" in job.plan else None,
        "pairs": _pairs_sheet(job, out) if "pairs" in job.plan else None,
        "attention": _attention_sheet(out) if "pairs" in job.plan else None,
    }
    for name, sheet in sheets.items():
        if sheet is not None:
            write_bytes(out / "sheets" / f"{name}.png", encoded(sheet, "PNG"))


def _images_sheet(job: Job, out: Path) -> Image.Image | None:
    """The first images of each class, a class after the other; None where none was made."""
    by_class: dict[str, list[np.ndarray]] = {label: [] for label in job.classes}
    lacking = Counter(dict.fromkeys(job.classes, SHEET_IMAGES))
    lacking &= Counter(p.label for shard in job.plan["images"] for p in shard)
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


def _pairs_sheet(job: Job, out: Path) -> Image.Image | None:
    """The first pairs with the outlines of mask and layout; None where none was made."""
    samples = list(islice(iterate(out, "pairs"), SHEET_PAIRS))
    if not samples:
        return None
    records = [json.loads(sample.members["json"]) for sample in samples]
    return pair_sheet(
        np.stack([_decoded(sample.members["jpg"]) for sample in samples]),
        np.stack([_decoded(sample.members["mask.png"]) > 0 for sample in samples]),
        np.stack([job.layouts.mask(record["layout"], record["seed"]) for record in records]),
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


def _decoded(data: bytes) -> np.ndarray:
    """An image of our own making as an array."""
    return np.asarray(Image.open(io.BytesIO(data)))
