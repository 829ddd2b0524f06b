"""Recipe files: YAML 1.2, or a recipe that comes with didgen, validated by pydantic.

A field that is not known is an error that names the nearest one that is; nothing is ignored.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from didgen.manifests.errors import DidgenError, in_short
from didgen.manifests.recipes.faults import sentence_of_fault
from didgen.manifests.recipes.fields import Section
from didgen.manifests.recipes.finetune import FinetuneRecipe
from didgen.manifests.recipes.rivals import (
    ControlNetRecipe,
    PganRecipe,
    Pix2PixHdRecipe,
    StyleGanRecipe,
)
from didgen.manifests.recipes.training import TrainingRecipe
from didgen.manifests.recipes.yaml12 import read_yaml, write_yaml

RECIPES = Path(__file__).parent / "bundled"
"""The recipes that come with didgen; `NAME` on the command line means `RECIPES / NAME.yaml`."""

TRAINING: dict[str, type[TrainingRecipe]] = {
    kind.model_fields["method"].default: kind
    for kind in (FinetuneRecipe, StyleGanRecipe, PganRecipe, Pix2PixHdRecipe, ControlNetRecipe)
}
"""The recipes of `didgen finetune` by their method."""

R = TypeVar("R", bound=Section)


def read_recipe(name: str | Path, kind: type[R], instead: Mapping[str, Any] | None = None) -> R:
    """Read a recipe of one kind from a YAML file or by the name of a bundled recipe.

    `instead` has values that count in place of the recipe's own, as options on a command line do.

    Raises DidgenError with one sentence: no such file, not YAML, a recipe of another command, an
    unknown field (with the nearest known one), a value out of range.
    """
    path = _path(name)
    content = _mapping(name, path)
    _check_kind(name, content, kind)
    return validated({**content, **(instead or {})}, kind, str(path))


def validated(content: Mapping[str, Any], kind: type[R], place: str) -> R:
    """The recipe of these fields; a fault is a `DidgenError` that names the place they stand in."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise DidgenError(f"{place}: {sentence_of_fault(error, kind)}") from None


def read_training_recipe(
    name: str | Path, instead: Mapping[str, Any] | None = None
) -> TrainingRecipe:
    """Read a recipe of `didgen finetune`, of the method that it names; DiDGen's without one.

    `instead` is that of `read_recipe`.

    Raises DidgenError like `read_recipe`, and for a method that is not known.
    """
    method = _mapping(name, _path(name)).get("method", "didgen")
    if not isinstance(method, str) or method not in TRAINING:
        raise DidgenError(
            f"{name}: `method` is {method!r}, but it must be one of {', '.join(TRAINING)}."
        )
    return read_recipe(name, TRAINING[method], instead)


def recipe_text(recipe: Section) -> str:
    """A recipe as the YAML of its file, with every default filled in."""
    return write_yaml(recipe.model_dump(mode="json"))


def bundled(command: str) -> list[str]:
    """The names of the bundled recipes of a command."""
    texts = {file.stem: file.read_text(encoding="utf-8") for file in sorted(RECIPES.glob("*.yaml"))}
    return [name for name, text in texts.items() if read_yaml(text)["kind"] == command]


def _path(name: str | Path) -> Path:
    """The file of a recipe that is named by its path, or by the name of a bundled one."""
    if str(name) == "":
        raise DidgenError("The name of the recipe is empty; name a file or a bundled recipe.")
    path, inside = Path(name), RECIPES / f"{name}.yaml"
    return inside if not path.is_file() and path.suffix == "" and inside.exists() else path


def _mapping(name: str | Path, path: Path) -> dict[str, Any]:
    """The fields of a recipe's file."""
    if str(name) in ("", "."):
        raise DidgenError("The name of the recipe is empty; name a file or a bundled recipe.")
    try:
        content = read_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(sorted(file.stem for file in RECIPES.glob("*.yaml")))
        raise DidgenError(
            f"{name} is neither a file nor a bundled recipe; the bundled ones are {known}."
        ) from None
    # A ValueError is a text that is not UTF-8.
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise DidgenError(f"{path} is not readable YAML ({in_short(error)}); correct it.") from None
    if not isinstance(content, dict):
        raise DidgenError(f"{path} holds no fields; a recipe is a YAML mapping.")
    if odd := [field for field in content if not isinstance(field, str)]:
        raise DidgenError(f"{path}: {odd[0]!r} is no name of a field; put it in quotes.")
    return content


def _check_kind(name: str | Path, content: Mapping[str, Any], kind: type[Section]) -> None:
    """Raise DidgenError for a recipe of another command, before its fields are looked at."""
    wanted = kind.model_fields["kind"].default
    there = content.get("kind", wanted)
    if there == wanted:
        return
    ours = ", ".join(bundled(wanted)) or "not bundled"
    if isinstance(there, str) and bundled(there):
        raise DidgenError(
            f"{name} is a recipe for `didgen {there}`; those for `didgen {wanted}` are {ours}."
        )
    raise DidgenError(
        f"{name} has the `kind` {there!r}, and `didgen {wanted}` reads recipes of the `kind` "
        f"{wanted}; the bundled ones are {ours}."
    )
