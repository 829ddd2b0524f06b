"""Provenance: the model and the data that a run is made from, and what the model was trained on."""

from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HFValidationError

from augment.model import model_folder, model_hashes
from manifests.card import CARD_NAME
from manifests.contamination import TRAINED_ON_NAME, TrainedOn
from manifests.licence import Ingredient, card_licence, data_ingredients
from manifests.recipe import AugmentRecipe, FinetuneRecipe, fingerprint
from manifests.records import SourceRecord


def ingredients(
    recipe: AugmentRecipe | FinetuneRecipe, records: Iterable[SourceRecord]
) -> list[Ingredient]:
    """The model of a recipe and the records of its source that it uses, where it has them.

    The hash of a local model is that of its `model_hashes`; a model of the hub is told by id and
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
        licence=card_licence(beside(recipe.model, recipe.revision, CARD_NAME)),
        sha256=fingerprint(model_hashes(recipe.model, recipe.revision)) if local else "",
    )
    return [model, *data]


def trained_on(model: str | None, revision: str | None = None) -> TrainedOn:
    """The real images that a model was trained on; empty where it has no list, or is none."""
    path = beside(model, revision, TRAINED_ON_NAME) if model else None
    return TrainedOn.read(path) if path and path.is_file() else TrainedOn()


def unlisted(model: str | None, seen: TrainedOn) -> dict[str, str]:
    """What is decided and said where nobody lists what a model was trained on; else nothing."""
    if model is None or seen:
        return {}
    return {
        "contamination": f"unknown, because no {TRAINED_ON_NAME} was found for {model}: see to it "
        "yourself that it was not trained on what you test on"
    }


def beside(model: str, revision: str | None, name: str) -> Path:
    """Where a file beside a model lies, fetched if it is one of the hub; the path may not exist."""
    folder = model_folder(model)
    if not folder.is_dir():
        try:
            return Path(hf_hub_download(model, name, revision=revision))
        except (OSError, HFValidationError):
            pass
    return folder / name
