"""Mix: real and synthetic samples as one set of shards, synthetic ones in training only.

Notable choices:
- `ratio` is synthetic samples per real training sample: in each class of `images`, over all in
  `pairs`, rounded half up. Where fewer were made, all of them are taken, and the shortage is told.
- Which synthetic samples are taken follows from seed and key alone, so that the choice for a
  smaller ratio is part of that for a larger one.
- Image bytes pass through; a real image that is no upright RGB JPEG is encoded as one.
"""

import hashlib
import json
import math
import platform
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeVar

from PIL import Image

from didgen.manifests.choices import Config, Split
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
from didgen.manifests.runs.tidy import tidy
from didgen.manifests.runs.training_samples import SyntheticSample, check_run, training_samples
from didgen.manifests.shards.index import Ingredient, Manifest
from didgen.manifests.shards.rows import shard_is_whole
from didgen.manifests.shards.shard import Sample, check_key, read_shard, write_shard
from didgen.manifests.sources.records import SPLITS, SourceManifest, SourceRecord

JPEG_QUALITY = 95

T = TypeVar("T")


@dataclass(frozen=True)
class Item:
    """One sample of a mix before it is written.

    `taken` is the key of the real record, or that of the synthetic sample in the tar `shard` of
    its run; `source_key` is the real record, or the one whose mask guided a synthetic pair.
    """

    config: Config
    key: str
    label: str
    split: Split
    origin: Literal["real", "synthetic"]
    taken: str
    source_key: str
    shard: str = ""
    layout: str = ""


@dataclass(frozen=True)
class Dealt:
    """The items of one shard, and its place."""

    config: Config
    split: Split
    index: int
    items: Sequence[Item]


