"""The opening of a Stable Diffusion model for a recipe: what it can do, by its configs alone."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from didgen.augment.methods.generator import Deferred, Opened
from didgen.augment.models.configs import (
    KINDS,
    Configs,
    check_pndm,
    check_sides,
    check_timestep,
)
from didgen.augment.models.cost import Network
from didgen.augment.models.place import found, loading
from didgen.augment.models.tokens import counter, read_tokenizer
from didgen.augment.prompts.prompt import P_TOKENS
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.augment import AugmentRecipe
from didgen.manifests.recipes.sampling import Sampling

if TYPE_CHECKING:
    from didgen.augment.methods.guided_diffusion import GuidedDiffusion


def open_diffusion(recipe: AugmentRecipe) -> Opened:
    """Open a recipe's Stable Diffusion model with its P-Tokens; its weights are read later.

    Raises DidgenError for a model that is not there or is of another kind, one without P-Tokens,
    and a sampling that it cannot do.
    """
    with loading(recipe.model):
        place = found(recipe.model, recipe.revision)
        configs = Configs.read(place)
        _check_sampling(recipe, configs)
        network = Network.of(place, configs.latent_side)
    tokenizer = read_tokenizer(str(place))
    known = tokenizer.get_vocab()
    if missing := [token for token in P_TOKENS if token not in known]:
        raise DidgenError(
            f"The model {recipe.model} does not know {' and '.join(missing)}; "
            "run `didgen finetune` on it first."
        )

    _check_weaker(recipe, configs, known)

    def load() -> "GuidedDiffusion":
        from didgen.augment.methods.guided_diffusion import load_diffusion

        return load_diffusion(recipe)

    return Opened(
        Deferred(load),
        configs.image_size,
        counter(tokenizer),
        varies=True,
        decided=sampling_decided(recipe.sampling),
        network=network,
    )


def sampling_decided(sampling: Sampling) -> dict[str, str]:
    """What a run records of how a diffusion model is sampled."""
    return {
        "sampling": f"{sampling.scheduler}, {sampling.steps} steps, guidance {sampling.cfg}, "
        f"batches of {sampling.batch_size}, because the recipe says so"
    }


def _check_weaker(recipe: AugmentRecipe, configs: Configs, known: Mapping[str, int]) -> None:
    """Raise DidgenError for a weaker model that is not of the kind of the recipe's own."""
    folder = recipe.sampling.autoguidance
    if folder is None:
        return
    if recipe.sampling.cfg == 1:
        raise DidgenError(
            "`sampling.autoguidance` is asked for and `sampling.cfg` is 1, which leads nowhere; "
            "raise it."
        )
    if configs.unet.get("addition_embed_type"):
        raise DidgenError(
            f"`sampling.autoguidance` leads away from a model of one text encoder, and that of "
            f"{recipe.model} has two; leave it out."
        )
    with loading(str(folder)):
        place = found(str(folder), None)
        other = Configs.read(place)
    alike = (
        ("vocabulary", known, read_tokenizer(str(place)).get_vocab()),
        ("size", configs.image_size, other.image_size),
        (
            "kind of prediction",
            configs.scheduler.get("prediction_type"),
            other.scheduler.get("prediction_type"),
        ),
    )
    for name, own, its in alike:
        if own != its:
            raise DidgenError(
                f"`sampling.autoguidance` is {folder}, whose {name} is not that of {recipe.model}; "
                "give an earlier checkpoint of the same training."
            )


def _check_sampling(recipe: AugmentRecipe, configs: Configs) -> None:
    """Raise DidgenError for a sampling that the model cannot do, before there is a folder of it."""
    sampling = recipe.sampling
    if sampling.scheduler == "pndm":
        check_pndm(configs.scheduler)
    check_timestep(configs.timesteps, sampling.annotation)
    if sampling.steps > configs.timesteps:
        raise DidgenError(
            f"`sampling.steps` is {sampling.steps}, but the model {recipe.model} knows "
            f"{configs.timesteps} timesteps; lower it."
        )
    sides = configs.attention_sides(sampling.maps.parts)
    for kind in KINDS if recipe.pairs else ():
        check_sides(kind, sampling.maps, configs.latent_side, sides)
