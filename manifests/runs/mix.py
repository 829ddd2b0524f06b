"""Mix: real and synthetic samples as one set of shards, synthetic ones in training only.

Image bytes pass through; a real image that is no upright RGB JPEG is encoded as one.
"""

import hashlib
import json
import platform
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image

from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import leftovers, sha256_of
from didgen.manifests.images import decode, encoded, is_upright, read_file, read_mask, upright
from didgen.manifests.locks import claimed
from didgen.manifests.progress import Progress
from didgen.manifests.provenance.licence import data_ingredients, strictest
from didgen.manifests.provenance.trained_on import TrainedOn
from didgen.manifests.recipes.fingerprint import fingerprint
from didgen.manifests.recipes.mix import MixRecipe
from didgen.manifests.runs.claim import start_run
from didgen.manifests.runs.finish import (
    DOCUMENTS,
    finish_run,
    finished,
    mend_run,
    read_trained_on,
    read_whole_run,
)
from didgen.manifests.runs.mix_plan import (
    Item,
    MixPlan,
    add_config,
    in_order,
    real_items,
    wanted_counts,
)
from didgen.manifests.runs.tidy import tidy
from didgen.manifests.runs.training_samples import check_run, training_samples
from didgen.manifests.shards.index import Ingredient, Manifest
from didgen.manifests.shards.rows import shard_is_whole
from didgen.manifests.shards.shard import Sample, read_shard, write_shard
from didgen.manifests.sources.records import SourceManifest, SourceRecord

JPEG_QUALITY = 95


@dataclass(frozen=True)
class Mix:
    """A mix made ready: its two parts and its plan, shard by shard."""

    recipe: MixRecipe
    source: SourceManifest
    records: Mapping[str, SourceRecord]
    run: Manifest
    plan: MixPlan
    shortages: Mapping[str, tuple[int, int]]
    """By what there is too little of: how many were wanted, and how many there are."""
    made_from: Sequence[Ingredient]
    fingerprint: str
    trained_on: TrainedOn

    @cached_property
    def licence(self) -> str:
        """The licence of the synthetic samples."""
        return strictest(self.run.made_from).name

    def summary(self) -> dict[str, str]:
        """What goes in, by config and split, and what there was too little of; in words."""
        samples = self.plan.samples
        said = {
            f"{config}, {split}": f"{samples[config, split, 'real']} real and "
            f"{samples[config, split, 'synthetic']} synthetic samples in {count} shards"
            for (config, split), count in self.plan.shards.items()
        }
        for group, (wanted, there) in self.shortages.items():
            said[f"short of {group}"] = f"{wanted} synthetic samples wanted, {there} made"
        return said


def prepare_mix(recipe: MixRecipe, progress: Progress | None = None) -> Mix:
    """Check both parts of a mix and fix its plan; every shard is hashed, nothing is written.

    A run that is not whole, one that has a class the source lacks, a pair that was guided by a
    mask that is no training mask of the source, and with `drop_copies` a sample that the copy check
    has not scored, are each a `DidgenError`.
    """
    source = SourceManifest.read(recipe.source)
    run, sidecars = read_whole_run(recipe.run, progress)
    check_run(recipe.run, run, recipe.source, source, recipe.config)
    plan, shortages = MixPlan(), {}
    everything: list[Item] = []
    for config in (recipe.config,) if recipe.config else tuple(sidecars):
        real = real_items(config, source)
        everything += real
        wanted = wanted_counts(
            Counter(item.group for item in real if item.split == "train"), recipe.ratio
        )
        if not wanted:
            others = [other for other in sidecars if other != config and not recipe.config]
            mend = f"give `--config {others[0]}`" if others else "import some, or mix another kind"
            raise DidgenError(
                f"{recipe.source} has no training sample for the {config} of a mix; {mend}."
            )
        taken = training_samples(
            recipe.run,
            run,
            config,
            sidecars[config],
            recipe.source,
            source,
            drop_copies=recipe.drop_copies,
        )
        there = add_config(plan, recipe, config, real, wanted, taken)
        for group, count in wanted.items():
            if count > there[group]:
                shortages[f"{config} {group}".rstrip()] = count, there[group]
    records = {record.key: record for record in source.records}
    used = {item.taken: records[item.taken] for item in everything}
    unnamed = Ingredient(kind="data", name=f"run {run.fingerprint[:12]}", licence=None)
    return Mix(
        recipe,
        source,
        records,
        run,
        plan,
        shortages,
        [*data_ingredients(used.values()), *(run.made_from or [unnamed])],
        _fingerprint(recipe, source, run, plan, everything),
        read_trained_on(recipe.run, run),
    )


def _fingerprint(
    recipe: MixRecipe,
    source: SourceManifest,
    run: Manifest,
    plan: MixPlan,
    real: Sequence[Item],
) -> str:
    """The hash of all that decides a mix; a mask that is no longer the imported one is an error."""
    records = {record.key: record for record in source.records}
    used = {
        item.taken: records[item.taken]
        for config, split in plan.shards
        for item in in_order((i for i in real if i.config == config), split, recipe.seed)
    }
    masks: dict[str, str] = {}
    for key in sorted(item.taken for item in real if item.config == "pairs"):
        masks[key] = sha256_of(source.mask_path(records[key]))
        if records[key].mask_sha256 not in (None, masks[key]):
            path = source.mask_path(records[key])
            raise DidgenError(f"{path} has changed since it was imported; import it again.")
    return fingerprint(
        {
            "recipe": recipe.model_dump(mode="json"),
            "classes": source.header.classes,
            "plan": plan.rows(),
            # Masks count by their content, below.
            "records": [r.model_dump(mode="json", exclude={"mask_sha256"}) for r in used.values()],
            "masks": masks,
            "run": [entry.sha256 for shards in run.configs.values() for entry in shards],
        }
    )


