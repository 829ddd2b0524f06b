"""The command `study`; it parses and prints, no more.

Heavy imports stand inside it, so that `--help` answers at once.
"""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from didgen.manifests.choices import Executor
from didgen.manifests.options import DryRun, RecipeName, folder

if TYPE_CHECKING:
    from didgen.downstream.study.graph import Stage
    from didgen.downstream.study.hours import Estimate


def study(
    recipe: RecipeName,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state", help="Folder for models, runs and benchmarks; large.", parser=folder
        ),
    ] = None,
    records: Annotated[
        Path | None,
        typer.Option(
            "--records",
            help="Folder that gets small records and the tables, as stages end.",
            parser=folder,
        ),
    ] = None,
    executor: Annotated[
        Executor, typer.Option(help="Carry stages out here, one at a time, or as jobs of Slurm.")
    ] = "local",
    dry_run: DryRun = False,
) -> None:
    """Train systems, draw their samples and compare them in benchmarks, all from one recipe.

    Goes on where a stopped study stopped. A stage that fails leaves the others that do not need it.
    Example: didgen study study-cpu --state runs/study --dry-run
    """
    from didgen.downstream.study.graph import faults_of, stages_of
    from didgen.downstream.study.hours import estimates, to_do
    from didgen.manifests.recipes.reading import read_recipe
    from didgen.manifests.recipes.study import StudyRecipe

    config = read_recipe(recipe, StudyRecipe)
    if state is None and not dry_run:
        raise typer.BadParameter("a study needs a folder", param_hint="--state")
    place = state or Path("runs") / "study"
    stages = stages_of(config, place)
    found = estimates(stages.values(), place)
    for name, stage in stages.items():
        _print_stage(stage, found[name], config.stage_minutes)
    print(f"{len(stages)} stages, {to_do(found):.1f} hours to go, one at a time.")
    if faults := faults_of(stages):
        print("It cannot be carried out:")
        for fault, named in faults.items():
            print(f"- {_few(named)}: {fault}")
        raise typer.Exit(1)
    from didgen.downstream.study.workflow import (
        Places,
        carry_out,
        profile_of,
        snakemake_command,
        write_workflow,
    )
    from didgen.manifests.recipes.yaml12 import write_yaml

    places = Places(place, records, Path.cwd())
    if dry_run:
        print(write_yaml(profile_of(config.slurm, executor)), end="")
        print(shlex.join(snakemake_command(places)))
        return
    from didgen.downstream.study.tables import read_printed, write_tables

    if config.paper is not None:
        # A fault of it is said now, not after the last stage.
        read_printed(config.paper, {name: stage.command for name, stage in stages.items()})
    write_workflow(stages, config, places, executor)
    code = carry_out(places)
    folders = [place / "tables", *([records / "tables"] if records else [])]
    found = estimates(stages.values(), place)
    write_tables(stages, found, config.paper, folders)
    print(f"The tables are in {folders[-1] / 'study.md'}.")
    undone = [name for name, one in found.items() if one.basis != "done"]
    if undone:
        print(f"Not done: {', '.join(undone)}; the same command goes on.")
    if code or undone:
        raise typer.Exit(1)


def _print_stage(stage: "Stage", found: "Estimate", minutes: int) -> None:
    """Print what a stage takes, by what that is known, and what it lacks."""
    from didgen.downstream.study.hours import shifts_of

    shifts = shifts_of(stage.hours, minutes)
    in_shifts = f", in {shifts} shifts at most" if shifts > 1 and found.basis != "done" else ""
    print(f"{stage.name}: {found.hours:.2f} hours ({found.basis}{in_shifts})")


def _few(names: list[str]) -> str:
    """The first names of some, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
