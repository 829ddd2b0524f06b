"""Options: the arguments that commands of several rooms share; nothing heavy is imported here."""

from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated

import typer

from didgen.manifests.choices import Reviewed


def place(text: str) -> Path:
    """A folder, or a part of an object store by its URL."""
    from didgen.manifests.files import located

    return located(str(text))


def folder(text: str) -> Path:
    """A place on this machine: what a command cannot take from a store is refused by name."""
    from didgen.manifests.files import local

    try:
        return Path(local(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def complete_recipe(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of bundled recipes that begin like this: those of the command that is typed."""
    # As text: the recipes' package builds on this one.
    names: Callable[[str | None], list[str]] = resolve_name(
        "didgen.manifests.catalogue.catalogue:names"
    )
    command = ctx.info_name
    kind = command if command in ("finetune", "augment", "classify", "segment") else None
    return [name for name in names(kind) if name.startswith(incomplete)]


Source = Annotated[
    Path,
    typer.Argument(help="Folder of a source manifest, made by `import`.", parser=folder),
]
Run = Annotated[
    Path, typer.Argument(help="Folder of a run, or its URL in an object store.", parser=place)
]
RecipeName = Annotated[
    str,
    typer.Argument(
        help="Recipe file, or name of a bundled recipe.", autocompletion=complete_recipe
    ),
]
RecipeSource = Annotated[
    Path | None,
    typer.Option("--source", help="Source manifest in place of the recipe's.", parser=folder),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")]

Pseudonymise = Annotated[
    bool,
    typer.Option(
        "--pseudonymise",
        help="Name real images and lesions by a keyed hash, whose key stays with the source.",
    ),
]
OnlyReviewed = Annotated[
    Reviewed | None,
    typer.Option(
        "--reviewed",
        help="Take only what the experts of `didgen review` accept, with their classes and "
        "outlines.",
    ),
]


def needs_out(what: str) -> typer.BadParameter:
    """The fault of a command that would write, and is not told where."""
    return typer.BadParameter(f"{what} needs a folder", param_hint="--out")
