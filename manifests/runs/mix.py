"""Mix: real and synthetic samples as one set of shards, synthetic ones in training only.

Notable choices:
- `ratio` is synthetic samples per real training sample: in each class of `images`, over all in
  `pairs`, rounded half up. Where fewer were made, all of them are taken, and the shortage is told.
- Which synthetic samples are taken follows from seed and key alone, so that the choice for a
  smaller ratio is part of that for a larger one.
- Synthetic images keep their bytes. Real ones leave without metadata: an upright sRGB JPEG with
  its compressed data, any other encoded as one.
- Where source and run lie decides nothing and is no part of a fingerprint.
"""

import hashlib
import math
import platform
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from didgen.manifests.choices import Config, Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import leftovers, sha256_of
from didgen.manifests.locks import claimed
from didgen.manifests.privacy.index import (
    nameless_ingredients,
    nameless_recipe,
    shareable_manifest,
)
from didgen.manifests.privacy.pseudonyms import (
    Naming,
    Pseudonyms,
    as_it_is,
    own_records,
)
from didgen.manifests.provenance.licence import data_ingredients
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
from didgen.manifests.runs.mixed import Dealt, Item, Mix, mixed_samples, treatments
from didgen.manifests.runs.tidy import tidy
from didgen.manifests.runs.training_samples import SyntheticSample, check_run, training_samples
from didgen.manifests.shards.index import Ingredient, Manifest
from didgen.manifests.shards.rows import shard_is_whole
from didgen.manifests.shards.shard import check_key, read_sidecar, shard_path, write_shard
from didgen.manifests.sources.records import SPLITS, SourceManifest, SourceRecord

NO_CONTENT = {"mask_sha256", "pixels", "published"}
"""Fields of a record that say of its files what their hashes say too; older records lack them."""

T = TypeVar("T")
Progress = Callable[[int, int], None]


def prepare_mix(recipe: MixRecipe, progress: Progress | None = None) -> Mix:
    """Check both parts of a mix and fix its plan; every shard is hashed, nothing is written.

    A run that is not whole, one that has a class the source lacks, a pair that was guided by a
    mask that is no training mask of the source, and with `drop_copies` a sample that the copy check
    has not scored, are each a `DidgenError`.
    """
    source = SourceManifest.read(recipe.source)
    run, sidecars = read_whole_run(recipe.run, progress)
    run = shareable_manifest(run, recipe.run)
    check_run(recipe.run, run, recipe.source, source, recipe.config)
    pseudonyms = Pseudonyms.of(recipe.source) if recipe.pseudonymise else None
    named = pseudonyms.name if pseudonyms else as_it_is
    plan: list[Dealt] = []
    shortages: dict[str, tuple[int, int]] = {}
    for config in (recipe.config,) if recipe.config else tuple(sidecars):
        real = list(_real(config, source, named))
        taken = training_samples(
            recipe.run,
            run,
            config,
            sidecars[config],
            recipe.source,
            source,
            drop_copies=recipe.drop_copies,
        )
        wanted = _wanted(recipe, config, real, tuple(sidecars))
        generated = list(_generated(config, taken, named))
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
    records = {named(record.key): record for record in source.records}
    used = {item.taken: records[item.taken] for item in items if item.origin == "real"}
    masked = {item.taken for item in items if item.origin == "real" and item.config == "pairs"}
    decided_by = {
        "recipe": recipe.model_dump(mode="json", exclude={"source", "run"}),
        "classes": source.header.classes,
        "plan": [asdict(item) for item in items],
        "records": [r.model_dump(mode="json", exclude=NO_CONTENT) for r in used.values()],
        "masks": _mask_hashes(source, {name: records[name] for name in sorted(masked)}),
        "run": [sidecar.sha256 for shards in sidecars.values() for sidecar in shards],
        # Shards of older versions hold images with their metadata.
        "images": "without metadata",
    }
    made_from, trained_on = _origins(recipe, source, run, list(used.values()))
    decided = fingerprint(decided_by)
    return Mix(
        recipe, source, records, run, plan, shortages, made_from, decided, trained_on, pseudonyms
    )


def _wanted(
    recipe: MixRecipe, config: Config, real: Iterable[Item], configs: Sequence[Config]
) -> dict[str, int]:
    """How many synthetic samples each group is to have; no real training sample is an error."""
    wanted = wanted_counts(
        Counter(_group(item) for item in real if item.split == "train"), recipe.ratio
    )
    if not wanted:
        others = [other for other in configs if other != config and not recipe.config]
        mend = f"give `--config {others[0]}`" if others else "import some, or mix another kind"
        raise DidgenError(
            f"{recipe.source} has no training sample for the {config} of a mix; {mend}."
        )
    return wanted


def _mask_hashes(source: SourceManifest, records: Mapping[str, SourceRecord]) -> dict[str, str]:
    """The hash of each record's mask; one that is not as it was imported is a `DidgenError`."""
    masks = {name: sha256_of(source.mask_path(record)) for name, record in records.items()}
    for name, sha256 in masks.items():
        if records[name].mask_sha256 not in (None, sha256):
            path = source.mask_path(records[name])
            raise DidgenError(f"{path} has changed since it was imported; import it again.")
    return masks


def _origins(
    recipe: MixRecipe, source: SourceManifest, run: Manifest, used: Sequence[SourceRecord]
) -> tuple[list[Ingredient], TrainedOn]:
    """What a mix is made from, and what its model saw; pseudonymised without people's own names."""
    unnamed = Ingredient(kind="data", name=f"run {run.fingerprint[:12]}", licence=None)
    made_from = [*data_ingredients(used), *(run.made_from or [unnamed])]
    trained_on = read_trained_on(recipe.run, run)
    if recipe.pseudonymise:
        own = own_records(source)
        made_from = nameless_ingredients(made_from, own)
        trained_on = trained_on.without_numbers({record.sha256 for record in own})
    return made_from, trained_on


def mix(job: Mix, out: Path, progress: Progress | None = None) -> Manifest:
    """Carry out a mix into the run directory `out`; goes on where a stopped one stopped.

    `progress` is called with (shards written, all that were missing). Raises DidgenError where
    `out` holds another run, or where a real image is no longer the one that was imported.
    """
    with claimed(out, "run"):
        return _carry_out(job, out, progress)


def _carry_out(job: Mix, out: Path, progress: Progress | None) -> Manifest:
    recipe = job.recipe.model_dump(mode="json")
    if job.pseudonyms is not None:
        job.pseudonyms.store()
        recipe = nameless_recipe(recipe, ())
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
            mixed_samples(job, dealt.items),
            fingerprint=job.fingerprint,
            versions=versions,
            split=dealt.split,
        )
        if progress:
            progress(done, len(todo))
    tars = (shard_path(out, one.config, one.index, one.split) for one in job.plan)
    sidecars = [read_sidecar(tar.with_suffix(".json")) for tar in tars]
    return finish_run(
        out,
        planned,
        decisions=job.summary() | treatments(sidecars),
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


def _real(config: Config, source: SourceManifest, named: Naming) -> Iterator[Item]:
    """The records that have what a config needs: a label for images, a mask for pairs."""
    wanted = {"labelled": True} if config == "images" else {"masked": True}
    for record in source.select(**wanted):  # type: ignore[arg-type]
        key, label = named(record.key), record.label or ""
        yield Item(config, f"real-{key}", label, record.split, "real", key, key)


def _generated(config: Config, samples: Iterable[SyntheticSample], named: Naming) -> Iterator[Item]:
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
            named(one.guide),
            one.shard,
            named(one.layout),
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
