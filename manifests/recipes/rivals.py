"""The recipes of the rivals: the methods that the paper compares DiDGen with.

Defaults are a rival's own settings, as its source has them. What a source leaves open, and what is
changed for few images or 2 cores, is a field.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from didgen.manifests.choices import PromptForm
from didgen.manifests.recipes.fields import Count, Positive, Rate, Section, Share
from didgen.manifests.recipes.finetune import FinetuneRecipe
from didgen.manifests.recipes.small_model import Perceptual
from didgen.manifests.recipes.training import TrainingRecipe

Channels = Annotated[tuple[Positive, ...], Field(min_length=2)]

Weight = Annotated[float, Field(ge=0)]


class GanRecipe(TrainingRecipe):
    """What the recipes of all GANs share."""

    prompt: Literal["class", "prefix"] = "class"
    """`class` trains on labelled classes. `prefix` looks at no label: all images are of one kind,
    as in the paper's Table 1."""
    mixed_precision: Literal["no", "bf16"] = "no"
    """Penalties on gradients are of float32 in every source; fp16 has no room for them."""


class ClassGanRecipe(GanRecipe):
    """What the recipes of GANs share that draw images of a class."""

    conditional: bool = False
    """One net for all classes, which it is told; false is a net for each class, as in the source of
    SL-StyleGAN. A net of its own for a class of 90 images learns them by heart."""
    diff_augment: bool = False
    """Show the discriminator real and drawn images alike through random colours, shifts and holes
    (DiffAugment: Zhao et al., NeurIPS 2020), for few images; none in the sources."""


class StyleGanNetwork(Section):
    """The nets of SL-StyleGAN."""

    latent: Positive = 100
    style: Positive = 512
    mapping_layers: Positive = 8
    channels: Channels = (512, 256, 192, 128, 64, 32, 16)
    """Of the generator, a block each from 4x4 on; the last block is of the image's size."""
    discriminator: tuple[Positive, ...] = (16, 32, 64, 128, 192, 256)
    """Of the discriminator, a block each from the image's size down to 4x4."""
    dense: Positive = 128
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.6

    @model_validator(mode="after")
    def blocks_of_the_same_sizes(self) -> Self:
        if len(self.discriminator) != len(self.channels) - 1:
            raise ValueError(
                "`discriminator` needs a block less than `channels`: one for each halving"
            )
        return self


class StyleGanRecipe(ClassGanRecipe):
    """SL-StyleGAN (Qin et al., 2020), by the settings of its public code (eed9ac5)."""

    method: Literal["stylegan"] = "stylegan"
    image_size: Positive = 256
    steps: Positive = 20_000
    batch_size: Annotated[int, Field(ge=2)] = 16
    learning_rate: Rate = 1e-4
    r1_weight: Weight = 5.0
    """Weight of R1, the squared gradient of the discriminator at real images (Mescheder et al.,
    ICML 2018)."""
    r1_every: Positive = 1
    """Steps between two penalties, each of as many times the weight (lazy regularisation: Karras
    et al., CVPR 2020); 1 in the source."""
    network: StyleGanNetwork = StyleGanNetwork()

    @model_validator(mode="after")
    def a_side_of_its_blocks(self) -> Self:
        side = 4 * 2 ** (len(self.network.channels) - 1)
        if self.image_size != side:
            raise ValueError(
                f"`network.channels` has {len(self.network.channels)} blocks, which end at {side} "
                f"pixels a side; `image_size` is {self.image_size}"
            )
        return self


class PganNetwork(Section):
    """The nets of PGAN: both have the same channels."""

    latent: Positive = 512
    channels: Channels = (512, 512, 512, 512, 256, 128, 64)
    """A level each from 4x4 on."""
    group: Positive = 4
    """Images over which the minibatch deviation is taken."""


