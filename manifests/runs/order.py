"""The order: what a command was asked to make of a folder, kept there so that it can go on.

Notable choices:
- It holds the recipe itself with every default, since the file it was read from may change.
- It has no absolute path, like all records of a run: see `privacy.paths`.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json, write_json
from didgen.manifests.privacy.paths import restored_recipe, shareable

if TYPE_CHECKING:
    from pydantic import BaseModel

ORDER_NAME = "resume.json"

_RUN_NAME = "run.json"

R = TypeVar("R", bound="BaseModel")

_begun: list[Path] = []
"""Folders that this process has begun to work in, the last one last."""


@dataclass(frozen=True)
class Order:
    """A command's name, its recipe, and the options that decide no result."""

    command: str
    recipe: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)

    def recipe_as(self, kind: type[R], directory: Path) -> R:
        """The recipe, read as one of a kind; one that is none is a `DidgenError`."""
        from pydantic import ValidationError

        try:
            return kind.model_validate(self.recipe)
        except ValidationError:
            raise DidgenError(
                f"{directory} records no recipe that this didgen reads; run the command again that "
                "began it."
            ) from None


def keep_order(directory: Path, command: str, recipe: Mapping[str, Any], **options: Any) -> None:
    """Keep in a folder what it was begun for; whoever calls this has made sure that it is his."""
    said = {"format": 1, "command": command, "recipe": recipe, "options": options}
    # A path, or a place in a store, is told as its text.
    said = shareable(json.loads(json.dumps(said, default=str)), directory)
    path = directory / ORDER_NAME
    if not path.is_file() or path.read_bytes() != _text(said):
        write_json(path, said)
    _begun.append(directory)


def _text(said: Any) -> bytes:
    return f"{json.dumps(said, indent=2, sort_keys=True, ensure_ascii=False)}\n".encode()


def read_order(directory: Path) -> Order:
    """The order of a folder; of a run that an older didgen began, the recipe that it records.

    Raises DidgenError for a folder without one, and where a path was left out of it.
    """
    path = directory / ORDER_NAME
    if path.is_file():
        said = read_json(path)
        try:
            order = Order(str(said["command"]), dict(said["recipe"]), dict(said["options"]))
        except (KeyError, TypeError, ValueError):
            raise DidgenError(f"{path} is no record of a command; delete it.") from None
    else:
        order = _older(directory)
    both = restored_recipe({"recipe": order.recipe, "options": order.options}, directory)
    if both is None:
        raise DidgenError(
            f"{directory} does not record where its inputs lie; run the command again that began "
            "it."
        )
    return Order(order.command, both["recipe"], both["options"])


def _older(directory: Path) -> Order:
    """The order of a run that has none, by its `run.json`."""
    path = directory / _RUN_NAME
    recipe = read_json(path).get("recipe", {}) if path.is_file() else {}
    kind = recipe.get("kind")
    # What a training computes may not depend on its steps, and then they are not recorded.
    if kind in ("augment", "mix", "synthetic") or (kind == "finetune" and "steps" in recipe):
        recipe.pop("processes", None)
        return Order(str(kind), recipe)
    raise DidgenError(
        f"{directory} holds no work that didgen has begun and can go on with: a run, a training, "
        "an assessment, a benchmark, or a source that is being captioned."
    )


def command_to_resume(directory: Path) -> str:
    """The whole command that goes on with a folder."""
    return f"didgen resume {shlex.quote(str(directory))}"


def sentence_when_stopped(arguments: list[str]) -> str:
    """What a user is told where a signal stopped the command of some arguments."""
    if _begun:
        return (
            f"Stopped: what is finished is kept in {_begun[-1]}. To go on: "
            f"{command_to_resume(_begun[-1])}"
        )
    again = shlex.join(["didgen", *arguments])
    return f"Stopped: nothing is half-written. To begin again: {again}"
