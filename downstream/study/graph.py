"""The graph of a study: every stage, what it needs, and the digest that its folder is named by."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from didgen.downstream.study.inputs import decided_by, missing
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.augment import AugmentRecipe
from didgen.manifests.recipes.fields import Section
from didgen.manifests.recipes.fingerprint import fingerprint
from didgen.manifests.recipes.reading import (
    TRAINING,
    read_recipe,
    read_training_recipe,
    validated,
)
from didgen.manifests.recipes.study import Step, StudyRecipe, System, references, resolved

Command = Literal["finetune", "augment", "classify", "segment", "quality"]

DIGITS = 12
"""Of a digest in the name of a folder."""


@dataclass(frozen=True)
class Asked:
    """A stage as its recipe has it: a command, the step, and what counts for its recipe's."""

    command: Command
    step: Step
    instead: Mapping[str, Any]


@dataclass(frozen=True)
class Stage:
    """One stage of a study; `folder` is where it is carried out.

    recipe: None where it could not be read; needs: the names of the stages before it. faults: why
    it cannot be carried out, a sentence each.
    """

    name: str
    command: Command
    recipe: Section | None
    needs: tuple[str, ...]
    digest: str
    hours: float
    folder: Path
    faults: tuple[str, ...] = ()

    @property
    def out(self) -> Path:
        """The folder that its command writes."""
        return self.folder / "out"

    @property
    def product(self) -> Path:
        """What other stages take: the model of a training, else the whole folder."""
        return self.out / "model" if self.command == "finetune" else self.out


def stages_of(recipe: StudyRecipe, state: Path) -> dict[str, Stage]:
    """Every stage of a study by name, each after those that it needs.

    A reference to no stage, and stages that need each other, are a `DidgenError`. What a stage
    lacks, a recipe or a file, is among its faults.
    """
    asked = {name: _without_aliases(one, recipe) for name, one in _asked(recipe)}
    needs = {name: tuple(dict.fromkeys(references(one.instead))) for name, one in asked.items()}
    for name, wanted in needs.items():
        for other in wanted:
            if other not in asked:
                raise DidgenError(_unknown(name, other, [*asked]))
    stages: dict[str, Stage] = {}
    for name in _in_order(needs):
        stages[name] = _stage(name, asked[name], [stages[other] for other in needs[name]], state)
    return stages


def _asked(recipe: StudyRecipe) -> Iterator[tuple[str, Asked]]:
    source = {"source": recipe.source}
    for name, system in recipe.systems.items():
        yield from _of_system(name, system, source)
    benchmarks: tuple[tuple[Command, Mapping[str, Step]], ...] = (
        ("classify", recipe.classify),
        ("segment", recipe.segment),
    )
    for command, steps in benchmarks:
        for name, step in steps.items():
            yield name, Asked(command, step, source | step.instead)
    for name, step in recipe.quality.items():
        yield name, Asked("quality", step, {"real": recipe.source} | step.instead)


def _of_system(name: str, system: System, source: Mapping[str, Any]) -> Iterator[tuple[str, Asked]]:
    if system.train is not None:
        yield f"{name}.model", Asked("finetune", system.train, {**source, **system.train.instead})
    model = f"${name}.model" if system.train else system.model
    given = {**source, **({"model": model} if model else {})}
    for kind, other in (("images", "pairs"), ("pairs", "images")):
        step: Step | None = getattr(system, kind)
        if step is not None:
            # A stage makes one kind, whatever its recipe makes besides.
            yield f"{name}.{kind}", Asked("augment", step, {**given, other: None, **step.instead})


def _without_aliases(asked: Asked, recipe: StudyRecipe) -> Asked:
    """A stage with the model of a system that has one in place of the reference to it."""
    aliases = {f"{name}.model": one.model for name, one in recipe.systems.items() if one.model}
    instead: Any = dict(asked.instead)
    for _ in aliases:
        instead = resolved(instead, aliases)
    return Asked(asked.command, asked.step, instead)


def _unknown(name: str, other: str, known: list[str]) -> str:
    near = difflib.get_close_matches(other, known, n=1, cutoff=0)
    return f"{name} needs `${other}`, which is no stage of the study; the nearest is `${near[0]}`."


def _in_order(needs: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The stages in the order of the recipe, but for those that others need first."""
    left, ordered = dict(needs), list[str]()
    while left:
        ready = next((n for n, wanted in left.items() if left.keys().isdisjoint(wanted)), None)
        if ready is None:
            raise DidgenError(f"The stages {', '.join(left)} need each other; break the circle.")
        ordered.append(ready)
        del left[ready]
    return ordered


def faults_of(stages: Mapping[str, Stage]) -> dict[str, list[str]]:
    """Why stages cannot be carried out, each sentence with the stages that it is said of."""
    found: dict[str, list[str]] = {}
    for name, stage in stages.items():
        for fault in stage.faults:
            found.setdefault(fault, []).append(name)
    return found


def _stage(name: str, asked: Asked, needs: list[Stage], state: Path) -> Stage:
    """A stage whose references are resolved; what it lacks is among its faults."""
    places = {one.name: str(one.product) for one in needs}
    digests = {str(one.product): one.digest for one in needs}
    recipe: Section | None = None
    try:
        recipe = read_step(name, asked, resolved(asked.instead, places))
        decided = decided_by(recipe, digests)
        faults = [f"{place} is not there." for place in missing(recipe, digests)]
    except DidgenError as error:
        faults = [str(error)]
        decided = [asked.step.recipe, *digests.values()]
    digest = fingerprint({"command": asked.command, "recipe": decided})
    return Stage(
        name=name,
        command=asked.command,
        recipe=recipe,
        needs=tuple(one.name for one in needs),
        digest=digest,
        hours=asked.step.hours,
        folder=state / "stages" / f"{name}-{digest[:DIGITS]}",
        faults=tuple(faults),
    )


def read_step(name: str, asked: Asked, instead: Mapping[str, Any]) -> Section:
    """The recipe of a stage as its command will read it; a fault of it is a `DidgenError`."""
    if asked.command == "finetune":
        if asked.step.recipe is not None:
            return read_training_recipe(asked.step.recipe, instead)
        kind: type[Section] = TRAINING.get(str(instead.get("method")), TRAINING["didgen"])
    else:
        kind = _kind(asked.command)
    if asked.step.recipe is not None:
        return read_recipe(asked.step.recipe, kind, instead)
    return validated(instead, kind, f"`instead` of {name}")


def _kind(command: Command) -> type[Section]:
    """The recipes of a command; those of benchmarks load torch, and are asked for alone."""
    if command == "augment":
        return AugmentRecipe
    if command == "quality":
        from didgen.downstream.quality.recipe import QualityRecipe

        return QualityRecipe
    from didgen.downstream.benchmark.recipe import ClassifyRecipe, SegmentRecipe

    return ClassifyRecipe if command == "classify" else SegmentRecipe
