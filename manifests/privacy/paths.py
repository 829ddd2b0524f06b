"""Paths: what the records of a run say of where its inputs lie, fit to be published.

Notable choices:
- A path that was given relative to the working folder stays as it was given. An absolute one names
  a home or a machine: it is recorded relative to the run where both lie in one home or project, and
  else left out.
- What is recorded is no part of what decides a result: fingerprints are taken of the recipe itself.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

from didgen.manifests.files import is_local

HERE = "$RUN"
"""Stands for the folder of the run at the head of a recorded path."""

_OF_HOMES = {"home", "homes", "people", "user", "users"}
"""Names of folders that hold a folder for each user."""

LOCAL_MODEL = "a local model"
"""Stands for the name of a model that is a folder of this machine."""

_NAMED = re.compile(r"(?<=was found for ).+(?=: see to it)|(?<=unknown \()[^()]+(?=\))")
"""Where a sentence names a model: one that lists nothing, or whose licence nobody knows."""

LEFT_OUT = "(a path, left out)"
"""Stands for a path that is not recorded."""


def shareable(value: Any, directory: Path | None) -> Any:
    """A JSON value as the run in `directory` may publish it, without absolute paths.

    Without a directory all of them are left out.
    """
    if isinstance(value, Mapping):
        return {name: shareable(inner, directory) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [shareable(inner, directory) for inner in value]
    return _recorded(value, directory) if isinstance(value, str) and _is_absolute(value) else value


def restored(text: str, directory: Path) -> Path | None:
    """The path that a recipe recorded in `directory` names; None where it was left out."""
    if text == LEFT_OUT:
        return None
    first, _, rest = text.partition("/")
    return Path(os.path.normpath(directory.absolute() / rest)) if first == HERE else Path(text)


def restored_recipe(recipe: Mapping[str, Any], directory: Path) -> dict[str, Any] | None:
    """A recorded recipe with the paths that it was given; None where one was left out."""

    def restore(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: restore(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [restore(inner) for inner in value]
        if isinstance(value, str) and value.partition("/")[0] == HERE:
            return str(restored(value, directory))
        return value

    return None if LEFT_OUT in _texts(recipe) else restore(recipe)


def without_folders(text: str) -> str:
    """The name of a model or a data set: of one that is an absolute path, the last part alone."""
    return PurePath(text.replace("\\", "/")).name if _is_absolute(text) else text


def without_path(sentence: str) -> str:
    """A sentence that didgen records of a model or its licence, without the model's folders."""
    return _NAMED.sub(lambda found: without_folders(found[0]), sentence)


def without_model(sentence: str) -> str:
    """Such a sentence without the name of the model."""
    return _NAMED.sub(LOCAL_MODEL, sentence)


def _texts(value: Any) -> set[str]:
    """Every text in a JSON value."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return {text for inner in value for text in _texts(inner)}
    return {value} if isinstance(value, str) else set()


def _is_absolute(text: str) -> bool:
    # A run may have begun on a system with other paths than this one's.
    return text.startswith("/") or PureWindowsPath(text).is_absolute()


def _recorded(text: str, directory: Path | None) -> str:
    """An absolute path relative to the run, unless that would name somebody's home too."""
    if directory is None or not is_local(directory):
        return LEFT_OUT
    run, path = (os.path.normpath(place) for place in (directory.absolute(), text))
    if PureWindowsPath(path).drive != PureWindowsPath(run).drive:
        return LEFT_OUT
    shared = Path(os.path.commonpath([run, path]))
    if not _is_private(shared):
        return LEFT_OUT
    return f"{HERE}/{Path(os.path.relpath(path, run)).as_posix()}"


def _is_private(folder: Path) -> bool:
    """Whether a folder is one user's or one project's, so that no name in it is of another's home.

    It is where it lies in the user's home; elsewhere, two steps below the root or deeper, where its
    name is not that of a folder of homes.
    """
    home = _home()
    if home is not None and (folder.is_relative_to(home) or folder in home.parents):
        return folder.is_relative_to(home)
    return len(folder.parts) > 2 and folder.name.lower() not in _OF_HOMES


def _home() -> Path | None:
    """The user's home, None where there is none or where it is the root."""
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home if len(home.parts) > 1 else None
