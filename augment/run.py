"""The run: a recipe's plan carried out shard by shard, sampled, annotated and written.

Notable choices:
- A shard is the unit of work: it is whole or it is not there, and a second run makes only what is
  missing.
- A sample that cannot be used is a row with its reason, never a gap.
"""

import io
import json
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from augment.device import Device, choose_device
from augment.display import decisions, progress_bar
from augment.layout import Layouts
from augment.model import load_pipeline, model_folder, model_hashes
from augment.pipeline import LesionPairPipeline, draw
from augment.plan import (
    Planned,
    Prompts,
    captions_of,
    model_captions,
    plan_images,
    plan_pairs,
    read_captions,
    real_counts,
    shards_of,
)
from augment.provenance import ingredients
from augment.sheet import image_sheet, pair_sheet
from augment.tokens import P_TOKENS
from manifests.errors import DidgenError
from manifests.files import sha256_of, write_bytes, write_json_lines
from manifests.recipe import AugmentRecipe, asked, fingerprint
from manifests.records import CLASSES, SourceManifest
from manifests.runs import MANIFEST_NAME, Manifest, finish_run, mend_run, start_run
from manifests.shards import Config, Failure, Sample, iterate, shard_is_whole, write_shard

BLANK = 2.0
"""An image whose grey levels deviate by less than this (of 255) shows nothing."""

SHEET_IMAGES = 8
"""Images of each class on the contact sheet."""

SHEET_PAIRS = 24
"""Pairs on the contact sheet."""


@dataclass(frozen=True)
class Job:
    """A recipe made ready: its model, its classes, its layouts and its plan."""

    recipe: AugmentRecipe
    pipeline: LesionPairPipeline
    classes: tuple[str, ...]
    layouts: Layouts
    plan: dict[Config, list[list[Planned]]]
    fingerprint: str
    """Of the recipe, the plan, the model's files and the layouts: of what decides the result."""

    def count(self, config: Config) -> int:
        """Samples planned for a config."""
        return sum(len(shard) for shard in self.plan[config])


def prepare(recipe: AugmentRecipe) -> Job:
    """Load what a recipe names and fix its plan; nothing is written.

    Raises DidgenError for a model or source that is not there or does not fit the recipe.
    """
    manifest = SourceManifest.read(recipe.source) if recipe.source else None
    pipeline = load_pipeline(recipe.model, recipe.revision)
    missing = [t for t in P_TOKENS if t not in pipeline.tokenizer.get_vocab()]
    if missing:
        raise DidgenError(
            f"The model {recipe.model} does not know {' and '.join(missing)}; "
            "run `didgen finetune` on it first."
        )
    if recipe.captions is not None:
        captions = read_captions(recipe.captions)
    elif manifest is not None:
        captions = captions_of((r.label, r.caption) for r in manifest.select(split="train"))
    else:
        captions = model_captions(model_folder(recipe.model))
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
    return Job(recipe, pipeline, classes, layouts, plan, fingerprint(decided_by))


def augment(job: Job, out: Path) -> Manifest:
    """Carry out a job into the run directory `out`; goes on where a stopped run stopped.

    Raises DidgenError where `out` holds a run of another recipe.
    """
    start_run(out, fingerprint=job.fingerprint, recipe=asked(job.recipe))
    todo = {
        (config, index)
        for config, shards in job.plan.items()
        for index, shard in enumerate(shards)
        if not shard_is_whole(
            out, config, index, fingerprint=job.fingerprint, keys=[p.key for p in shard]
        )
    }
    if not todo and (out / MANIFEST_NAME).exists():
        # What the manifest says of device and versions stays true of the samples.
        return mend_run(out, ingredients(job.recipe, job.layouts.manifest))
    device = choose_device()
    sampling = job.recipe.sampling
    made = {
        "device": str(device),
        "sampling": f"{sampling.scheduler}, {sampling.steps} steps, guidance {sampling.cfg}, "
        f"batches of {sampling.batch_size}, because the recipe says so",
        "plan": ", ".join(
            f"{job.count(config)} {config} in {len(shards)} shards"
            for config, shards in job.plan.items()
        ),
    }
    decisions(made)
    rows = [p.row() for shards in job.plan.values() for shard in shards for p in shard]
    write_json_lines(out / "plan.jsonl", rows)
    versions = _versions()
    job.pipeline.to(device.name)
    with progress_bar() as progress:
        for config, shards in job.plan.items():
            task = progress.add_task(config, total=job.count(config), state="")
            for index, shard in enumerate(shards):
                if (config, index) in todo:
                    results = _make(job, shard, device, partial(progress.advance, task))
                    write_shard(
                        out,
                        config,
                        index,
                        results,
                        fingerprint=job.fingerprint,
                        versions=versions,
                    )
                progress.update(task, completed=sum(map(len, shards[: index + 1])))
    write_sheets(job, out)
    return finish_run(
        out,
        {config: len(shards) for config, shards in job.plan.items()},
        decisions=made,
        versions=versions,
        classes=list(job.classes),
        made_from=ingredients(job.recipe, job.layouts.manifest),
    )


