"""Faults: what is wrong with a recipe, in one sentence that says what to write instead."""

import difflib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

_SHAPES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
}


def sentence_of_fault(error: ValidationError, kind: type[BaseModel]) -> str:
    """The first fault of a recipe in words, with the nearest known field for an unknown one.

    Unknown fields come first: a mistyped one is the reason why another is missing. Then the deepest
    place, since a value that one kind of a union takes in part is meant to be of that kind.
    """
    faults = sorted(
        error.errors(),
        key=lambda fault: (
            fault["type"] != "extra_forbidden",
            -len(_place(fault["loc"], kind)[0]),
        ),
    )
    fault = faults[0]
    if fault["type"] == "extra_forbidden":
        *above, name = fault["loc"]
        path = (*_place(above, kind)[0], str(name))
        where, nearest = ".".join(path), _nearest(path, kind)
        return f"`{where}` is not a field of a recipe; the nearest one is `{nearest}`."
    path, annotation = _place(fault["loc"], kind)
    where = ".".join(path) or "the recipe"
    if fault["type"] == "missing":
        return f"`{where}` is missing; add it."
    if fault["type"] == "value_error":
        return f"`{where}` is wrong: {fault['msg'].removeprefix('Value error, ')}."
    same = [one for one in faults if _place(one["loc"], kind)[0] == path]
    return f"`{where}` is {_shown(fault['input'])}, but it must be {_wanted(annotation, same)}."


def _place(loc: Iterable[int | str], kind: type[BaseModel]) -> tuple[tuple[str, ...], Any]:
    """Where a fault is, by fields, keys and numbers, and what may stand there.

    pydantic adds the branch of a union that was tried, which nobody has written.
    """
    path: list[str] = []
    here: Any = kind
    for part in loc:
        inner = _inside(here, part)
        if inner is not None:
            path.append(str(part))
            here = inner
    return tuple(path), here


def _inside(annotation: Any, part: int | str) -> Any:
    """What may stand at a field, key or number within a value; None where there is none."""
    for one in _branches(annotation):
        origin, inner = typing.get_origin(one), typing.get_args(one)
        if isinstance(one, type) and issubclass(one, BaseModel) and part in one.model_fields:
            return one.model_fields[str(part)].annotation
        if origin in (tuple, list) and isinstance(part, int):
            return inner[0]
        branch = str(part).startswith(("constrained-", "function-")) or "[" in str(part)
        if origin in (dict, Mapping) and isinstance(part, str) and not branch:
            return inner[1]
    return None


def _branches(annotation: Any) -> Iterator[Any]:
    """The kinds of a value, each by itself and without its bounds."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        yield from _branches(inner[0])
    elif origin in (typing.Union, types.UnionType):
        for part in inner:
            yield from _branches(part)
    else:
        yield annotation


def _wanted(annotation: Any, faults: Sequence[Mapping[str, Any]]) -> str:
    """What a value may be, in words: the bound that it passed, and each of the other kinds."""
    bounds = [words for fault in faults if (words := _bound(fault))]
    if len(faults) == len(bounds) == 1:
        return bounds[0]
    kinds = [_kind(one) for one in _branches(annotation)]
    if bounds:
        kinds = [words for words in kinds if words not in ("a whole number", "a number")]
    return " or ".join(dict.fromkeys([*bounds, *kinds]))


def _bound(fault: Mapping[str, Any]) -> str:
    """The bound that a value lies beyond, or how long or which of a few it must be."""
    limits = fault.get("ctx", {})
    words = {
        "greater_than_equal": "{ge:.10g} or more",
        "greater_than": "more than {gt:.10g}",
        "less_than_equal": "{le:.10g} or less",
        "less_than": "less than {lt:.10g}",
        "multiple_of": "a multiple of {multiple_of}",
        "too_short": "a list of {min_length} or more",
        "string_too_short": "text of {min_length} letters or more",
        "string_too_long": "text of {max_length} letters at most",
        "string_pattern_mismatch": "text of the form {pattern}",
        "finite_number": "a finite number",
    }.get(fault["type"], "")
    return words.format(**limits)


def _kind(annotation: Any) -> str:
    """A kind of value in words."""
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return " or ".join(map(str, typing.get_args(annotation)))
    if origin in (tuple, list):
        return "a list, such as [a, b]"
    if origin in (dict, Mapping):
        return "a mapping of names to values"
    if annotation is type(None):
        return "null"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "a mapping of fields"
    return _SHAPES.get(annotation, "a path")


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _nearest(path: tuple[str, ...], kind: type[BaseModel]) -> str:
    """The field nearest to an unknown one: in its section, or a path where only others have it."""
    *sections, field = path
    here = kind
    for name in sections:
        here = section_of(here, name) or here
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


def section_of(kind: type[BaseModel], name: str) -> type[BaseModel] | None:
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
    sections = {name: section_of(kind, name) for name in kind.model_fields}
    inner = [f"{name}.{path}" for name, part in sections.items() if part for path in _paths(part)]
    return [*sections, *inner]