@dataclass(frozen=True)
class Mix:
    """A mix made ready: its two parts and its plan, shard by shard."""

    recipe: MixRecipe
    source: SourceManifest
    records: Mapping[str, SourceRecord]
    run: Manifest
    plan: Sequence[Dealt]
    shortages: Mapping[str, tuple[int, int]]
    """By what there is too little of: how many were wanted, and how many there are."""
    made_from: Sequence[Ingredient]
    fingerprint: str
    trained_on: TrainedOn

    def summary(self) -> dict[str, str]:
        """What goes in, by config and split, and what there was too little of; in words."""
        shards = Counter((dealt.config, dealt.split) for dealt in self.plan)
        samples = Counter((i.config, i.split, i.origin) for dealt in self.plan for i in dealt.items)
        said = {
            f"{config}, {split}": f"{samples[config, split, 'real']} real and "
            f"{samples[config, split, 'synthetic']} synthetic samples in {count} shards"
            for (config, split), count in shards.items()
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
    records = {record.key: record for record in source.records}
    run, sidecars = read_whole_run(recipe.run, progress)
    check_run(recipe.run, run, recipe.source, source, recipe.config)
    plan: list[Dealt] = []
    shortages = {}
    for config in (recipe.config,) if recipe.config else tuple(sidecars):
        real = list(_real(config, source))
        wanted = wanted_counts(
            Counter(_group(item) for item in real if item.split == "train"), recipe.ratio
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
        generated = list(_generated(config, taken))
        keys: dict[str, list[str]] = defaultdict(list)
        for item in generated:
            keys[_group(item)].append(item.key)
        for group, count in wanted.items():
            if count > len(keys[group]):
                shortages[f"{config} {group}".rstrip()] = count, len(keys[group])
        chosen = choose(wanted, keys, recipe.seed)
        plan += _deal(recipe, config, real, [item for item in generated if item.key in chosen])
    items = [item for dealt in plan for item in dealt.items]
    for item in items:
        check_key(item.key)
    used = {item.taken: records[item.taken] for item in items if item.origin == "real"}
    masked = {item.taken for item in items if item.origin == "real" and item.config == "pairs"}
    masks = {key: sha256_of(source.mask_path(records[key])) for key in sorted(masked)}
    for key, sha256 in masks.items():
        if records[key].mask_sha256 not in (None, sha256):
            path = source.mask_path(records[key])
            raise DidgenError(f"{path} has changed since it was imported; import it again.")
    decided_by = {
        "recipe": recipe.model_dump(mode="json"),
        "classes": source.header.classes,
        "plan": [asdict(item) for item in items],
        # Masks count by their content, below.
        "records": [r.model_dump(mode="json", exclude={"mask_sha256"}) for r in used.values()],
        "masks": masks,
        "run": [sidecar.sha256 for shards in sidecars.values() for sidecar in shards],
    }
    unnamed = Ingredient(kind="data", name=f"run {run.fingerprint[:12]}", licence=None)
    made_from = [*data_ingredients(used.values()), *(run.made_from or [unnamed])]
    return Mix(
        recipe,
        source,
        records,
        run,
        plan,
        shortages,
        made_from,
        fingerprint(decided_by),
        read_trained_on(recipe.run, run),
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
    rows = [asdict(item) for dealt in job.plan for item in dealt.items]
    start_run(out, fingerprint=job.fingerprint, recipe=recipe, plan=rows, documents=DOCUMENTS)
    tidy(out, leftovers(out))
    planned: dict[Config, dict[Split, int]] = defaultdict(dict)
    for dealt in job.plan:
        planned[dealt.config][dealt.split] = dealt.index + 1
    todo = [
        dealt
        for dealt in job.plan
        if not shard_is_whole(
            out,
            dealt.config,
            dealt.index,
            fingerprint=job.fingerprint,
            keys=[item.key for item in dealt.items],
            split=dealt.split,
        )
    ]
    classes = list(job.source.header.classes)
    if not todo and finished(out, planned, classes):
        return mend_run(out, job.made_from, job.trained_on)
    versions = {package: version(package) for package in ("didgen", "pillow")}
    versions["python"] = platform.python_version()
    for done, dealt in enumerate(todo, 1):
        write_shard(
            out,
            dealt.config,
            dealt.index,
            _samples(job, dealt.items),
            fingerprint=job.fingerprint,
            versions=versions,
            split=dealt.split,
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


def wanted_counts(real: Mapping[str, int], ratio: float) -> dict[str, int]:
    """`ratio` times the real training samples of each group, rounded half up."""
    return {group: math.floor(ratio * count + 0.5) for group, count in real.items()}


def choose(
    wanted: Mapping[str, int], generated: Mapping[str, Sequence[str]], seed: int
) -> set[str]:
    """As many keys of each group as are wanted, or all there are; seeded, each as likely.

    The order of the keys does not matter, and fewer wanted give a part of what more give.
    """
    return {
        key
        for group, count in wanted.items()
        for key in sorted(generated.get(group, ()), key=lambda key: _drawn(seed, key))[:count]
    }


def interleave(one: Sequence[T], other: Sequence[T]) -> list[T]:
    """Both sequences as one, each in its own order and spread evenly."""
    placed = [
        ((number + 0.5) / len(part), item)
        for part in (one, other)
        for number, item in enumerate(part)
    ]
    return [item for _, item in sorted(placed, key=lambda pair: pair[0])]


def _real(config: Config, source: SourceManifest) -> Iterator[Item]:
    """The records that have what a config needs: a label for images, a mask for pairs."""
    wanted = {"labelled": True} if config == "images" else {"masked": True}
    for record in source.select(**wanted):  # type: ignore[arg-type]
        key, label = record.key, record.label or ""
        yield Item(config, f"real-{key}", label, record.split, "real", key, key)


def _generated(config: Config, samples: Iterable[SyntheticSample]) -> Iterator[Item]:
    """The synthetic samples of a config, in the order of the run."""
    for one in samples:
        name = f"synthetic-{one.key}"
        yield Item(
            config,
            name,
            one.label,
            "train",
            "synthetic",
            one.key,
            one.guide,
            one.shard,
            one.layout,
        )


def _group(item: Item) -> str:
    """Within what the ratio holds: a class of images, or all pairs."""
    return item.label if item.config == "images" else ""


def _drawn(seed: int, key: str) -> bytes:
    """A place in a seeded order that does not depend on what else is there."""
    return hashlib.sha256(f"{seed}/{key}".encode()).digest()


def _deal(
    recipe: MixRecipe, config: Config, real: Sequence[Item], generated: Sequence[Item]
) -> Iterator[Dealt]:
    """Deal a config to shards: the real ones in a seeded order, in training the others between.

    Synthetic samples keep the order of their run, so that it is read from front to back.
    """
    for split in SPLITS:
        items = sorted(
            (i for i in real if i.split == split), key=lambda i: _drawn(recipe.seed, i.key)
        )
        if split == "train":
            items = interleave(items, generated)
        for index, first in enumerate(range(0, len(items), recipe.shard_size)):
            yield Dealt(config, split, index, items[first : first + recipe.shard_size])


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
    return members, {**known, "licence": strictest(job.run.made_from).name}


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
