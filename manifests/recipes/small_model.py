"""What a small model that is built from nothing looks like, and how its autoencoder is trained.

Its perceptual loss is one that the UNet of any model can have too.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from didgen.manifests.recipes.fields import Count, LocalPath, Positive, Rate, Section, Width


class Perceptual(Section):
    """A perceptual loss: how far apart a pretrained network of timm sees two images."""

    weights: LocalPath
    """Its weights, a safetensors file."""
    network: str = "tf_efficientnet_lite0"
    stages: Annotated[tuple[Count, ...], Field(min_length=1)] = (0, 1, 2, 3)
    """The first are the finest."""
    downsample: Positive = 1
    """Factor by which images are averaged down before the network sees them: what a network of
    smaller images never sees is then not paid for with what it does see."""
    weight: Rate = 0.25


class AutoencoderStage(Section):
    """Training of the autoencoder of a model built from a config."""

    channels: Annotated[int, Field(ge=3)] = 32
    encoder_blocks: tuple[int, int, int, int] = (0, 1, 1, 2)
    decoder_blocks: tuple[int, int, int, int] = (2, 2, 1, 1)
    crop: Annotated[int, Field(ge=16, multiple_of=8)] = 128
    steps: Count = 2000
    """0 leaves the autoencoder of `model` as it is."""
    batch_size: Positive = 8
    learning_rate: Rate = 5e-4
    perceptual: Perceptual | None = None
    """Added to L1 and SSIM, which alone leave what a thumbnail shows."""


class Build(Section):
    """A small Stable Diffusion model built from nothing instead of loaded: its shape."""

    autoencoder: AutoencoderStage = AutoencoderStage()
    unet_channels: Annotated[tuple[Width, ...], Field(min_length=3)] = (64, 128, 192)
    unet_layers: Positive = 1
    head_channels: Positive = 32
    text_width: Positive = 128
    text_layers: Positive = 3
    text_heads: Positive = 4
    vocabulary: Annotated[int, Field(ge=514)] = 1000
    prediction_type: Literal["epsilon", "v_prediction", "sample"] = "v_prediction"

    @model_validator(mode="after")
    def heads_share_the_width(self) -> Self:
        if self.text_width % self.text_heads:
            raise ValueError("`text_width` must be a multiple of `text_heads`")
        return self
