"""The chosen uses: those that an earlier benchmark chose by validation, which this one tests."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from didgen.downstream.benchmark.arms.record import Arm
from didgen.downstream.benchmark.job import BenchmarkJob
from didgen.downstream.benchmark.recipe import BenchmarkRecipe
from didgen.downstream.pages.document import BENCHMARK_NAME
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json

R = TypeVar("R", bound=BenchmarkRecipe)


def with_chosen(recipe: R) -> R:
    """A recipe without the uses that the benchmark `chosen` did not choose; itself without one.

    Only a choice among the very same uses counts: any other is a `DidgenError`.
    """
    if recipe.chosen is None:
        return recipe
    path, found = _record(recipe.chosen)
    choices = found.get("choices")
    if found.get("kind") != recipe.kind or not choices:
        raise DidgenError(f"{path} chose no use for `{recipe.kind}`; name another `chosen`.")
    try:
        there = [Arm.model_validate(arm) for arm in found["recipe"]["arms"]]
        taken = {one["name"] for every in choices.values() for one in every if one["chosen"]}
    except (AttributeError, KeyError, TypeError, ValidationError):
        raise DidgenError(f"{path} is not as didgen wrote it; run its benchmark again.") from None
    uses = [arm for arm in recipe.arms if arm.role == "use"]
    for run in recipe.runs:
        of_run = [arm for arm in uses if arm.run == run]
        searched = [arm for arm in there if arm.role == "use" and arm.run == run]
        by_name = [sorted(arms, key=lambda arm: arm.name) for arms in (of_run, searched)]
        if by_name[0] != by_name[1] or sum(arm.name in taken for arm in of_run) != 1:
            raise DidgenError(
                f"{path} did not choose among the uses of {run} that this recipe has; give both "
                "the same `arms`."
            )
    arms = tuple(arm for arm in recipe.arms if arm.role != "use" or arm.name in taken)
    return recipe.model_copy(update={"arms": arms})


def check_chosen(job: BenchmarkJob[Any]) -> None:
    """Raise a `DidgenError` where the choice was made on other images or runs than this job's.

    Images that the search validated on could else be test images here.
    """
    if job.recipe.chosen is None:
        return
    path, found = _record(job.recipe.chosen)
    data = found.get("data")
    theirs = dict(data) if isinstance(data, dict) else {}
    same = theirs.pop("real", None) == job.data["real"]
    if not same or {*theirs.values()} != {run.sha256 for run in job.runs.values()}:
        raise DidgenError(
            f"{path} chose by other {'runs' if same else 'images or splits'} than this recipe has; "
            "give both the same `source` and `runs`, or run the search again."
        )


def _record(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The record of the benchmark in a folder, and its path."""
    path = folder / BENCHMARK_NAME
    if not path.is_file():
        raise DidgenError(
            f"`chosen` names {folder}, which is no finished benchmark; run the search to its end, "
            "or name another."
        )
    found = read_json(path)
    return path, found if isinstance(found, dict) else {}
