"""The index: `run.json` and `manifest.json`, the first and the last record of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.shards.shard import SHARD_NAME, read_record


class Ingredient(BaseModel):
    """Something a data set is made of: a model or a set of images, with its licence and hash.

    `licence` is as its owner names it, None where nobody does; `sha256` is empty where no one
    hash tells it (a set of images has one for each in its source manifest).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["model", "data"]
    name: str
    licence: str | None
    sha256: str = ""


RUN_NAME = "run.json"

PLAN_NAME = "plan.jsonl"

MANIFEST_NAME = "manifest.json"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Run(BaseModel):
    """`run.json`: what the directory is for, written before the first shard.

    `plan` is the sha256 of `plan.jsonl`, which is written before it; None where there is no plan.
    `planned` is the number of samples of each config, where the recipe alone says which they are.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    fingerprint: str
    recipe: dict[str, Any]
    didgen: str
    plan: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    planned: dict[Config, int] = {}


class ShardEntry(BaseModel):
    """What the manifest says of one shard: enough to tell that the very file is there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = Field(pattern=SHARD_NAME)
    sha256: Sha256
    bytes: int = Field(ge=0)
    samples: int = Field(ge=0)


class FailureEntry(BaseModel):
    """A planned sample that is in no shard, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: Config
    shard: str
    key: str
    reason: str


class Totals(BaseModel):
    """Sums over all configs; `bytes` counts the tars, `redraws` what gates had drawn again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shards: int
    samples: int
    failures: int
    bytes: int
    redraws: int = 0


class Manifest(BaseModel):
    """`manifest.json`: the index of a whole run; a directory without one is not finished.

    `classes` are the names that the class indices of `.cls` members stand for; `decisions` are
    the run's own choices (device, dtype, batch) with their reasons. `failures` are the first ones;
    `totals` counts them all, and the sidecars have each. `made_from` lists the model
    and the data, from which the licence follows; `documents` has the sha256 of the card, of the
    Croissant metadata, and of the list of the model's training images where there is one. Runs of
    older versions have neither.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    fingerprint: str
    recipe: dict[str, Any]
    decisions: dict[str, Any]
    versions: dict[str, str]
    didgen: str
    classes: list[str]
    configs: dict[Config, list[ShardEntry]]
    totals: Totals
    failures: list[FailureEntry]
    made_from: list[Ingredient] = []
    documents: dict[Literal["README.md", "croissant.json", "trained_on.jsonl"], Sha256] = {}


def maker(recipe: Mapping[str, Any]) -> str:
    """The command that makes, and mends, runs of a recipe."""
    commands = {"mix": "didgen mix", "synthetic": "didgen import synthetic"}
    return commands.get(str(recipe.get("kind")), "didgen augment")


def by_maker(sentence: str, recipe: Mapping[str, Any]) -> str:
    """A sentence that names `didgen augment`, with the command that makes runs of the recipe."""
    return sentence.replace("`didgen augment`", f"`{maker(recipe)}`")


MASKS_OF_RUN = "synthetic masks"
"""The decision by which a mix says that the masks of its run's pairs are their layouts."""


def layouts_are_masks(recipe: Mapping[str, Any], decisions: Mapping[str, Any]) -> bool:
    """Whether the masks of a run's pairs are their layouts: by its recipe, or its model's method.

    DiDGen's own runs record no method, and cut masks from attention unless told otherwise. A mix
    has another recipe than its run, and records what the run's masks are.
    """
    sampling = recipe.get("sampling")
    annotation = sampling.get("annotation") if isinstance(sampling, Mapping) else None
    asked = isinstance(annotation, Mapping) and annotation.get("mask") == "layout"
    return asked or not decisions.keys().isdisjoint(("method", MASKS_OF_RUN))


def read_run(directory: Path) -> Run:
    """Read `run.json` of a run directory; a missing or ill-formed one is a `DidgenError`."""
    return read_record(Run, directory / RUN_NAME)


def read_manifest(directory: Path) -> Manifest:
    """Read `manifest.json` of a finished run; without one it is a `DidgenError`."""
    path = directory / MANIFEST_NAME
    if not path.exists():
        raise DidgenError(f"{path} does not exist; finish the run with `didgen augment` first.")
    return read_record(Manifest, path)
