"""Hours: how long each stage takes, as it was measured, or else as the study's recipe states."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Literal

from didgen.downstream.study.graph import Stage
from didgen.downstream.study.inputs import work
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json

FINISHED_NAME = "finished.json"
"""What a stage leaves that has ended: its name, its seconds, and how much work it was."""

MARGIN = 1.25
"""By which a stage may take longer than stated before its shifts do not suffice."""


@dataclass(frozen=True)
class Estimate:
    """The hours of a stage, and where they are from.

    basis: `done` are those that it took; `measured` those of a stage of its name by an older
    recipe, by the work of both; `stated` those of the study's recipe.
    """

    hours: float
    basis: Literal["done", "measured", "stated"]


def estimates(stages: Iterable[Stage], state: Path) -> dict[str, Estimate]:
    """The hours of every stage by name."""
    older = _measured(state)
    return {stage.name: _estimate(stage, older.get(stage.name, {})) for stage in stages}


def to_do(found: Mapping[str, Estimate]) -> float:
    """The hours that are left."""
    return sum(one.hours for one in found.values() if one.basis != "done")


def shifts_of(hours: float, minutes: int) -> int:
    """How many shifts of so many minutes a stage has, with a margin."""
    return max(1, ceil(MARGIN * hours * 60 / minutes))


def _estimate(stage: Stage, measured: Mapping[str, Mapping[str, Any]]) -> Estimate:
    if (own := measured.get(stage.digest)) is not None:
        return Estimate(own["seconds"] / 3600, "done")
    amount = None if stage.recipe is None else work(stage.recipe)
    for one in measured.values():
        if one["command"] == stage.command and amount and one["work"]:
            return Estimate(one["seconds"] / 3600 * amount / one["work"], "measured")
    return Estimate(stage.hours, "stated")


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
