"""The registry: which code opens the models of a method, and which trains them.

Notable choices:
- A place is written as text and imported when it is asked for: rivals build on this package and on
  finetuning, and nobody waits for a method that is not used.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name

from didgen.augment.methods.generator import Opened
from didgen.manifests.choices import Method
from didgen.manifests.provenance.model_method import method_of
from didgen.manifests.recipes.augment import AugmentRecipe
from didgen.manifests.recipes.training import TrainingRecipe


@dataclass(frozen=True)
class Places:
    """Where a method's two functions are, as `module:function`.

    opens: `(AugmentRecipe) -> Opened`; trains: `(recipe, out) -> model directory`, of the recipe
    that names this method.
    """

    opens: str
    trains: str


METHODS: dict[Method, Places] = {
    "didgen": Places(
        "didgen.augment.methods.diffusion_opening:open_diffusion",
        "didgen.augment.finetuning.finetune:finetune",
    ),
    "stylegan": Places(
        "didgen.augment.rivals.stylegan:open_stylegan",
        "didgen.augment.rivals.stylegan:train_stylegan",
    ),
    "pgan": Places("didgen.augment.rivals.pgan:open_pgan", "didgen.augment.rivals.pgan:train_pgan"),
    "pix2pixhd": Places(
        "didgen.augment.rivals.pix2pixhd:open_pix2pixhd",
        "didgen.augment.rivals.pix2pixhd:train_pix2pixhd",
    ),
    "controlnet": Places(
        "didgen.augment.rivals.controlnet:open_controlnet",
        "didgen.augment.rivals.controlnet:train_controlnet",
    ),
}


def open_model(recipe: AugmentRecipe) -> Opened:
    """Open the model that a recipe names, by the method that its directory is for.

    Raises DidgenError for a model that cannot be loaded, or that cannot do what the recipe asks.
    """
    method = method_of(recipe.model, recipe.revision).method
    opens: Callable[[AugmentRecipe], Opened] = resolve_name(METHODS[method].opens)
    return opens(recipe)


def train_model(recipe: TrainingRecipe, out: Path) -> Path:
    """Train by a recipe into the folder `out`; returns the model directory, `out/model`.

    Goes on where a stopped run of the same recipe stopped. Raises DidgenError for a recipe that its
    source, its model or the folder does not fit.
    """
    trains: Callable[[TrainingRecipe, Path], Path] = resolve_name(METHODS[recipe.method].trains)
    return trains(recipe, out)
