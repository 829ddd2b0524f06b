"""The training images of a finetuning: the subset a recipe names, and the words each is shown with.

Notable choices:
- No torch is imported, so that a command can report faulty data before its heavy imports.
- The records keep their own captions: the words that the model reads are asked for one by one.
"""

from collections.abc import Iterable

from didgen.augment.prompts.prompt import diagnosis
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.training import TrainingRecipe
from didgen.manifests.sources.records import SourceManifest, SourceRecord
from didgen.manifests.sources.subset import subset as nested_subset


def read_training_images(recipe: TrainingRecipe) -> tuple[SourceManifest, list[SourceRecord]]:
    """Read the source of a recipe: its manifest, and those training images the recipe lets through.

    Raises DidgenError for a source without training masks, a collection or a class that it does not
    have, a subset that is empty, and one without the captions or labels that `prompt` asks for.
    """
    manifest = SourceManifest.read(recipe.source)
    masked = manifest.select(split="train", masked=True)
    if not masked:
        raise DidgenError(
            f"{recipe.source} has no training image with a mask; import masks too, or have them "
            f"drawn by `didgen annotate {recipe.source}`."
        )
    _check("collections", "collection", recipe.collections or (), {r.source for r in masked})
    _check("exclude", "class", recipe.exclude, manifest.header.classes)
    records = subset(recipe, masked)
    if not records:
        raise DidgenError(
            f"`collections` and `exclude` leave none of the {len(masked)} training images with a "
            f"mask in {recipe.source}; let more through."
        )
    if recipe.subset is not None:
        if recipe.subset.k > len(records):
            raise DidgenError(
                f"`subset` asks for {recipe.subset.k} training images and {recipe.source} has "
                f"{len(records)} of these; ask for fewer."
            )
        kept = nested_subset((r.key for r in records), recipe.subset.k, recipe.subset.seed)
        records = [record for record in records if record.key in kept]
    if recipe.prompt == "caption" and not any(record.caption for record in records):
        raise DidgenError(f"{recipe.source} has no captions; run `didgen caption` on it first.")
    if recipe.prompt == "class" and not any(record.label for record in records):
        raise DidgenError(
            f"`prompt: class` needs labels, and none of the {len(records)} training images from "
            f"{recipe.source} has one; say `prompt: prefix`, or `prompt: caption`."
        )
    return manifest, records


def subset(recipe: TrainingRecipe, records: Iterable[SourceRecord]) -> list[SourceRecord]:
    """Those records that the recipe's `collections` and `exclude` let through, in their order.

    An image without a label is of no class, so `exclude` keeps it.
    """
    return [
        record
        for record in records
        if (recipe.collections is None or record.source in recipe.collections)
        and record.label not in recipe.exclude
    ]


def words_of(recipe: TrainingRecipe, record: SourceRecord) -> str | None:
    """The words that follow the prefix in the prompt of an image; None for the prefix alone."""
    if recipe.prompt == "caption":
        return record.caption
    if recipe.prompt == "class" and (name := diagnosis(record.label)):
        # A caption that is thinned to its first clause reads the same.
        return f"{name}."
    return None


def _check(field: str, noun: str, named: Iterable[str], known: Iterable[str]) -> None:
    """Raise DidgenError for a name in a recipe's field that the source does not have."""
    if unknown := sorted(set(named) - set(known)):
        raise DidgenError(
            f"`{field}` names the {noun} {unknown[0]}, which is not among "
            f"{', '.join(sorted(known))}."
        )
