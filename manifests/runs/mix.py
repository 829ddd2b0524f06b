"""Mix: real and synthetic samples as one set of shards, synthetic ones in training only.

Notable choices:
- Synthetic images keep their bytes. Real ones leave without metadata: an upright sRGB JPEG with
  its compressed data, any other encoded as one.
- Where source and run lie decides nothing and is no part of a fingerprint.
"""

import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import leftovers
from didgen.manifests.locks import claimed
from didgen.manifests.privacy.index import (
    nameless_ingredients,
    nameless_recipe,
    shareable_manifest,
)
from didgen.manifests.privacy.pseudonyms import Pseudonyms, as_it_is, own_records
from didgen.manifests.progress import Progress
from didgen.manifests.provenance.licence import data_ingredients
from didgen.manifests.recipes.fingerprint import fingerprint
from didgen.manifests.recipes.mix import MixRecipe, recorded
from didgen.manifests.reviews.consensus import Consensus, SampleId, reviewed
from didgen.manifests.runs.claim import is_started, start_run
from didgen.manifests.runs.finish import (
    DOCUMENTS,
    Provenance,
    finish_run,
    finished,
    is_documented,
    mend_run,
    planned_tars,
    read_trained_on,
    read_whole_run,
)
from didgen.manifests.runs.mix_plan import (
    Item,
    MixPlan,
    add_config,
    in_order,
    real_items,
    synthetic_items,
    wanted_counts,
)
from didgen.manifests.runs.mixed import Mix, mixed_samples, treatments
from didgen.manifests.runs.order import keep_order
from didgen.manifests.runs.tidy import tidy
from didgen.manifests.runs.training_samples import (
    accepted_samples,
    check_run,
    training_samples,
)
from didgen.manifests.shards.index import Ingredient, Manifest
from didgen.manifests.shards.rows import shard_is_whole
from didgen.manifests.shards.shard import Stamp, read_sidecar, write_shard
from didgen.manifests.sources.records import SourceManifest, SourceRecord

NO_CONTENT = {
    *("mask_sha256", "pixels", "published"),
    *("mask_orientation", "mask_inverted", "mask_by", "patient_id"),
}
"""Fields of a record that say of its files what their hashes say too, and the patient, who is in a
mix's fingerprint where known; older records lack them."""


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
    reviews = reviewed(recipe.run, run) if recipe.reviewed else None
    plan = MixPlan()
    shortages: dict[str, tuple[int, int]] = {}
    everything: list[Item] = []
    for config in (recipe.config,) if recipe.config else tuple(sidecars):
        real = real_items(config, source, named)
        everything += real
        wanted = _wanted(recipe, config, real, tuple(sidecars))
        taken = training_samples(
            recipe.run,
            run,
            config,
            sidecars[config],
            source,
            drop_copies=recipe.drop_copies,
        )
        chosen = taken if reviews is None else accepted_samples(taken, config, reviews)
        generated = synthetic_items(config, chosen, named)
        there = add_config(plan, recipe, config, real, wanted, generated)
        for group, count in wanted.items():
            if count > there[group]:
                shortages[f"{config} {group}".rstrip()] = count, there[group]
    records = {named(record.key): record for record in source.records}
    used = _used(recipe, plan, everything, records)
    masked = {item.taken: records[item.taken] for item in everything if item.config == "pairs"}
    patients = {r.key: r.patient_id for r in source.records if r.patient_id}
    decided = fingerprint(
        {
            "recipe": recorded(recipe, {"source", "run"}),
            "classes": source.header.classes,
            "plan": plan.rows(),
            "records": [r.model_dump(mode="json", exclude=NO_CONTENT) for r in used],
            "masks": _mask_hashes(source, masked),
            "run": [entry.sha256 for shards in run.configs.values() for entry in shards],
            # Shards of older versions hold images with their metadata.
            "images": "without metadata",
        }
        | _outlines(reviews or {})
        | ({"patients": patients} if patients else {})
    )
    provenance = _provenance(recipe, source, run, used)
    mix = Mix(recipe, source, records, run, plan, shortages, decided, provenance)
    return replace(mix, pseudonyms=pseudonyms, reviews=reviews)


def _outlines(reviews: Mapping[SampleId, Consensus]) -> dict[str, Any]:
    """What of the reviews decides a mix and stands in no plan: the outlines that were redrawn."""
    drawn = {f"{config}/{key}": one.curves for (config, key), one in reviews.items() if one.curves}
    return {"outlines": drawn} if drawn else {}


