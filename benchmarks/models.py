"""Models to measure on: Stable Diffusion 2.1's shape, small and real, and the bundled model."""

from typing import Literal

import torch
from diffusers import (
    AutoencoderKL,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel

from didgen.augment.conditioning.p_tokens import add_p_tokens
from didgen.augment.diffusion.model_folder import load_pipeline
from didgen.augment.diffusion.pipeline import LesionPairPipeline
from didgen.augment.diffusion.small_model import TOKENS, build_scheduler, build_tokenizer
from didgen.augment.prompts.prompt import compose

CAPTION = "melanoma, a medium oval dark brown and black lesion at the center, light pink skin."
PROMPT = compose(CAPTION)

Model = Literal["tiny", "sd21-small", "sd21", "mini"]

SHAPES = {
    # channels of the UNet, its heads, channels of the autoencoder, text width and layers
    "tiny": ((16, 32, 32, 32), (1, 2, 2, 2), (8, 8, 8, 8), 32, 1),
    "sd21-small": ((64, 128, 256, 256), (1, 2, 4, 4), (32, 64, 128, 128), 256, 4),
    "sd21": ((320, 640, 1280, 1280), (5, 10, 20, 20), (128, 256, 512, 512), 1024, 23),
}


def load(model: Model) -> LesionPairPipeline:
    """A pipeline to measure on, silent; those of Stable Diffusion's shape have random weights.

    Their UNet has SD 2.1's levels, 64, 32, 16 and 8, two layers a block and heads of 64 channels.
    """
    pipeline = load_pipeline("mini") if model == "mini" else _random(model)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to("cuda" if torch.cuda.is_available() else "cpu")


def _random(model: Model) -> LesionPairPipeline:
    channels, heads, vae_channels, text_width, text_layers = SHAPES[model]
    torch.manual_seed(0)
    tokenizer = build_tokenizer([CAPTION], 700)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=text_width,
            intermediate_size=4 * text_width,
            num_hidden_layers=text_layers,
            num_attention_heads=max(1, text_width // 64),
            max_position_embeddings=TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    add_p_tokens(tokenizer, text_encoder)
    unet = UNet2DConditionModel(
        sample_size=64,
        block_out_channels=channels,
        attention_head_dim=heads,
        cross_attention_dim=text_width,
        use_linear_projection=True,
        norm_num_groups=min(32, channels[0]),
    )
    vae = AutoencoderKL(
        block_out_channels=vae_channels,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=min(32, vae_channels[0]),
    )
    return LesionPairPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=build_scheduler("epsilon"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def disc(count: int) -> torch.Tensor:
    """A layout (count, 1, 256, 256): a disc in the middle."""
    rows, columns = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
    layout = ((rows - 128) ** 2 + (columns - 128) ** 2 <= 60**2).float()
    return layout.expand(count, 1, 256, 256)
