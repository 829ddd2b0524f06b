"""The run: a recipe's plan carried out shard by shard, sampled, annotated and written.

Notable choices:
- A shard is the unit of work: it is whole or it is not there, and a second run makes only what is
  missing.
- A sample that cannot be used is a row with its reason, never a gap.
"""

from functools import partial
from pathlib import Path

from didgen.augment.console import decisions
from didgen.augment.device import Device
from didgen.augment.generation.gates import otsu_failures
from didgen.augment.generation.part import Part
from didgen.augment.generation.prepare import GenerationJob, check_begun, check_source
from didgen.augment.generation.ray_engine import make_on_cluster
from didgen.augment.generation.run_sheets import write_sheets
from didgen.augment.generation.worker import Worker, is_whole, versions
from didgen.manifests.choices import Config, Engine
from didgen.manifests.locks import claimed
from didgen.manifests.progress import progress_bar
from didgen.manifests.provenance.models import ingredients, unlisted
from didgen.manifests.recipes.augment import asked
from didgen.manifests.runs.claim import claim_of, is_started, start_run
from didgen.manifests.runs.finish import (
    DOCUMENTS,
    Provenance,
    finish_run,
    finished,
    is_documented,
    mend_run,
    missing_shards,
)
from didgen.manifests.runs.order import keep_order
from didgen.manifests.runs.tidy import strays, tidy
from didgen.manifests.shards.index import Manifest
from didgen.manifests.shards.shard import read_sidecars


def augment(
    job: GenerationJob,
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
    check_begun(out)
    check_source(job, out)
    if not is_started(out, job.fingerprint):
        if claim_of(out) is None:
            # A model whose weights cannot be read leaves no folder behind.
            job.generator.to(Device("cpu", "no", "it is only read"))
        with claimed(out, "run"):
            start_run(
                out,
                fingerprint=job.fingerprint,
                recipe=asked(job.recipe),
                planned=job.samples,
                documents=DOCUMENTS,
            )
    keep_order(out, "augment", job.recipe.model_dump(mode="json"), engine=engine)
    everything = [(config, index) for config, count in job.shards.items() for index in range(count)]
    ours = [shard for place, shard in enumerate(everything) if part.has(place)]
    if todo := [shard for shard in ours if not is_whole(job, out, *shard)]:
        if engine == "ray":
            decisions(unlisted(job.recipe.model, job.trained_on))
            make_on_cluster(job, out, todo)
        else:
            _make(job, out, todo)
    return None if missing_shards(out, job.shards) else _finish(job, out)


def _make(job: GenerationJob, out: Path, todo: list[tuple[Config, int]]) -> None:
    """Make shards; those that another process has in hand come last, and are made if it dies."""
    worker = Worker(job, out)
    decisions(_decisions(job, str(worker.device)))
    with progress_bar() as progress:
        tasks = {config: progress.add_task(config, total=0, state="") for config, _ in todo}
        for config, index in todo:
            task, size = tasks[config], len(job.plan[config].places(index))
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
                progress.update(
                    task, completed=before + len(job.plan[config].places(index)), state=""
                )
            todo = held


def _finish(job: GenerationJob, out: Path) -> Manifest:
    """Write the index of a run whose shards are all there, unless it is there, and tidy up."""
    source = job.layouts.manifest
    made_from = ingredients(job.recipe, source.select(split="train") if source else ())
    provenance = Provenance(made_from, job.trained_on)
    manifest = finished(out, job.shards, job.classes)
    documented = manifest and is_documented(out, manifest, provenance)
    if manifest and documented and not strays(out, job.shards):
        return manifest
    with claimed(out, "run"):
        tidy(out, strays(out, job.shards))
        # Another process may have been faster.
        if finished(out, job.shards, job.classes):
            return mend_run(out, provenance)
        write_sheets(job, out)
        # What made the samples is known to their shards: it need not be this process.
        stack = _stacks(job, out)
        rows = (row for c in job.plan for side in read_sidecars(out, c) for row in side.rows)
        device = stack.pop("device")
        return finish_run(
            out,
            job.shards,
            decisions=_decisions(job, device) | otsu_failures(rows),
            versions=stack,
            classes=list(job.classes),
            provenance=provenance,
        )


def _stacks(job: GenerationJob, out: Path) -> dict[str, str]:
    """The versions and devices that the shards record, by name, each value once."""
    found: dict[str, set[str]] = {name: set() for name in (*versions(), "device")}
    for config in job.plan:
        for sidecar in read_sidecars(out, config):
            for name, values in found.items():
                values.add(sidecar.versions.get(name, "unknown"))
    return {name: "; ".join(sorted(values)) for name, values in found.items()}


def _decisions(job: GenerationJob, device: str) -> dict[str, str]:
    """A run's own choices, each with its reason."""
    planned = job.images if job.pairs is None else job.pairs
    told = unlisted(job.recipe.model, job.trained_on)
    if planned is not None:
        told |= planned.prompts.decision()
    return told | {
        "device": device,
        **job.decided,
        "plan": ", ".join(
            f"{job.samples[config]} {config} in {count} shards"
            for config, count in job.shards.items()
        ),
    }
