"""The rehearsal of a training: all of it that can be checked and told before anything is loaded."""

from collections.abc import Iterator
from pathlib import Path

from didgen.augment.finetuning.training_images import read_training_images
from didgen.augment.models.configs import KINDS, Configs, check_sides
from didgen.augment.models.cost import Cost, Network, check_room
from didgen.augment.models.place import found, is_of_hub, loading
from didgen.manifests.errors import DidgenError
from didgen.manifests.provenance.models import trained_on, unlisted
from didgen.manifests.recipes.finetune import FinetuneRecipe
from didgen.manifests.recipes.training import TrainingRecipe
from didgen.manifests.runs.claim import claim_of
from didgen.manifests.sources.records import SourceManifest

CHECKPOINTS = 3
"""Checkpoints on disk at most: the two that are kept, and the one that is being written."""


def rehearse(recipe: TrainingRecipe, out: Path | None) -> Iterator[str]:
    """Check source, captions, model, maps and drive; yields sentences on what there is to do.

    Raises DidgenError for what the training itself would refuse, as far as files tell it.
    """
    manifest, records = read_training_images(recipe)
    lesions = len({record.lesion_id for record in records})
    yield f"{len(records)} training images of {lesions} lesions, from {recipe.source}"
    if out is not None and claim_of(out) is not None:
        yield f"{out} was begun; it goes on, if this is its recipe"
    if not isinstance(recipe, FinetuneRecipe):
        return
    if recipe.perceptual is not None and not recipe.perceptual.weights.is_file():
        raise DidgenError(
            f"{recipe.perceptual.weights} does not exist; name the file of the weights that "
            "`perceptual` measures with."
        )
    if recipe.model is None:
        return
    if is_of_hub(recipe.model):
        yield f"The model {recipe.model} is of the hub; the training fetches it, and checks it then"
        return
    cost = _checked(recipe, recipe.model, manifest)
    yield from unlisted(recipe.model, trained_on(recipe.model, recipe.revision)).values()
    check_room(out, cost)
    yield f"{recipe.steps} steps of {recipe.batch_size} images. {cost.in_words()}"


def _checked(recipe: FinetuneRecipe, model: str, manifest: SourceManifest) -> Cost:
    """The cost of training a model, which can do what the recipe asks."""
    with loading(model):
        place = found(model, recipe.revision)
        configs = Configs.read(place).at(recipe.image_size // 8)
        for maps in (recipe.maps, recipe.sampling.maps):
            sides = configs.attention_sides(maps.parts)
            for kind in KINDS:
                check_sides(kind, maps, configs.latent_side, sides)
        network = Network.of(place, configs.latent_side)
    trained_on(model, recipe.revision).check(f"The model {model}", recipe.source, manifest)
    # A checkpoint has the weights and both moments of Adam; of LoRA these are small.
    each = 0 if recipe.lora else 3 + (recipe.ema_decay is not None)
    batch = recipe.batch_size * recipe.gradient_accumulation
    return network.training(recipe.steps, batch, copies=CHECKPOINTS * each + 2)
