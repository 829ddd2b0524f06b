"""The command on bundled recipes; it parses and prints, no more."""

from pathlib import Path
from typing import Annotated

import typer

from didgen.manifests.next_step import NextStep, then
from didgen.manifests.options import complete_recipe, folder


def recipes(
    name: Annotated[
        str | None,
        typer.Argument(help="A bundled recipe; without it, all.", autocompletion=complete_recipe),
    ] = None,
    copy: Annotated[
        Path | None,
        typer.Option("--copy", help="New file for a copy of it, to be changed.", parser=folder),
    ] = None,
) -> NextStep:
    """List the bundled recipes with what each needs and costs, print one, or copy it.

    A name stands for its recipe in every command: didgen finetune mini-own --out runs/mini-own.
    Example: didgen recipes mini-own --copy own.yaml
    """
    from didgen.manifests.catalogue.catalogue import bundled_recipe, catalogue, copy_recipe

    if name is None:
        if copy is not None:
            raise typer.BadParameter("a copy is of one recipe: name it", param_hint="--copy")
        for one in catalogue():
            print(f"{one.name} ({one.kind}): {one.about}")
            print(f"    needs {'; '.join(one.needs) or 'nothing'}. Cost: {one.cost}.")
        return then("recipes", "demo")
    recipe = bundled_recipe(name)
    if copy is not None:
        copy_recipe(name, copy)
        print(f"{name} is copied to {copy}.")
        return then(recipe.kind, copy, "--dry-run")
    print(recipe.text, end="")
    print(f"# needs {'; '.join(recipe.needs) or 'nothing'}. Cost: {recipe.cost}.")
    return then(recipe.kind, name, "--out", f"runs/{name}")
