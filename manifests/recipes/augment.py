"""The recipe of `didgen augment`."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from didgen.manifests.choices import PromptForm
from didgen.manifests.recipes.fields import (
    Count,
    LocalPath,
    Positive,
    Section,
    Seed,
    Share,
    Subset,
)
from didgen.manifests.recipes.fingerprint import without_added
from didgen.manifests.recipes.sampling import ConditionAnnealing, ProjectedGuidance, Sampling

LEFT_OUT = ("NV",)
"""The classes that the paper makes no samples of, because they are plenty."""


class ImagesPlan(Section):
    """Class-balanced images: a number for every class, one per class, or up to the largest."""

    per_class: Positive | dict[str, Count] | Literal["fill"] = 1000
    """A number also makes images without a class, of a source that has no labels (Table 1)."""
    exclude: tuple[str, ...] | None = None
    """Classes to leave out; `LEFT_OUT` by default, unless a recipe names them."""


class LayoutSubset(Subset):
    """The masks of such images."""

    collections: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Collections of the source that they are of; null for all."""


class SourceLayouts(Section):
    """Layouts of the source: the masks of a part of its training images."""

    subset: LayoutSubset


class RunLayouts(Section):
    """Layouts of another run: the masks of its pairs, as the paper gives them to its rivals."""

    run: LocalPath


class PairsPlan(Section):
    """Lesion-mask pairs: how many, and where their layouts come from."""

    count: Count = 2500
    layouts: Literal["source", "drawn"] | SourceLayouts | RunLayouts = "source"
    """All training masks of the source, drawn shapes, a part of these masks, or a run's masks."""
    exclude: tuple[str, ...] | None = None
    """Classes to leave out; none unless a recipe names them (DiDGen, Section 3.3)."""


class Variations(Section):
    """Variations of real images: samples that start from a training image's latents.

    Mask and class come with the image (img2img, after Trabucco et al., arXiv:2302.07944). No image
    is taken a second time before all were.
    """

    strength: Annotated[float, Field(gt=0, le=1)]
    """Share of the steps that are taken, from as much noise as they begin with: the less, the
    nearer a sample stays to its image."""


class Gates(Section):
    """What a sample must measure to be kept; one that does not is drawn again from another seed.

    The paper has no gates: the defaults stop what is plainly no lesion or no mask of one.
    """

    contrast: Annotated[float, Field(ge=0, le=255)] = 2.0
    """Least standard deviation of an image's grey levels (of 255); below it shows nothing."""
    mask_area: tuple[Share, Share] = (0.005, 0.95)
    """Least and largest share of the image that a pair's mask may cover, ends included; a mask of
    nothing or of everything is none whatever they are."""
    components: Positive | None = 3
    """Most connected components (of 8 neighbours) of a pair's mask; null for any number."""
    layout_iou: Share = 0.3
    """Least IoU of a pair's mask with the layout that guided it."""
    attention_contrast: Share = 0.0
    """Least relative span (max - min) / max of the attention that a pair's mask is cut from; 0 for
    any. `sampling.annotation.flat` says below which span there is no mask at all."""
    separability: Share = 0.0
    """Least separability of a pair's mask: the variance between Otsu's two classes as a share of
    all variance of the attention; 0 for any."""
    redraws: Annotated[int, Field(ge=0, le=100)] = 3
    """How often a sample is drawn again before it is given up."""

    @model_validator(mode="after")
    def area_in_order(self) -> Self:
        if self.mask_area[0] > self.mask_area[1]:
            raise ValueError("`mask_area` must be the least share and then the largest")
        return self


class Cluster(Section):
    """What `--engine ray` asks of a Ray cluster: how fast samples are made, not which."""

    cpus: Positive = 4
    """CPUs of a worker, and as many threads; sums differ in their last bits by these."""
    gpus: Annotated[float, Field(ge=0)] | None = None
    """GPUs of a worker, or a share of one; null is one where the cluster has any."""
    workers: Positive | None = None
    """Most workers at once; null for as many as the cluster has room for."""
    retries: Annotated[int, Field(ge=0, le=100)] = 3
    """How often a shard whose worker died, or failed, is given to another one."""


class AugmentRecipe(Section):
    """`didgen augment`: what to make, with which model, and how it is packed."""

    kind: Literal["augment"] = "augment"
    model: str = "mini"
    revision: str | None = None
    source: LocalPath | None = None
    captions: Literal["model"] | LocalPath | None = None
    """What prompts are made of: a file of captions, or `model` for those that the model was trained
    with. null takes the source's, and without a source the model's."""
    prompt: PromptForm = "caption"
    """What a prompt says behind the prefix; `prefix` is the paper's ablation "Ours-prefix"."""
    images: ImagesPlan | None = ImagesPlan()
    pairs: PairsPlan | None = PairsPlan()
    variations: Variations | None = None
    """null makes samples from noise alone, as the paper does."""
    sampling: Sampling = Sampling()
    gates: Gates = Gates()
    cluster: Cluster = Cluster()
    shard_size: Positive = 256
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95
    seed: Seed = 42

    @model_validator(mode="after")
    def source_where_needed(self) -> Self:
        if self.images is None and self.pairs is None:
            raise ValueError("`images` and `pairs` are both null: nothing to make")
        if self.source is None:
            layouts = None if self.pairs is None else self.pairs.layouts
            if layouts == "source" or isinstance(layouts, SourceLayouts):
                raise ValueError("`pairs.layouts` of a source needs `source`, a source manifest")
            if self.images is not None and self.images.per_class == "fill":
                raise ValueError("`images.per_class: fill` needs `source`, a source manifest")
            if self.variations is not None:
                raise ValueError("`variations` needs `source`, a source manifest")
        return self

    @model_validator(mode="after")
    def variations_that_begin_late(self) -> Self:
        if self.variations is not None and self.sampling.scheduler == "pndm":
            raise ValueError("PNDM begins from noise alone: `variations` need another `scheduler`")
        return self

    @model_validator(mode="after")
    def variations_of_masked_images(self) -> Self:
        layouts = None if self.pairs is None else self.pairs.layouts
        if self.variations is not None and (layouts == "drawn" or isinstance(layouts, RunLayouts)):
            raise ValueError(
                "`variations` start from the image whose mask guides a pair: they need "
                "`pairs.layouts` of the source"
            )
        return self


SPEED_ONLY: dict[str, Any] = {"sampling": {"batch_size"}, "cluster": True}
"""Fields of an AugmentRecipe that change how fast samples are made, not which."""


ADDED: dict[str, Any] = {
    "sampling": {
        "apg": ProjectedGuidance().model_dump(),
        "autoguidance": None,
        "cads": ConditionAnnealing().model_dump(),
        "cfg_interval": None,
        "compile": False,
        "ddim_eta": 0.0,
        "zest": None,
        "refocus": None,
        "guidance": {"update": "before", "every": 1},
        "annotation": {"mask": "attention"},
    },
    "pairs": {"layouts": {"subset": {"collections": None}}},
    "variations": None,
}
"""Fields that recipes did not always have, as `without_added` takes them."""


def asked(recipe: AugmentRecipe) -> dict[str, Any]:
    """The fields of a recipe that decide the result, as JSON values."""
    return without_added(recipe.model_dump(mode="json", exclude=SPEED_ONLY), ADDED)
