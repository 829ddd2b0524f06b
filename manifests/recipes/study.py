"""The recipe of `didgen study`: systems, their samples, and the benchmarks that compare them.

Notable choices:
- A stage is a recipe of another command, by name or file, and the fields that count in place of its
  own. So whatever the command can do, a study can ask for.
- `$didgen.model` in such a field stands for what another stage makes. These references are the
  graph; nothing else says which stage needs which.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from didgen.manifests.recipes.fields import Count, LocalPath, Positive, Rate, Section

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")]

REFERENCE = re.compile(r"^\$([A-Za-z0-9_-]+(?:\.[a-z]+)?)(/.*)?$")
"""`$SYSTEM.model`, `$SYSTEM.images`, `$SYSTEM.pairs`, or `$BENCHMARK`, and a path inside it."""


class Step(Section):
    """One stage: a recipe, what counts in place of its fields, and how long it takes."""

    recipe: str | None = None
    """A recipe file, or the name of a bundled one; without it `instead` is the whole recipe."""
    instead: dict[str, Any] = Field(default_factory=dict)
    """Fields that count in place of the recipe's own, each as a whole."""
    hours: Rate
    """Hours on the machine that the study is meant for, until a stage of this name was measured."""


class System(Section):
    """A generator under its name: how it is trained, and what is drawn from it."""

    model: str | None = None
    """A model that is there: `mini`, a folder, an id of the hub, or `$OTHER.model`. Without one and
    without `train`, the recipes of `images` and `pairs` name theirs."""
    train: Step | None = None
    """A recipe of `finetune`."""
    images: Step | None = None
    """A recipe of `augment`, for classifiers."""
    pairs: Step | None = None
    """A recipe of `augment`, for segmentation nets."""

    @model_validator(mode="after")
    def something_to_do(self) -> Self:
        if not any((self.train, self.images, self.pairs)):
            raise ValueError("it needs `train`, `images` or `pairs`")
        if self.model and self.train:
            raise ValueError("give `model`, which is there, or `train`, which makes one")
        return self


class Slurm(Section):
    """What Slurm is asked for each stage; it decides no result."""

    partition: str | None = None
    account: str | None = None
    cpus: Positive = 4
    memory_gb: Positive = 16
    gpus: Count = 0
    jobs: Positive = 8
    """Stages at once."""


class StudyRecipe(Section):
    """`didgen study`: systems, and the benchmarks and assessments that compare them."""

    kind: Literal["study"] = "study"
    source: LocalPath
    """The source manifest of every stage, in place of what its recipe names."""
    systems: Annotated[dict[Name, System], Field(min_length=1)]
    classify: dict[Name, Step] = Field(default_factory=dict)
    """Benchmarks by name, recipes of `classify`."""
    segment: dict[Name, Step] = Field(default_factory=dict)
    quality: dict[Name, Step] = Field(default_factory=dict)
    stage_minutes: Annotated[int, Field(ge=1, le=90)] = 90
    """Longest run of one process. A stage that takes longer is carried out in shifts: its command
    is stopped after this time, and goes on in the next one."""
    slurm: Slurm = Slurm()
    paper: LocalPath | None = None
    """A CSV of figures as a paper printed them, which stand beside ours and are marked as such."""

    @model_validator(mode="after")
    def each_name_once(self) -> Self:
        names = [*self.systems, *self.classify, *self.segment, *self.quality]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{twice[0]} names two of systems, benchmarks and assessments")
        return self


def references(value: Any) -> Iterator[str]:
    """The names of the stages that a JSON value refers to, each as often as it does."""
    if isinstance(value, str):
        if found := REFERENCE.match(value):
            yield found[1]
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from references(inner)


def resolved(value: Any, products: Mapping[str, str]) -> Any:
    """A JSON value with the place of each product in place of the reference to it.

    References to what is no product stay.
    """
    if isinstance(value, str) and (found := REFERENCE.match(value)) and found[1] in products:
        return products[found[1]] + (found[2] or "")
    if isinstance(value, Mapping):
        return {name: resolved(inner, products) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [resolved(inner, products) for inner in value]
    return value