def _make(
    job: Job, shard: Sequence[Planned], device: Device, advance: Callable[[int], object]
) -> Iterator[Sample | Failure]:
    """Draw the samples of a shard in batches and pack each; an unusable one is a Failure."""
    size = job.recipe.sampling.batch_size
    for first in range(0, len(shard), size):
        batch = shard[first : first + size]
        masks = layouts = None
        if batch[0].layout:
            masks = [job.layouts.mask(planned.layout, planned.seed) for planned in batch]
            layouts = torch.from_numpy(np.stack(masks))[:, None].float()
        with torch.autocast(device.name, dtype=device.dtype, enabled=device.dtype != torch.float32):
            drawn = draw(
                job.pipeline,
                [planned.prompt for planned in batch],
                [planned.seed for planned in batch],
                job.recipe.sampling,
                layouts,
            )
        for place, planned in enumerate(batch):
            mask = None if drawn.masks is None else drawn.masks[place]
            layout = None if masks is None else masks[place]
            yield pack(planned, drawn.images[place], mask, layout, job)
        advance(len(batch))


def pack(
    planned: Planned,
    image: np.ndarray,
    mask: np.ndarray | None,
    layout: np.ndarray | None,
    job: Job,
) -> Sample | Failure:
    """One sample as shard members, or the reason why it is none.

    image: (H, W, 3) uint8; mask, layout: (H, W) booleans, for pairs only.
    """
    contrast = float(image.mean(-1).std())
    if contrast < BLANK:
        return Failure(planned.key, f"near-blank image: grey levels deviate by {contrast:.2f}")
    scores = {"contrast": round(contrast, 3)}
    members = {"jpg": _encoded(image, "JPEG", quality=job.recipe.jpeg_quality, subsampling=0)}
    index = job.classes.index(planned.label) if planned.label else -1
    if mask is None or layout is None:
        members["cls"] = str(index).encode()
    else:
        share = float(mask.mean())
        if not 0 < share < 1:
            return Failure(planned.key, f"the annotated mask covers {share:.0%} of the image")
        members["mask.png"] = _encoded(mask.astype(np.uint8) * 255, "PNG")
        scores["mask_area"] = round(share, 4)
        scores["layout_iou"] = round(float((mask & layout).sum() / (mask | layout).sum()), 4)
    record = {
        "key": planned.key,
        "label": index,
        "class": planned.label,
        "prompt": planned.prompt,
        "seed": planned.seed,
        "layout": planned.layout,
        "run": job.fingerprint,
        "scores": scores,
    }
    members["json"] = json.dumps(record, sort_keys=True).encode()
    return Sample(planned.key, members, planned.row() | {"scores": scores})


def write_sheets(job: Job, out: Path) -> None:
    """Contact sheets of a finished run: images by class, pairs with both outlines."""
    for config, sheet_of in (("images", _images_sheet), ("pairs", _pairs_sheet)):
        if config in job.plan and (sheet := sheet_of(job, out)) is not None:
            write_bytes(out / "sheets" / f"{config}.png", _encoded(np.asarray(sheet), "PNG"))


def _images_sheet(job: Job, out: Path) -> Image.Image | None:
    """The first images of each class, a class after the other; None where none was made."""
    by_class: dict[str, list[np.ndarray]] = {label: [] for label in job.classes}
    for sample in iterate(out, "images"):
        shown = by_class[json.loads(sample.members["json"])["class"]]
        if len(shown) < SHEET_IMAGES:
            shown.append(_decoded(sample.members["jpg"]))
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


def _encoded(array: np.ndarray, kind: str, **options: int) -> bytes:
    """An image file's bytes."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def _decoded(data: bytes) -> np.ndarray:
    """An image of our own making as an array."""
    return np.asarray(Image.open(io.BytesIO(data)))


def _versions() -> dict[str, str]:
    """What the samples were made with; another stack may give other bits."""
    packages = ("didgen", "torch", "diffusers", "transformers", "numpy", "pillow")
    found = {package: version(package) for package in packages}
    return found | {"python": platform.python_version(), "platform": platform.platform()}
