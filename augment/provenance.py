"""Provenance: the model and the data that a run is made from, with hash and licence of each."""

from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HFValidationError

from augment.model import model_folder, model_hashes
from manifests.licence import Ingredient, card_licence, data_ingredients
from manifests.recipe import AugmentRecipe, fingerprint
from manifests.records import SourceManifest


def ingredients(recipe: AugmentRecipe, source: SourceManifest | None) -> list[Ingredient]:
    """The model of a recipe and the training images of its source, if it has one.

    The hash of a local model covers every file of it; a model of the hub is told by id and
    revision. The licence of a model is that of its card.
    """
    name = f"{recipe.model} at {recipe.revision}" if recipe.revision else recipe.model
    local = model_folder(recipe.model).is_dir()
    model = Ingredient(
        kind="model",
        name=name,
        licence=card_licence(_card(recipe)),
        sha256=fingerprint(model_hashes(recipe.model, recipe.revision)) if local else "",
    )
    return [model, *data_ingredients(source.select(split="train") if source else ())]


def _card(recipe: AugmentRecipe) -> Path:
    """Where the card of a recipe's model lies; the path may not exist."""
    folder = model_folder(recipe.model)
    if not folder.is_dir():
        try:
            return Path(hf_hub_download(recipe.model, "README.md", revision=recipe.revision))
        except (OSError, HFValidationError):
            pass
    return folder / "README.md"
