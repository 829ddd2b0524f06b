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
    from didgen.downstream.study.workflow import Places
    from didgen.manifests.recipes.study import StudyRecipe


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
    from didgen.downstream.study.workflow import Places
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
    places = Places(place, records, Path.cwd())
    if dry_run:
        _print_workflow(config, places, executor)
        return
    _carry_out(config, stages, places, executor)


def _carry_out(
    recipe: "StudyRecipe", stages: "dict[str, Stage]", places: "Places", executor: Executor
) -> None:
    """Carry a study out, and write the tables of what is done; exit 1 where something is not."""
    from didgen.downstream.study.hours import estimates
    from didgen.downstream.study.page import PAGE_NAME, write_tables
    from didgen.downstream.study.tables import read_printed
    from didgen.downstream.study.workflow import carry_out, write_workflow

    if recipe.paper is not None:
        # A fault of it is said now, not after the last stage.
        read_printed(recipe.paper, {name: stage.command for name, stage in stages.items()})
    write_workflow(stages, recipe, places, executor)
    code = carry_out(places, executor)
    found = estimates(stages.values(), places.state)
    folders = [place / "tables" for place in (places.state, places.records) if place is not None]
    write_tables(stages, found, recipe.paper, folders, places.state)
    print(f"The tables are in {folders[-1] / PAGE_NAME}.")
    if undone := [name for name, one in found.items() if one.basis != "done"]:
        print(f"Not done: {', '.join(undone)}; the same command goes on.")
    if code or undone:
        raise typer.Exit(1)


def _print_workflow(recipe: "StudyRecipe", places: "Places", executor: Executor) -> None:
    """Print Snakemake's profile, and the command line that would carry the study out."""
    from didgen.downstream.study.workflow import profile_of, snakemake_command
    from didgen.manifests.recipes.yaml12 import write_yaml

    print(write_yaml(profile_of(recipe.slurm, executor)), end="")
    print(shlex.join(snakemake_command(places)))


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
