"""The recipes of the rivals: the methods that the paper compares DiDGen with.

Defaults are a rival's own settings, as its source has them. What a source leaves open, and what is
changed for few images or 2 cores, is a field.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from didgen.manifests.recipes.fields import Positive, Rate, Section
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
