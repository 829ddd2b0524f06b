"""The model card: what a finetuned model was trained on, with which recipe and licence."""

from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import ModelCardData

from didgen.manifests.provenance.dataset_card import (
    Block,
    environment,
    licence_fields,
    recipe_block,
)
from didgen.manifests.provenance.licence import strictest
from didgen.manifests.provenance.model_method import ModelMethod
from didgen.manifests.shards.index import Ingredient


def model_card(recipe: Mapping[str, Any], made_from: Sequence[Ingredient]) -> str:
    """The README.md of a model that `didgen finetune` made, by a recipe, of what is named."""
    licence = strictest(made_from)
    header = ModelCardData(
        library_name="diffusers",
        pipeline_tag="text-to-image",
        tags=["dermoscopy", "stable-diffusion", "not-for-diagnosis", "didgen"],
        **licence_fields(licence),
    ).to_yaml()
    return (
        environment()
        .get_template("model.md")
        .render(
            header=Block(f"---\n{header}\n---"),
            licence=licence,
            made_from=made_from,
            losses=_losses(recipe),
            recipe=recipe_block(recipe),
        )
    )


def _losses(recipe: Mapping[str, Any]) -> str:
    """By which losses a recipe finetunes, as a sentence: DiDGen's, or a rival's."""
    if recipe.get("prior"):
        steps, images = recipe["steps"], recipe["batch_size"]
        return (
            f"It is a port of DreamBooth (Ruiz et al., CVPR 2023) at {steps} steps of {images} "
            "images, not the model of a paper."
        )
    if not recipe.get("attention_weight") and not recipe.get("leak_weight"):
        return "It was finetuned by Eq. 1 of DiDGen's paper alone, without the losses it adds."
    return "The method is DiDGen (Shentu, Watson, Al Moubayed; MICCAI 2025)."


RIVALS = {
    "stylegan": "SL-StyleGAN (Qin et al., 2020)",
    "pgan": "PGAN (Karras et al., ICLR 2018)",
    "pix2pixhd": "Pix2PixHD (Wang et al., CVPR 2018)",
    "controlnet": "ControlNet (Zhang et al., ICCV 2023)",
}
"""The rivals by their method, with what they are a port of."""


def rival_card(
    method: ModelMethod, recipe: Mapping[str, Any], made_from: Sequence[Ingredient]
) -> str:
    """The README.md of a rival: a port, named by how long it was trained, never the paper's own."""
    licence = strictest(made_from)
    header = ModelCardData(
        library_name="didgen",
        tags=["dermoscopy", method.method, "not-for-diagnosis", "didgen"],
        **licence_fields(licence),
    ).to_yaml()
    return (
        environment()
        .get_template("rival.md")
        .render(
            header=Block(f"---\n{header}\n---"),
            licence=licence,
            made_from=made_from,
            method=method,
            port_of=RIVALS[method.method],
            recipe=recipe_block(recipe),
        )
    )
