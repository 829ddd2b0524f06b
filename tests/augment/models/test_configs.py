"""Tests of configs: what they say of layers is what the layers of the network are."""

import json
from pathlib import Path

import pytest

from didgen.augment.models.configs import KINDS, PARTS, Configs, check_sides
from didgen.augment.models.place import ModelFault
from didgen.manifests.errors import DidgenError
from didgen.manifests.provenance.models import MINI
from didgen.manifests.recipes.augment import AugmentRecipe
from didgen.manifests.recipes.finetune import FinetuneRecipe
from didgen.manifests.recipes.reading import read_recipe
from didgen.manifests.recipes.sampling import AttentionMaps

SHAPES = [
    {},
    {"sample_size": 33},
    {"down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"]},
    {"up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"]},
]


@pytest.mark.parametrize("changed", SHAPES)
def test_sides_are_those_of_the_layers(changed: dict[str, object]) -> None:
    import torch
    from diffusers import UNet2DConditionModel

    from didgen.augment.diffusion.attention import layer_side

    said = json.loads((MINI / "unet" / "config.json").read_text()) | changed
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(said)
    configs = Configs(said, {})
    for part in PARTS:
        for kind in KINDS:
            names = [n for n in unet.attn_processors if n.startswith(part) and f".{kind}." in n]
            sides = {layer_side(unet, name, configs.latent_side) for name in names}
            assert configs.attention_sides([part]) == sides


def test_a_side_that_no_layer_has_is_refused_with_those_there_are() -> None:
    check_sides("attn2", AttentionMaps(cross_side=16), 32, {16, 8})
    with pytest.raises(DidgenError, match=r"no 7x7 cross-attention layer .*, only 16x16, 8x8; use"):
        check_sides("attn2", AttentionMaps(cross_side=7), 32, {16, 8})


def test_a_unet_of_no_one_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text('{"sample_size": [64, 48]}')
    with pytest.raises(ModelFault, match=r"`sample_size` is \[64, 48\]"):
        Configs.read(tmp_path)


def test_the_recipes_of_sdxl_name_sides_that_it_has() -> None:
    """By the config of the UNet of stable-diffusion-xl-base-1.0."""
    unet = {
        "sample_size": 128,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "mid_block_type": "UNetMidBlock2DCrossAttn",
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    }
    configs = Configs(unet, {})
    trained = read_recipe("isic2018-sdxl", FinetuneRecipe)
    drawn = read_recipe("isic2018-sdxl-augment", AugmentRecipe)
    assert configs.image_size == trained.image_size == 1024
    for maps in (trained.maps, trained.sampling.maps, drawn.sampling.maps):
        sides = configs.attention_sides(maps.parts)
        assert sides == {maps.cross_side, maps.self_side}
        for kind in KINDS:
            check_sides(kind, maps, configs.latent_side, sides)
