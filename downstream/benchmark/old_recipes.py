"""Recipes of any form: names of arms made records, and those of one run brought to today's form."""

from collections.abc import Mapping, Sequence
from typing import Any

from didgen.downstream.benchmark.arms.registry import USES

OLD_RUN = "didgen"
"""The name that the only run of an older recipe gets, since its arm was called so."""

FILTERED = "-filtered"
"""What follows the name of a run in that of its union with the filter."""


def of_today(
    values: Mapping[str, Any], default_arms: Sequence[str], filtered: bool
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The fields of a recipe with `runs` and arms as records, and what was changed in words.

    default_arms: uses that a recipe without `arms` has, besides each run, which is `filtered` too.
    """
    recipe, said = dict(values), []
    old = "run" in recipe
    if old:
        run = recipe.pop("run")
        if run is not None:
            recipe["runs"] = {OLD_RUN: run} | dict(recipe.get("runs") or {})
            said.append(f"`run: {run}` is now `runs: {{{OLD_RUN}: {run}}}`")
    runs = recipe.get("runs")
    names = list(runs) if isinstance(runs, Mapping) else []
    if recipe.get("arms") is None:
        recipe["arms"] = [name for name in default_arms if names or not USES[name].epochs]
        recipe["arms"] += [f"{run}{end}" for run in names for end in ("", FILTERED)[: 1 + filtered]]
    if isinstance(recipe["arms"], Sequence) and not isinstance(recipe["arms"], str):
        recipe["arms"] = [_record(arm, names) for arm in recipe["arms"]]
        if old:
            changed = [arm for arm in recipe["arms"] if _was(arm)]
            said += [
                f"the arm `{arm['name']}` is now "
                f"`{{name: {arm['name']}, run: {arm['run']}, use: {arm['use']}}}`"
                for arm in changed
            ]
    return recipe, tuple(said)


def _record(arm: Any, runs: Sequence[str]) -> Any:
    """An arm as a record: the name of a run is its union, that of a use the use."""
    if not isinstance(arm, str):
        return arm
    if arm in runs or arm == OLD_RUN:
        return {"name": arm, "run": arm, "use": "union"}
    run = arm.removesuffix(FILTERED)
    if run != arm and run in (*runs, OLD_RUN):
        return {"name": arm, "run": run, "use": "filter"}
    # Whose training images a network may share is plain where there is one run alone.
    one = arm in USES and USES[arm].of_run and len(runs) == 1
    return {"name": arm, "use": arm, "run": runs[0] if one else None}


def _was(arm: Any) -> bool:
    return isinstance(arm, Mapping) and arm.get("run") == OLD_RUN