def mix(job: Mix, out: Path, progress: Progress | None = None) -> Manifest:
    """Carry out a mix into the run directory `out`; goes on where a stopped one stopped.

    `progress` is called with (shards written, all that were missing). Raises DidgenError where
    `out` holds another run, or where a real image is no longer the one that was imported.
    """
    with claimed(out, "run"):
        return _carry_out(job, out, progress)


def _carry_out(job: Mix, out: Path, progress: Progress | None) -> Manifest:
    recipe = job.recipe.model_dump(mode="json")
    start_run(
        out,
        fingerprint=job.fingerprint,
        recipe=recipe,
        plan=job.plan.rows(),
        documents=DOCUMENTS,
    )
    tidy(out, leftovers(out))
    planned = job.plan.counts()
    todo = [
        place
        for place, shard in enumerate(job.plan)
        if not shard_is_whole(
            out,
            shard.config,
            shard.index,
            fingerprint=job.fingerprint,
            keys=[item.key for item in shard.items],
            split=shard.split,
        )
    ]
    classes = list(job.source.header.classes)
    if not todo and finished(out, planned, classes):
        return mend_run(out, job.made_from, job.trained_on)
    versions = {package: version(package) for package in ("didgen", "pillow")}
    versions["python"] = platform.python_version()
    for done, shard in enumerate(map(job.plan.__getitem__, todo), 1):
        write_shard(
            out,
            shard.config,
            shard.index,
            _samples(job, shard.items),
            fingerprint=job.fingerprint,
            versions=versions,
            split=shard.split,
        )
        if progress:
            progress(done, len(todo))
    return finish_run(
        out,
        planned,
        decisions=job.summary(),
        versions=versions,
        classes=classes,
        made_from=job.made_from,
        trained_on=job.trained_on,
    )


def _samples(job: Mix, items: Sequence[Item]) -> Iterator[Sample]:
    """The samples of a shard: real ones from their files, synthetic ones from their run."""
    by_shard: dict[Path, set[str]] = defaultdict(set)
    for item in items:
        if item.shard:
            by_shard[job.recipe.run / item.config / item.shard].add(item.taken)
    generated = {
        key: members
        for path, keys in by_shard.items()
        for key, members in read_shard(path)
        if key in keys
    }
    classes = job.source.header.classes
    for item in items:
        record = job.records.get(item.source_key)
        if item.origin == "real":
            assert record is not None
            members = _real_members(job.source, record, item.config)
            known = {"licence": record.licence, "prompt": record.caption or "", "seed": -1}
        else:
            members, known = _generated_members(job, generated.get(item.taken, {}), item)
        known |= {
            "key": item.key,
            "label": classes.index(item.label) if item.label else -1,
            "class": item.label,
            "origin": item.origin,
            "split": item.split,
            "source_key": item.source_key,
            "lesion_id": record.lesion_id if record else "",
            "layout": item.layout,
            "run": job.run.fingerprint if item.shard else "",
            "run_key": item.taken if item.shard else "",
        }
        if item.config == "images":
            members["cls"] = str(known["label"]).encode()
        members["json"] = json.dumps(known, sort_keys=True).encode()
        row = {"label": item.label, "origin": item.origin, "layout": item.layout}
        yield Sample(item.key, members, row | {"source_key": item.source_key})


def _generated_members(
    job: Mix, taken: Mapping[str, bytes], item: Item
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The image of a synthetic sample, with its mask for a pair, and what its record says."""
    wanted = ("jpg", "mask.png") if item.config == "pairs" else ("jpg",)
    try:
        members = {name: taken[name] for name in wanted}
        reported = json.loads(taken["json"])
        known = {"prompt": str(reported.get("prompt", "")), "seed": int(reported.get("seed", -1))}
    except (KeyError, ValueError, TypeError, AttributeError):
        raise DidgenError(
            f"{item.shard} of {job.recipe.run} does not hold the sample {item.taken} that its "
            "sidecar lists; run `didgen verify` to see what is wrong."
        ) from None
    return members, {**known, "licence": job.licence}


def _real_members(source: SourceManifest, record: SourceRecord, config: Config) -> dict[str, bytes]:
    """The image of a record, and its mask for a pair, as members of a shard."""
    path = source.image_path(record)
    data = read_file(path)
    if hashlib.sha256(data).hexdigest() != record.sha256:
        raise DidgenError(f"{path} has changed since it was imported; import it again.")
    image = decode(data, path)
    if image.format != "JPEG" or image.mode != "RGB" or not is_upright(image):
        data = encoded(upright(image).convert("RGB"), "JPEG", quality=JPEG_QUALITY, subsampling=0)
    members = {"jpg": data}
    if config == "pairs":
        mask = read_mask(source.mask_path(record))
        members["mask.png"] = encoded(Image.fromarray(mask).convert("L"), "PNG")
    return members
