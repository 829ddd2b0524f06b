"""The catalogue: what each bundled recipe is for, what it needs, and what it costs.

Notable choices:
- Kind and needs are read of the recipe itself. What no field says stands in the comment at its
  head: its first sentence, and lines that begin with `Cost:` and `GPU:`.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from didgen.manifests.errors import DidgenError
from didgen.manifests.files import refuse_existing, write_bytes
from didgen.manifests.recipes.reading import RECIPES
from didgen.manifests.recipes.yaml12 import read_yaml

OURS = "mini"
"""The model that comes with didgen."""

_MADE = re.compile(r"runs/([\w-]+)(/.*)?")


@dataclass(frozen=True)
class BundledRecipe:
    """One bundled recipe: its file's text, and what is said of it.

    about: the first sentence of its comment; needs: what must be there before, in words.
    """

    name: str
    kind: str
    about: str
    needs: tuple[str, ...]
    cost: str
    text: str


def names(kind: str | None = None) -> list[str]:
    """The names of the bundled recipes, of one command or of all."""
    every = sorted(file.stem for file in RECIPES.glob("*.yaml"))
    return [name for name in every if kind in (None, _kind(name))]


def catalogue() -> list[BundledRecipe]:
    """All bundled recipes, in the order of their commands and names."""
    order = ("finetune", "augment", "classify", "segment", "study")
    return sorted(map(bundled_recipe, names()), key=lambda one: (order.index(one.kind), one.name))


def bundled_recipe(name: str) -> BundledRecipe:
    """A bundled recipe by its name; one that is not known is a `DidgenError` with the nearest."""
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=3, cutoff=0)
        raise DidgenError(
            f"{name} is no bundled recipe; the nearest names are {', '.join(near)}, and `didgen "
            "recipes` lists all."
        )
    text = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8")
    fields, head = read_yaml(text), _head(text)
    gpu = [f"a GPU of {head['GPU']}"] if "GPU" in head else []
    return BundledRecipe(
        name, fields["kind"], head["about"], (*_needs(fields), *gpu), head["Cost"], text
    )


def copy_recipe(name: str, file: Path) -> None:
    """Write a bundled recipe to a file; one that is there already is a `DidgenError`."""
    recipe = bundled_recipe(name)
    refuse_existing(file)
    write_bytes(file, recipe.text.encode())


def _kind(name: str) -> str:
    return str(read_yaml((RECIPES / f"{name}.yaml").read_text(encoding="utf-8"))["kind"])


def _head(text: str) -> dict[str, str]:
    """The comment at the head of a recipe: its first sentence as `about`, and its named lines."""
    lines = [line[1:].strip() for line in text.partition("kind:")[0].splitlines()]
    named = {
        word: " ".join(lines[place:]).removeprefix(f"{word}: ").partition(". ")[0].rstrip(".")
        for place, line in enumerate(lines)
        if (word := line.partition(":")[0]) in ("Cost", "GPU")
    }
    return named | {"about": re.split(r"(?<!Eq\.)(?<=[.?]) ", f"{' '.join(lines)} ")[0]}


def _needs(fields: Mapping[str, Any]) -> Iterator[str]:
    """What must be there before a recipe can be run, each once."""
    yield from dict.fromkeys(_told(fields))


def _told(fields: Mapping[str, Any]) -> Iterator[str]:
    if source := fields.get("source"):
        wants = " with masks and captions" if fields["kind"] == "finetune" else ""
        yield f"the source {source}{wants}"
    model = fields.get("model")
    if model and model != OURS:
        yield _made(model) if model.startswith("runs/") else f"{model} from the hub"
    for run in (fields.get("runs") or {}).values():
        yield _made(run)
    for weights in _values(fields, "weights"):
        if weights.endswith(".safetensors"):
            yield f"{weights} (didgen weights {Path(weights).stem})"
        elif weights == "pretrained":
            yield "weights from the hub"


def _made(place: str) -> str:
    """A folder of `runs`, with the command that makes it."""
    found = _MADE.fullmatch(place)
    if found and found[1] in names():
        return f"{place} (didgen {_kind(found[1])} {found[1]} --out runs/{found[1]})"
    return place


def _values(fields: Any, name: str) -> Iterator[Any]:
    """Every text of a field of some name, at any depth."""
    if isinstance(fields, Mapping):
        for field, value in fields.items():
            if field == name and isinstance(value, str):
                yield value
            yield from _values(value, name)
    elif isinstance(fields, list):
        for value in fields:
            yield from _values(value, name)
