"""Models: the folder, hashes and licence of the model that a run is made with."""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from didgen.manifests.files import is_litter, sha256_of
from didgen.manifests.privacy.paths import without_folders
from didgen.manifests.provenance.licence import card_licence, data_ingredients
from didgen.manifests.provenance.model_files import MODEL_INDEXES, config_files, configs_of
from didgen.manifests.provenance.trained_on import CARD_NAME, TRAINED_ON_NAME, TrainedOn
from didgen.manifests.recipes.augment import AugmentRecipe
from didgen.manifests.recipes.finetune import FinetuneRecipe
from didgen.manifests.recipes.fingerprint import fingerprint
from didgen.manifests.shards.index import Ingredient, read_manifest
from didgen.manifests.sources.records import SourceRecord

R = TypeVar("R", AugmentRecipe, FinetuneRecipe)

MINI = Path(__file__).parents[2] / "augment" / "mini"
"""The bundled model; a recipe calls it `mini`."""

CAPTIONS_NAME = "captions.jsonl"
"""What a model was trained to be told, beside it: a label and a caption a line."""


def model_place(model: str) -> Path:
    """The folder or the file of a local model; for a hub id, a path that does not exist."""
    return MINI if model == "mini" else Path(model)


def model_hashes(model: str, revision: str | None) -> dict[str, str]:
    """SHA-256 of every file of a local model that decides a sample; a hub model's id and revision.

    Its card and the list of its training images do not, nor do what git, a download or an editor
    keeps beside it: hidden files and folders, `LITTER`, and names that end in `~`. A model in one
    file is that file and its configs.
    """
    folder = model_place(model)
    if folder.is_file():
        configs = configs_of(folder)
        read = {str(path.relative_to(configs)): path for path in config_files(configs)}
        return {name: sha256_of(path) for name, path in ({folder.name: folder} | read).items()}
    if not folder.is_dir():
        return {model: revision or ""}
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path.suffix != ".md"
        and path != folder / TRAINED_ON_NAME
        and not is_litter(path.name)
        and not any(p[0] == "." or p[-1] == "~" for p in path.relative_to(folder).parts)
    )
    return {str(file.relative_to(folder)): sha256_of(file) for file in files}


def pinned(recipe: R) -> R:
    """A recipe whose model was loaded; one of the hub by its commit, since branches move on."""
    if recipe.model is None or model_place(recipe.model).exists():
        return recipe
    cached = (
        try_to_load_from_cache(recipe.model, name, revision=recipe.revision)
        for name in MODEL_INDEXES
    )
    found = next((path for path in cached if isinstance(path, str)), None)
    commit = recipe.revision if found is None else Path(found).parent.name
    return recipe.model_copy(update={"revision": commit})


def ingredients(
    recipe: AugmentRecipe | FinetuneRecipe, records: Iterable[SourceRecord]
) -> list[Ingredient]:
    """The models of a recipe and the records of its source that it uses, where it has them.

    The hash of a local model is that of its `model_hashes`; a model of the hub is told by id and
    revision. The licence of a model is that of its card.
    """
    data = data_ingredients(records)
    if recipe.model is None:
        return data
    models = [_model_ingredient(recipe.model, recipe.revision)]
    if isinstance(recipe, AugmentRecipe) and recipe.sampling.autoguidance is not None:
        models.append(_model_ingredient(str(recipe.sampling.autoguidance), None))
    return [*models, *data]


def _model_ingredient(model: str, revision: str | None) -> Ingredient:
    name = without_folders(model)
    local = model_place(model).exists()
    return Ingredient(
        kind="model",
        name=f"{name} at {revision}" if revision else name,
        licence=card_licence(beside(model, revision, CARD_NAME)),
        sha256=fingerprint(model_hashes(model, revision)) if local else "",
    )


def trained_on(model: str | None, revision: str | None = None) -> TrainedOn:
    """The real images that a model was trained on; empty where it has no list, or is none."""
    path = beside(model, revision, TRAINED_ON_NAME) if model else None
    return TrainedOn.read(path) if path and path.is_file() else TrainedOn()


def unlisted(model: str | None, seen: TrainedOn) -> dict[str, str]:
    """What is decided and said where nobody lists what a model was trained on; else nothing."""
    if model is None or seen:
        return {}
    return {
        "contamination": f"unknown, because no {TRAINED_ON_NAME} was found for "
        f"{without_folders(model)}: see to it "
        "yourself that it was not trained on what you test on"
    }


def unlisted_run(run: Path) -> str | None:
    """The sentence on a finished run without a list of what its model was trained on."""
    if TRAINED_ON_NAME in read_manifest(run).documents:
        return None
    return (
        f"{run} has no {TRAINED_ON_NAME}: see to it yourself that its model was not trained on "
        "what the source holds out."
    )


def beside(model: str, revision: str | None, name: str) -> Path:
    """Where a file beside a model lies, fetched if it is one of the hub; the path may not exist."""
    place = model_place(model)
    if not place.exists():
        try:
            return Path(hf_hub_download(model, name, revision=revision))
        except (OSError, HFValidationError):
            pass
    return (place.parent if place.is_file() else place) / name
