"""The index as it is published: the records of a run without paths and, if asked, names."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from didgen.manifests.privacy.paths import (
    LEFT_OUT,
    LOCAL_MODEL,
    shareable,
    without_folders,
    without_model,
    without_path,
)
from didgen.manifests.shards.index import Ingredient, Manifest, Run
from didgen.manifests.sources.records import SourceRecord

_PATHS = ("source", "run", "captions", "images", "labels", "masks")
"""Fields of recipes that name a folder or a file of this machine."""


def shareable_run(run: Run, directory: Path) -> Run:
    """The first record of the run in `directory`, without absolute paths."""
    return run.model_copy(update={"recipe": shareable(run.recipe, directory)})


def shareable_ingredients(made_from: Iterable[Ingredient]) -> list[Ingredient]:
    """Models and data by name alone, where a name is a path."""
    return [one.model_copy(update={"name": without_folders(one.name)}) for one in made_from]


def shareable_manifest(manifest: Manifest, directory: Path) -> Manifest:
    """The last record of the run in `directory`, without absolute paths."""
    decisions = {
        name: without_path(value) if isinstance(value, str) else value
        for name, value in manifest.decisions.items()
    }
    return manifest.model_copy(
        update={
            "recipe": shareable(manifest.recipe, directory),
            "decisions": shareable(decisions, directory),
            "made_from": shareable_ingredients(manifest.made_from),
        }
    )


def nameless_ingredients(
    made_from: Iterable[Ingredient], own: Iterable[SourceRecord]
) -> list[Ingredient]:
    """Models and data without the names of folders: of local models, and of people's own images."""
    folders = {record.source for record in own}

    def nameless(one: Ingredient) -> Ingredient:
        folder, _, count = one.name.rpartition(", ")
        if one.kind == "data":
            return one.model_copy(update={"name": count}) if folder in folders else one
        return one.model_copy(update={"name": LOCAL_MODEL}) if _is_local(one) else one

    return [nameless(one) for one in made_from]


def nameless_recipe(recipe: Mapping[str, Any], made_from: Iterable[Ingredient]) -> dict[str, Any]:
    """A recipe without the paths of its inputs."""
    # `images` of a recipe of augment is a section, and no path.
    fields = {name for name in _PATHS if recipe.get(name) and isinstance(recipe[name], str)}
    if any(map(_is_local, made_from)):
        fields |= {"model"} & recipe.keys()
    return {**recipe, **dict.fromkeys(fields, LEFT_OUT)}


def nameless_manifest(manifest: Manifest, own: Iterable[SourceRecord]) -> Manifest:
    """The last record of a run without names of folders and models of this machine."""
    decisions = {
        name: without_model(value) if isinstance(value, str) else value
        for name, value in manifest.decisions.items()
    }
    return manifest.model_copy(
        update={
            "recipe": nameless_recipe(manifest.recipe, manifest.made_from),
            "decisions": decisions,
            "made_from": nameless_ingredients(manifest.made_from, own),
        }
    )


def _is_local(one: Ingredient) -> bool:
    """Whether an ingredient is a model in a folder of this machine, which alone has a hash."""
    return one.kind == "model" and bool(one.sha256) and one.name != "mini"
