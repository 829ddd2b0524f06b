"""Summaries: what the trainings of a benchmark say together, as `benchmark.json` holds it.

- Each arm has its figures on validation images, and on test images if it was tested.
- The chosen use of the first run is compared with each control; Holm's correction runs over all of
  these comparisons, over networks and scales too. Those on another source are a family of their
  own. Nothing else has a verdict, but for one question: whether it beats every rival, which are the
  cheap ones and the chosen uses of the other runs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from didgen.downstream.benchmark.carry_out import Findings, groups_of
from didgen.downstream.benchmark.job import Training, scope_of
from didgen.downstream.benchmark.task import E, Task, primary_scores
from didgen.downstream.pages.document import BENCHMARK_NAME, Block, markdown
from didgen.downstream.stats.comparison import Comparison, Contrast, compare, holm, summarise
from didgen.downstream.stats.families import against_all
from didgen.downstream.stats.paired import unit_means
from didgen.manifests.files import write_bytes, write_json
from didgen.manifests.locks import sole_writer

PAGE_NAME = "benchmark.md"

FORMAT = 2
"""Of `benchmark.json`. Records without a format are of benchmarks whose uses were still compared on
the test images: their figures have seen these."""


def outcome(task: Task[Any, E], findings: Findings[E]) -> dict[str, Any]:
    """All that a benchmark says of its arms, its choice and its comparisons."""
    job = task.job
    groups = [
        group for arm in job.recipe.arms for group in groups_of(job, arm.name, findings.results)
    ]
    order = {training: place for place, training in enumerate(job.trainings)}
    groups.sort(key=lambda group: order[group[0]])
    comparisons = compared(task, findings)
    rivals = [one for one in comparisons if _is_rival(task, findings, one)]
    return {
        **head(task, findings),
        "choices": {run: [vars(one) for one in every] for run, every in findings.choices.items()},
        "arms": [_arm(task, findings, group) for group in groups],
        "comparisons": [one.to_dict() for one in comparisons],
        "against_all": _against_all(rivals),
    }


def head(task: Task[Any, E], findings: Findings[E]) -> dict[str, Any]:
    """What every benchmark says of its recipe, data, networks and machine."""
    job, results = task.job, findings.results
    every = {**findings.judged, **results}
    return {
        "kind": job.recipe.kind,
        "format": FORMAT,
        "score": task.primary.name,
        "unit": job.unit,
        "recipe": job.recipe.model_dump(mode="json"),
        "cautions": job.recipe.cautions,
        "data": dict(job.data) | {str(folder): run.sha256 for folder, run in job.runs.items()},
        "units": {name: len(set(part.units)) for name, part in job.parts.items()},
        "near_duplicates": list(job.dropped),
        "networks": [
            {
                "called": network.called,
                "weights": job.starts[network.called].weights.said,
                "parameters": job.starts[network.called].parameters,
            }
            for network in job.recipe.networks
        ],
        "devices": sorted({result.device for result in every.values()}),
        "seconds": sum(result.training["seconds"] for result in every.values()),
    }


def _arm(task: Task[Any, E], findings: Findings[E], mine: Sequence[Training]) -> dict[str, Any]:
    """What an arm of a network at a scale took, and its figures over the seeds."""
    job, first = task.job, mine[0]
    arm, scope = job.recipe.arm(first.arm), scope_of(job, mine)
    taken = [findings.results[t].training for t in mine]
    row = {
        "network": first.network.called,
        "arm": arm.name,
        "role": arm.role,
        "use": arm.use,
        "run": arm.run,
        "real": first.real,
        "scope": scope.name,
        "scope_because": scope.because,
        "chosen": arm.name in findings.chosen.values(),
        "seeds": [t.seed for t in mine],
        "steps": first.steps,
        "best_steps": [one["best_step"] for one in taken],
        "stopped_at": [one["steps"] for one in taken],
        "images_seen": float(np.mean([one["images_seen"] for one in taken])),
        "seconds": float(np.mean([one["seconds"] for one in taken])),
        "peak_memory": max(one["peak_memory"] for one in taken),
        "validation": _part(task, findings, mine, "val"),
        "figures": None,
        "outside": None,
    }
    if first in findings.tested:
        row |= _part(task, findings, mine, "test")
        row |= task.details([findings.tested[t].figures["test"] for t in mine])
        if "outside" in findings.predictions:
            row["outside"] = _part(task, findings, mine, "outside")
    return row


def _part(
    task: Task[Any, E], findings: Findings[E], mine: Sequence[Training], part: str
) -> dict[str, Any]:
    """The figures of an arm on one part of the images, and the interval of the deciding score."""
    reported = [
        findings.results[t].figures if part == "val" else findings.tested[t].figures[part]
        for t in mine
    ]
    predicted = [findings.predictions[part][t] for t in mine]
    scores = primary_scores(task, predicted).mean(0)
    by_unit = unit_means(scores, predicted[0].units)
    figures = {}
    for name, figure in task.told.items():
        values = [value for value in map(figure, reported) if value is not None]
        figures[name] = vars(summarise(values)) if values else None
    interval = task.interval(scores, predicted[0])
    return {"figures": figures, "score": float(by_unit.mean()), "interval": interval}


def compared(task: Task[Any, E], findings: Findings[E]) -> list[Comparison]:
    """The chosen use of the first run against every other arm that was tested.

    Those with a control, by the deciding score, are a family for each part and come first.
    """
    if not findings.chosen:
        return []
    job, treatment = task.job, next(iter(findings.chosen.values()))
    tested = {t.arm for t in findings.tested}
    others = [arm for arm in job.recipe.arms if arm.name in tested and arm.name != treatment]
    others.sort(key=lambda arm: ("control", "rival", "use").index(arm.role))
    judged: list[Comparison] = []
    more: list[Comparison] = []
    for part in _parts(findings):
        family: list[Comparison] = []
        for score in task.scores:
            for arm in others:
                of = _against(task, findings, (arm.name, treatment), score.name, part)
                decides = arm.role == "control" and score == task.primary
                (family if decides else more).extend(replace(one, judged=decides) for one in of)
        judged += holm(family)
    return [*judged, *more]


def _parts(findings: Findings[Any]) -> list[str]:
    """The parts of the images that arms were tested on."""
    return [part for part in ("test", "outside") if part in findings.predictions]


def _against(
    task: Task[Any, E], findings: Findings[E], arms: tuple[str, str], score: str, part: str
) -> Iterable[Comparison]:
    """One arm against another on every network and scale, by one score on one part."""
    job, predictions = task.job, findings.predictions[part]
    higher = next(one.higher_is_better for one in task.scores if one.name == score)
    for control, treatment in zip(*(groups_of(job, arm, predictions) for arm in arms), strict=True):
        before, after = (
            np.stack([task.by_image(predictions[t])[score] for t in group])
            for group in (control, treatment)
        )
        model = job.model_name(control[0].network, control[0].real)
        contrast = Contrast(model, score, *arms, higher)
        compared = compare(contrast, before, after, predictions[control[0]].units)
        yield replace(compared, part=part, unit=job.unit)


def _is_rival(task: Task[Any, E], findings: Findings[E], one: Comparison) -> bool:
    """Whether a comparison is one of those by which the chosen use may beat every rival."""
    role = task.job.recipe.arm(one.control).role
    return role != "control" and one.score == task.primary.name


def _against_all(rivals: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Whether the chosen use beats every rival: on each network and scale, and on all of them."""
    found = []
    for part in dict.fromkeys(one.part for one in rivals):
        mine = [one for one in rivals if one.part == part]
        models = list(dict.fromkeys(one.model for one in mine))
        groups = {model: [one for one in mine if one.model == model] for model in models}
        if len(models) > 1:
            groups = {"every network and scale": mine} | groups
        where = "" if part == "test" else f" ({part})"
        found += [against_all(of, f"{model}{where}").to_dict() for model, of in groups.items()]
    return found


def known_mean(values: Sequence[float | None]) -> float | None:
    """The mean of the values that are known, None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def write_benchmark(out: Path, benchmark: Mapping[str, Any], page: Iterable[Block]) -> None:
    """Write all that a benchmark says, and its page."""
    with sole_writer(out, "figures", out / BENCHMARK_NAME, out / PAGE_NAME):
        write_json(out / BENCHMARK_NAME, benchmark)
        write_bytes(out / PAGE_NAME, markdown(page).encode())