def _wanted(
    recipe: MixRecipe, config: Config, real: Iterable[Item], configs: Sequence[Config]
) -> dict[str, int]:
    """How many synthetic samples each group is to have; no real training sample is an error."""
    wanted = wanted_counts(
        Counter(item.group for item in real if item.split == "train"), recipe.ratio
    )
    if not wanted:
        others = [other for other in configs if other != config and not recipe.config]
        mend = f"give `--config {others[0]}`" if others else "import some, or mix another kind"
        raise DidgenError(
            f"{recipe.source} has no training sample for the {config} of a mix; {mend}."
        )
    return wanted


def _used(
    recipe: MixRecipe, plan: MixPlan, real: Sequence[Item], records: Mapping[str, SourceRecord]
) -> list[SourceRecord]:
    """The records that go in, each once, in the order of the plan."""
    used = {
        item.taken: records[item.taken]
        for config, split in plan.shards
        for item in in_order((i for i in real if i.config == config), split, recipe.seed)
    }
    return list(used.values())


def _mask_hashes(source: SourceManifest, records: Mapping[str, SourceRecord]) -> dict[str, str]:
    """The hash of each record's mask; one that is not as it was imported is a `DidgenError`."""
    masks = {name: source.mask_digest(record) for name, record in records.items()}
    for name, digest in masks.items():
        if records[name].mask_sha256 not in (None, digest[:64]):
            path = source.mask_path(records[name])
            mend = "run `didgen annotate`" if records[name].mask_by else "import it"
            raise DidgenError(f"{path} has changed since it was imported; {mend} again.")
    return masks


def _provenance(
    recipe: MixRecipe, source: SourceManifest, run: Manifest, used: Sequence[SourceRecord]
) -> Provenance:
    """What a mix is made from, and what its model saw; pseudonymised without people's own names."""
    unnamed = Ingredient(kind="data", name=f"run {run.fingerprint[:12]}", licence=None)
    made_from = [*data_ingredients(used), *(run.made_from or [unnamed])]
    trained_on = read_trained_on(recipe.run, run)
    if recipe.pseudonymise:
        own = own_records(source)
        made_from = nameless_ingredients(made_from, own)
        trained_on = trained_on.without_numbers({record.sha256 for record in own})
    return Provenance(made_from, trained_on)


def mix(job: Mix, out: Path, progress: Progress | None = None) -> Manifest:
    """Carry out a mix into the run directory `out`; goes on where a stopped one stopped.

    `progress` is called with (shards written, all that were missing). Raises DidgenError where
    `out` holds another run, or where a real image is no longer the one that was imported.
    """
    whole = _whole(job, out)
    if whole and is_documented(out, whole, job.provenance) and not leftovers(out):
        return whole
    with claimed(out, "run"):
        return _carry_out(job, out, progress)


def _whole(job: Mix, out: Path) -> Manifest | None:
    """The manifest of a mix that is there as it was planned, its shards byte for byte; or None."""
    if not is_started(out, job.fingerprint):
        return None
    whole = finished(out, job.plan.counts(), list(job.source.header.classes))
    return None if whole is None or _missing(job, out) else whole


def _missing(job: Mix, out: Path) -> list[int]:
    """The places in the plan of the shards that are not there whole."""
    return [
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


def _carry_out(job: Mix, out: Path, progress: Progress | None) -> Manifest:
    recipe, order = recorded(job.recipe), job.recipe.model_dump(mode="json")
    if job.pseudonyms is not None:
        job.pseudonyms.store()
        recipe, order = (nameless_recipe(fields, ()) for fields in (recipe, order))
    start_run(
        out,
        fingerprint=job.fingerprint,
        recipe=recipe,
        plan=job.plan.rows(),
        documents=DOCUMENTS,
    )
    keep_order(out, "mix", order)
    tidy(out, leftovers(out))
    planned = job.plan.counts()
    todo = _missing(job, out)
    classes = list(job.source.header.classes)
    if not todo and finished(out, planned, classes):
        return mend_run(out, job.provenance)
    versions = {package: version(package) for package in ("didgen", "pillow")}
    versions["python"] = platform.python_version()
    for done, shard in enumerate(map(job.plan.__getitem__, todo), 1):
        write_shard(
            out,
            shard.config,
            shard.index,
            mixed_samples(job, shard.items),
            Stamp(job.fingerprint, versions),
            split=shard.split,
        )
        if progress:
            progress(done, len(todo))
    tars = (tar for config, counts in planned.items() for tar in planned_tars(out, config, counts))
    treated = treatments(read_sidecar(tar.with_suffix(".json")) for tar in tars)
    return finish_run(
        out,
        planned,
        decisions=job.summary() | treated,
        versions=versions,
        classes=classes,
        provenance=job.provenance,
    )
