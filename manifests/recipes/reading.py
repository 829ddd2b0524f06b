"""Recipe files: YAML, or a recipe that comes with didgen, validated by pydantic.

A field that is not known is an error that names the nearest one that is; nothing is ignored.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.fields import Section

RECIPES = Path(__file__).parent / "bundled"
"""The recipes that come with didgen; `NAME` on the command line means `RECIPES / NAME.yaml`."""

R = TypeVar("R", bound=Section)


class _Loader(yaml.SafeLoader):
    """YAML in which a field that comes twice is a fault: else the last would count in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            problem = f"the field {twice[0]} comes twice"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep)


def read_recipe(name: str | Path, kind: type[R], instead: Mapping[str, Any] | None = None) -> R:
    """Read a recipe of one kind from a YAML file or by the name of a bundled recipe.

    `instead` has values that count in place of the recipe's own, as options on a command line do.

    Raises DidgenError with one sentence: no such file, not YAML, an unknown field (with the
    nearest known one), a value out of range.
    """
    path = Path(name)
    if not path.is_file() and path.suffix == "" and (RECIPES / f"{name}.yaml").exists():
        path = RECIPES / f"{name}.yaml"
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a SafeLoader
    except FileNotFoundError:
        known = ", ".join(sorted(file.stem for file in RECIPES.glob("*.yaml")))
        raise DidgenError(
            f"{name} is neither a file nor a bundled recipe; the bundled ones are {known}."
        ) from None
    # A ValueError is a text that is not UTF-8, or a date that no calendar has.
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise DidgenError(f"{path} is not readable YAML ({reason}); correct it.") from None
    if not isinstance(content, dict):
        raise DidgenError(f"{path} holds no fields; a recipe is a YAML mapping.")
    try:
        return kind.model_validate({**content, **(instead or {})})
    except ValidationError as error:
        raise DidgenError(f"{path}: {_sentence(error, kind)}") from None


def _sentence(error: ValidationError, kind: type[BaseModel]) -> str:
    """The first fault of a recipe in words, with the nearest known field for an unknown one.

    Unknown fields come first: a mistyped one is the reason why another is missing.
    """
    faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    path = tuple(str(part) for part in faults[0]["loc"])
    where = ".".join(path) or "the recipe"
    if faults[0]["type"] != "extra_forbidden":
        return f"`{where}` is wrong: {faults[0]['msg'].removeprefix('Value error, ')}."
    return f"`{where}` is not a field of a recipe; the nearest one is `{_nearest(path, kind)}`."


def _nearest(path: tuple[str, ...], kind: type[BaseModel]) -> str:
    """The field nearest to an unknown one: in its section, or a path where only others have it."""
    *sections, field = path
    here = kind
    for name in sections:
        here = _section(here, name) or here
    elsewhere = {name.rpartition(".")[2]: name for name in reversed(_paths(kind))}
    for known, cutoff in (
        ({name: name for name in here.model_fields}, 0.6),
        (elsewhere, 0.6),
        ({name: name for name in here.model_fields}, 0.0),
    ):
        near = difflib.get_close_matches(field, known, n=1, cutoff=cutoff)
        if near:
            break
    return known[near[0]]


def _section(kind: type[BaseModel], name: str) -> type[BaseModel] | None:
    """The model of a field that is a section, also where it may be null."""
    if name not in kind.model_fields:
        return None
    annotation = kind.model_fields[name].annotation
    for part in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def _paths(kind: type[BaseModel]) -> list[str]:
    """All fields of a recipe and of its sections, these as `section.field`, outer ones first."""
    sections = {name: _section(kind, name) for name in kind.model_fields}
    inner = [f"{name}.{path}" for name, part in sections.items() if part for path in _paths(part)]
    return [*sections, *inner]
