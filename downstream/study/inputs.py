"""Inputs: what decides a stage, so that its folder may be named by it.

Notable choices:
- A path is replaced by a digest of what lies there: a source that has moved gives the same name,
  one that has changed another.
- What changes the speed of a stage, or where its records go, is left out. So are fields that a
  benchmark does not set: a field that a later didgen adds gives no stage another name.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from didgen.manifests.files import sha256_of
from didgen.manifests.provenance.models import model_hashes, model_place
from didgen.manifests.recipes.augment import AugmentRecipe
from didgen.manifests.recipes.augment import asked as asked_of_augment
from didgen.manifests.recipes.fields import Section
from didgen.manifests.recipes.fingerprint import fingerprint
from didgen.manifests.recipes.training import TrainingRecipe
from didgen.manifests.recipes.training import asked as asked_of_training
from didgen.manifests.shards.index import MANIFEST_NAME
from didgen.manifests.sources.records import HEADER_FILE, RECORDS_FILE, SourceManifest

FREE = frozenset({"records", "trackers", "keep_weights"})
"""Fields of a benchmark that decide no figure."""


def decided_by(recipe: Section, products: Mapping[str, str]) -> Any:
    """What decides the result of a recipe, as a JSON value without paths.

    products: the digest of the stage by the place of its product, which need not be there yet.
    """
    paths = {*_paths(recipe.model_dump())}

    def replaced(name: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: replaced(str(key), inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [replaced(name, inner) for inner in value]
        if not isinstance(value, str):
            return value
        if (product := _product(value, products)) is not None:
            return product
        if name == "model" and model_place(value).exists():
            return model_hashes(value, None)
        return digest_of(Path(value)) if value in paths else value

    return replaced("", _asked(recipe))


def missing(recipe: Section, products: Mapping[str, str]) -> list[str]:
    """The files and folders that a recipe names, that no stage makes, and that are not there."""
    found = dict.fromkeys(_paths(recipe.model_dump()))
    return [
        place
        for place in found
        if _product(place, products) is None and "{" not in place and not Path(place).exists()
    ]


def digest_of(place: Path) -> str:
    """A digest of a file, a source, a run or a model; its name where nothing is there."""
    if place.is_file():
        return sha256_of(place)
    if (place / HEADER_FILE).is_file():
        header = SourceManifest.read(place).header
        said = header.model_dump(mode="json", exclude={"root", "didgen_version"})
        return fingerprint([said, sha256_of(place / RECORDS_FILE)])
    if (place / MANIFEST_NAME).is_file():
        return sha256_of(place / MANIFEST_NAME)
    return fingerprint(model_hashes(str(place), None)) if place.is_dir() else str(place)


def work(recipe: Section) -> float | None:
    """How much there is to do, in units of its own command; None where a recipe does not say."""
    if isinstance(recipe, AugmentRecipe):
        per_class = 0 if recipe.images is None else recipe.images.per_class
        pairs = 0 if recipe.pairs is None else recipe.pairs.count
        return float(per_class + pairs) if isinstance(per_class, int) else None
    said = recipe.model_dump(exclude_none=True)
    if "networks" in said:
        return float(sum(trainings(recipe).values()))
    return float(said["steps"] * said.get("batch_size", 1)) if "steps" in said else None


def trainings(recipe: Section) -> dict[str, int]:
    """Steps of all trainings of a benchmark at most, by the key of the network; epochs where its
    recipe says no steps."""
    from didgen.downstream.benchmark.recipe import BenchmarkRecipe

    assert isinstance(recipe, BenchmarkRecipe), "only benchmarks train networks"
    each = recipe.at_most() * (recipe.max_steps or recipe.epochs)
    asked = recipe.model_dump(mode="json", include={"image_size", "batch_size"})
    found: dict[str, int] = {}
    for network in recipe.networks:
        key = network_key(network.model_dump(mode="json"), asked)
        found[key] = found.get(key, 0) + each
    return found


def network_key(network: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
    """What decides how long a step takes: the network, and the size of image and batch."""
    sizes = {name: recipe[name] for name in ("image_size", "batch_size")}
    return fingerprint([network["name"], network["arguments"], sizes])


def _asked(recipe: Section) -> dict[str, Any]:
    if isinstance(recipe, AugmentRecipe):
        return asked_of_augment(recipe)
    if isinstance(recipe, TrainingRecipe):
        return asked_of_training(recipe)
    return recipe.model_dump(mode="json", exclude=set(FREE), exclude_defaults=True)


def _product(value: str, products: Mapping[str, str]) -> str | None:
    """The digest of the stage whose product is at a place or holds it, and the way inside."""
    for place, digest in products.items():
        if value == place or value.startswith(f"{place}/"):
            return digest + value.removeprefix(place)
    return None


def _paths(value: Any) -> Iterator[str]:
    """Every path in the fields of a recipe, and every file of weights."""
    if isinstance(value, Path):
        yield str(value)
    elif isinstance(value, str):
        if value.endswith(".safetensors"):
            yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _paths(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _paths(inner)
