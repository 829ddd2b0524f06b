"""The index as it is published: the records of a run without absolute paths."""

from collections.abc import Iterable
from pathlib import Path

from didgen.manifests.privacy.paths import shareable, without_folders, without_path
from didgen.manifests.shards.index import Ingredient, Manifest, Run


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