class PganRecipe(ClassGanRecipe):
    """PGAN: progressive growing with WGAN-GP (Karras et al., ICLR 2018)."""

    method: Literal["pgan"] = "pgan"
    image_size: Positive = 256
    learning_rate: Rate = 1e-3
    ema_decay: Share | None = 0.999
    fade_kimg: Rate = 600.0
    """Thousands of images during which a new level is faded in; the first one is not."""
    stable_kimg: Rate = 600.0
    """Thousands of images that each level is trained with afterwards."""
    batch_sizes: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(min_length=2)] = (
        128,
        128,
        128,
        64,
        32,
        16,
        8,
    )
    """Of each level from 4x4 on."""
    penalty: Weight = 10.0
    """Weight of the gradient penalty (Gulrajani et al., NeurIPS 2017), whose target norm is 1."""
    drift: Weight = 1e-3
    """Weight of the squared output for real images, which keeps it near 0."""
    class_weight: Weight = 1.0
    """Weight of the class that the discriminator reads (AC-GAN), where nets are conditional."""
    network: PganNetwork = PganNetwork()

    @model_validator(mode="after")
    def levels_that_fit(self) -> Self:
        levels = len(self.network.channels)
        if self.image_size != 4 * 2 ** (levels - 1):
            raise ValueError(
                f"`network.channels` has {levels} levels, which end at {4 * 2 ** (levels - 1)} "
                f"pixels a side; `image_size` is {self.image_size}"
            )
        if len(self.batch_sizes) != levels:
            raise ValueError(f"`batch_sizes` needs a number for each of the {levels} levels")
        return self


class Pix2PixHdNetwork(Section):
    """The nets of Pix2PixHD: its global generator, and PatchGANs at falling sizes."""

    channels: Positive = 64
    downsamplings: Positive = 4
    blocks: Positive = 9
    discriminator_channels: Positive = 64
    discriminator_layers: Positive = 3
    scales: Positive = 2
    noise_channels: Count = 0
    """Channels of noise beside the mask. With 0, as in the source, a mask has one image, whatever
    the seed."""


class Pix2PixHdRecipe(GanRecipe):
    """Pix2PixHD (Wang et al., CVPR 2018): an image of a mask, the mask's pair."""

    method: Literal["pix2pixhd"] = "pix2pixhd"
    prompt: Literal["class", "prefix"] = "prefix"
    """Masks alone say what is drawn, as in the source; the class is that of the mask's image."""
    image_size: Annotated[int, Field(ge=32, multiple_of=8)] = 512
    steps: Positive = 500_000
    """The source trains 200 epochs; with 2594 images of Task 1 that is 519,000 steps of one image.
    The rate is constant over the first half and falls to 0 over the second."""
    batch_size: Positive = 1
    learning_rate: Rate = 2e-4
    feature_weight: Weight = 10.0
    """Weight of feature matching."""
    perceptual: Perceptual | None = None
    """The perceptual loss, by a network of timm instead of the source's VGG, which has no weights
    of a free licence; its weight in the source is 10. null leaves it out."""
    network: Pix2PixHdNetwork = Pix2PixHdNetwork()

    @model_validator(mode="after")
    def a_side_that_halves(self) -> Self:
        if self.image_size % 2**self.network.downsamplings:
            raise ValueError(
                f"`image_size` must be a multiple of {2**self.network.downsamplings}, since "
                f"`network.downsamplings` is {self.network.downsamplings}"
            )
        return self


class ControlNetRecipe(FinetuneRecipe):
    """ControlNet (Zhang et al., ICCV 2023): an image of a mask, by a copy of the frozen model.

    The nets, the copy and its zero convolutions are those of diffusers' ControlNetModel.
    """

    method: Literal["controlnet"] = "controlnet"  # type: ignore[assignment]  # its own, all the same
    prompt: PromptForm = "prefix"
    attention_weight: Annotated[float, Field(ge=0, le=0)] = 0.0
    """No L_attn: the base is frozen, and with it its attention."""
    decoder_learning_rate: Rate | None = None
    """Rate of the base's decoder, where it is unlocked: 2e-6 beside 1e-5 is advised where the style
    differs, as in medicine. null keeps all of the base frozen."""
    embedding_channels: Channels = (16, 32, 96, 256)
    """Of the layers that bring a mask to the latents' size, a halving between each two."""

    @model_validator(mode="after")
    def one_loss_of_a_loaded_model(self) -> Self:
        unfit = ("build", "lora", "prior", "perceptual")
        if named := [name for name in unfit if getattr(self, name) is not None]:
            raise ValueError(f"`{named[0]}` is not for a ControlNet; leave it out")
        if self.leak_weight or self.half_size_until:
            raise ValueError("a ControlNet needs `leak_weight` and `half_size_until` of 0")
        if self.model is None:
            raise ValueError("a ControlNet needs `model`, the base that it is a copy of")
        if len(self.embedding_channels) != 4:
            raise ValueError(
                "`embedding_channels` needs 4 numbers: latents have an eighth of a side"
            )
        return self
