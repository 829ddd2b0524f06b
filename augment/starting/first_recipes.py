"""The first recipes: a finetuning and a run of samples that fit a folder and the machine."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from didgen.augment.starting.machine import Machine
from didgen.augment.starting.survey import Survey
from didgen.manifests.catalogue.catalogue import bundled_recipe
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import write_bytes
from didgen.manifests.next_step import then
from didgen.manifests.recipes.yaml12 import read_yaml, write_yaml

FITTING = ((30.0, "isic2018-sd21"), (15.0, "isic2018-sd21-lora"), (0.0, "mini-own"))
"""Bundled recipes of `finetune` by the GiB of the GPU that they need, the largest first."""

VIEWS = 100
"""How often each training image is seen: 60 photographs by `mini-own` are."""

STEPS = (200, 20_000)
"""Fewest and most steps."""

FEWEST = 10
"""Training images below which nothing is learned but these."""


@dataclass(frozen=True)
class FirstRecipes:
    """Two recipes and the commands that lead from the folder to a report.

    base: the bundled recipe that the first is made from; files: by name, with their text.
    """

    base: str
    reasons: tuple[str, ...]
    files: dict[Path, str]
    commands: tuple[tuple[str, ...], ...]

    def write(self) -> dict[Path, bool]:
        """Write both files but what is there already; whether each was written."""
        written = {file: not os.path.lexists(file) for file in self.files}
        for file, text in self.files.items():
            if written[file]:
                write_bytes(file, text.encode())
        return written


def first_recipes(found: Survey, machine: Machine, name: str, folder: Path) -> FirstRecipes:
    """The recipes for what was found, as NAME.yaml and NAME-samples.yaml in a folder.

    Raises DidgenError for too few training images.
    """
    if found.training < FEWEST:
        raise DidgenError(
            f"{found.place} has {found.training} training images; a model needs {FEWEST} or more."
        )
    base = next(recipe for gib, recipe in FITTING if machine.gpu >= gib)
    source = found.place if not found.command else Path("runs") / name
    finetune: dict[str, Any] = read_yaml(bundled_recipe(base).text)
    steps = -(-VIEWS * found.training // (finetune["batch_size"] * 50)) * 50
    steps = min(max(steps, STEPS[0]), STEPS[1])
    finetune |= {
        "source": str(source),
        "steps": steps,
        "warmup_steps": steps // 10,
        "checkpoint_every": -(-steps // 3),
    }
    model, run = Path("runs") / f"{name}-model", Path("runs") / f"{name}-samples"
    samples: dict[str, Any] = read_yaml(bundled_recipe("mini-own-samples").text)
    if base != "mini-own":
        samples["sampling"] = read_yaml(bundled_recipe("isic2018-sd21-augment").text)["sampling"]
    samples |= {"model": str(model / "model"), "source": str(source)}
    views = steps * finetune["batch_size"] // found.training
    reasons = (
        f"{base} is what fits this machine: {machine}.",
        f"{steps} steps show each of {found.training} training images about {views} times.",
    )
    files = {folder / f"{name}.yaml": finetune, folder / f"{name}-samples.yaml": samples}
    head = "".join(f"# {reason}\n" for reason in reasons)
    commands = [
        (*found.command, "--out", str(source)) if found.command else None,
        None if found.masked else then("annotate", source),
        None if found.captioned else then("caption", source, "--sheet", f"{name}-captions.png"),
        then("finetune", folder / f"{name}.yaml", "--out", model),
        then("augment", folder / f"{name}-samples.yaml", "--out", run),
        then("verify", run),
        then("report", run),
    ]
    return FirstRecipes(
        base,
        reasons,
        {file: head + write_yaml(fields) for file, fields in files.items()},
        tuple(command for command in commands if command),
    )
