"""Provenance: the model and the data that a run is made from, with hash and licence of each."""

from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HFValidationError

from augment.model import model_folder, model_hashes
from manifests.licence import Ingredient, card_licence, data_ingredients
from manifests.recipe import AugmentRecipe, FinetuneRecipe, fingerprint
from manifests.records import SourceRecord


def ingredients(
    recipe: AugmentRecipe | FinetuneRecipe, records: Iterable[SourceRecord]
) -> list[Ingredient]:
    """The model of a recipe and the records of its source that it uses, where it has them.

    The hash of a local model covers every file of it; a model of the hub is told by id and
    revision. The licence of a model is that of its card.
    """
    data = data_ingredients(records)
    if recipe.model is None:
        return data
    name = f"{recipe.model} at {recipe.revision}" if recipe.revision else recipe.model
    local = model_folder(recipe.model).is_dir()
    model = Ingredient(
        kind="model",
        name=name,
        licence=card_licence(_card(recipe.model, recipe.revision)),
        sha256=fingerprint(model_hashes(recipe.model, recipe.revision)) if local else "",
    )
    return [model, *data]


def _card(model: str, revision: str | None) -> Path:
    """Where the card of a model lies; the path may not exist."""
    folder = model_folder(model)
    if not folder.is_dir():
        try:
            return Path(hf_hub_download(model, "README.md", revision=revision))
        except (OSError, HFValidationError):
            pass
    return folder / "README.md"
