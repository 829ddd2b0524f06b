"""The workflow: a study's plan and profile on disk, and Snakemake carrying it out.

Notable choices:
- Rules stand in `workflow.smk`, and all that differs from study to study in `plan.json`.
- Stages have digests for names, so that Snakemake only has to see whether their files are there.
"""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from didgen.downstream.study.graph import Stage
from didgen.downstream.study.hours import shifts_of
from didgen.downstream.study.inputs import work
from didgen.downstream.study.shift import PATIENCE, SESSION, SESSION_NAME, STUDY_LOCK
from didgen.manifests.choices import Executor
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import write_bytes, write_json
from didgen.manifests.locks import claimed
from didgen.manifests.recipes.reading import recipe_text
from didgen.manifests.recipes.study import Slurm, StudyRecipe
from didgen.manifests.recipes.yaml12 import write_yaml

WORKFLOW = Path(__file__).parent / "workflow.smk"

RECIPE_NAME, PLAN_NAME, PROFILE = "recipe.yaml", "plan.json", "profile"


@dataclass(frozen=True)
class Places:
    """Where a study works: its state, and the folder of small records, if any.

    cwd: the folder that recipes' paths are relative to.
    """

    state: Path
    records: Path | None
    cwd: Path


def plan_of(stages: Mapping[str, Stage], recipe: StudyRecipe, places: Places) -> dict[str, Any]:
    """What `plan.json` holds; outputs are relative to the state, where Snakemake works."""
    outputs = {
        name: _outputs(stage, shifts_of(stage.hours, recipe.stage_minutes))
        for name, stage in stages.items()
    }
    return {
        "folder": str(places.cwd),
        "state": str(places.state),
        # Shifts work in the state's folder, and commands in that of the recipes' paths.
        "records": None if places.records is None else str(places.cwd / places.records),
        "python": sys.executable,
        "minutes": recipe.stage_minutes,
        "slurm": recipe.slurm.model_dump(),
        "stages": {
            stage.folder.name: {
                "name": name,
                "kind": stage.command,
                "digest": stage.digest,
                "folder": str(places.cwd / stage.folder),
                "command": command_of(stage, places),
                "work": None if stage.recipe is None else work(stage.recipe),
                "needs": [outputs[other][-1] for other in stage.needs],
                "outputs": outputs[name],
                "shifts": len(outputs[name]),
            }
            for name, stage in stages.items()
        },
    }


def _outputs(stage: Stage, shifts: int) -> list[str]:
    name = stage.folder.name
    return [*(f"done/{name}.shift-{n}.json" for n in range(1, shifts)), f"done/{name}.json"]


def command_of(stage: Stage, places: Places) -> list[str]:
    """The didgen command of a stage, by the recipe in its folder."""
    command = [sys.executable, "-m", "didgen.cli", stage.command, str(stage.folder / RECIPE_NAME)]
    command += ["--out", str(stage.out)]
    if places.records is not None and stage.command in ("classify", "segment"):
        command += ["--records", str(places.records / stage.folder.name)]
    return command


def profile_of(slurm: Slurm, executor: Executor) -> dict[str, Any]:
    """Snakemake's profile: how its executor carries stages out."""
    # Times say nothing where names are digests, and half of what a command wrote is of use to it.
    common = {"keep-going": True, "rerun-incomplete": True, "rerun-triggers": ["mtime"]}
    common |= {"nolock": True, "quiet": ["rules", "progress", "host"]}
    if executor == "local":
        return common | {
            "executor": "local",
            "cores": os.cpu_count() or 1,
            "resources": ["heavy=1"],
        }
    asked = {"slurm_partition": slurm.partition, "slurm_account": slurm.account}
    given = [f"{name}={value}" for name, value in asked.items() if value is not None]
    profile = common | {"executor": "slurm", "jobs": slurm.jobs, "latency-wait": 60}
    return profile | ({"default-resources": given} if given else {})


def snakemake_command(places: Places) -> list[str]:
    """The command line that carries a written study out."""
    state = places.cwd / places.state
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(WORKFLOW)),
        *("--directory", str(state), "--profile", str(state / PROFILE)),
        *("--config", f"plan={state / PLAN_NAME}"),
    ]


def write_workflow(
    stages: Mapping[str, Stage], recipe: StudyRecipe, places: Places, executor: Executor
) -> None:
    """Write the recipe of every stage, the plan, and Snakemake's profile."""
    for stage in stages.values():
        assert stage.recipe is not None
        write_bytes(stage.folder / RECIPE_NAME, recipe_text(stage.recipe).encode())
    write_json(places.state / PLAN_NAME, plan_of(stages, recipe, places))
    profile = profile_of(recipe.slurm, executor)
    write_bytes(places.state / PROFILE / "config.yaml", write_yaml(profile).encode())


def carry_out(places: Places, executor: Executor, more: Iterable[str] = ()) -> int:
    """Have Snakemake carry a written study out; returns its exit code.

    On one machine all that it started ends with this process, even where that is killed. Without
    Snakemake, and where another process works on the state, a `DidgenError`.
    """
    if find_spec("snakemake") is None:
        raise DidgenError("A study needs snakemake, which is missing: pip install 'didgen[study]'.")
    with claimed(places.state, STUDY_LOCK, wait=False) as ours:
        if not ours:
            raise DidgenError(f"Another process carries out the study in {places.state}; wait.")
        session = uuid.uuid4().hex
        write_json(places.state / SESSION_NAME, {"session": session})
        # A group of its own, so that all that it started can be stopped with it.
        process = subprocess.Popen(  # noqa: S603 - our own command line
            [*snakemake_command(places), *more],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            # On a cluster the locks of this machine say nothing.
            env=os.environ | ({SESSION: session} if executor == "local" else {}),
        )
        try:
            return process.wait()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
