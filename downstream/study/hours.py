"""Hours: how long each stage takes, as it was measured, or else as the study's recipe states.

A benchmark is mostly trainings. Each leaves its seconds, so that the first few of a network, in any
stage, say what all of its others will take.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Final, Literal

from didgen.downstream.benchmark.training_result import RESULT_NAME
from didgen.downstream.study.graph import Stage
from didgen.downstream.study.inputs import network_key, trainings, work
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json

FINISHED_NAME = "finished.json"
"""What a stage leaves that has ended: its name, its seconds, and how much work it was."""

MEASURED: Final = "measured"

MARGIN = 1.25
"""By which a stage may take longer than stated before its shifts do not suffice."""


@dataclass(frozen=True)
class Estimate:
    """The hours of a stage, and where they are from.

    basis: `done` are those that it took; `measured` those of a stage of its name by an older
    recipe, by the work of both, or of trainings of its networks, by their steps; `stated` those of
    the study's recipe.
    """

    hours: float
    basis: Literal["done", "measured", "stated"]


def estimates(stages: Iterable[Stage], state: Path) -> dict[str, Estimate]:
    """The hours of every stage by name."""
    older, paces = _measured(state), paces_of(state)
    return {stage.name: _estimate(stage, older.get(stage.name, {}), paces) for stage in stages}


def to_do(found: Mapping[str, Estimate]) -> float:
    """The hours that are left."""
    return sum(one.hours for one in found.values() if one.basis != "done")


def shifts_of(hours: float, minutes: int) -> int:
    """How many shifts of so many minutes a stage has, with a margin."""
    return max(1, ceil(MARGIN * hours * 60 / minutes))


def _estimate(
    stage: Stage, measured: Mapping[str, Mapping[str, Any]], paces: Mapping[str, float]
) -> Estimate:
    if (own := measured.get(stage.digest)) is not None:
        return Estimate(own["seconds"] / 3600, "done")
    if (seconds := seconds_by(paces, stage)) is not None:
        return Estimate(seconds / 3600, MEASURED)
    amount = None if stage.recipe is None else work(stage.recipe)
    for one in measured.values():
        if one["command"] == stage.command and amount and one["work"]:
            return Estimate(one["seconds"] / 3600 * amount / one["work"], MEASURED)
    return Estimate(stage.hours, "stated")


def seconds_by(paces: Mapping[str, float], stage: Stage) -> float | None:
    """The seconds of a benchmark's trainings; None where some network's pace is not known."""
    recipe: Any = stage.recipe
    if stage.command not in ("classify", "segment") or recipe is None or recipe.max_steps is None:
        return None
    steps = trainings(recipe)
    return sum(n * paces[key] for key, n in steps.items()) if steps.keys() <= paces.keys() else None


def paces_of(state: Path) -> dict[str, float]:
    """Seconds a step by the key of the network, over all trainings that stages have left."""
    steps: dict[str, int] = {}
    seconds: dict[str, float] = {}
    for path in sorted((state / "stages").glob(f"*/out/runs/**/{RESULT_NAME}")):
        try:
            one = read_json(path)
            key = network_key(one["asked"]["network"], one["asked"]["recipe"])
            steps[key] = steps.get(key, 0) + one["training"]["steps"]
            seconds[key] = seconds.get(key, 0) + one["training"]["seconds"]
        except (DidgenError, KeyError, TypeError):
            continue
    return {key: seconds[key] / count for key, count in steps.items() if count}


def _measured(state: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """What finished stages say, by name and then by digest; what cannot be read says nothing."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for path in sorted((state / "stages").glob(f"*/{FINISHED_NAME}")):
        try:
            one = read_json(path)
            found.setdefault(one["name"], {})[one["digest"]] = one
        except (DidgenError, KeyError, TypeError):
            continue
    return found
