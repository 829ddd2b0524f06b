"""Recipes: what a run is asked to do, as pydantic models.

Notable choices:
- Paths in a recipe are relative to the working folder, like every path typed on the command line.
- `fingerprint` covers what decides the result and leaves out what only decides the speed.
"""

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from manifests.build import Build, Perceptual
from manifests.section import Count, LocalPath, Positive, Precision, Rate, Section, Seed, Share

DRAWN = "drawn"
"""Name of a layout that is drawn from its sample's seed instead of taken from a source."""


class AttentionMaps(Section):
    """Which attention maps are read, and how: A_C of Eq. 3, 5 and 7, A_S of Eq. 6 and 7."""

    cross_side: Positive = 16
    """Side of the cross-attention maps: 16 in the paper, a quarter of SD's 64x64 latents."""
    self_side: Positive = 32
    """Side of the self-attention maps: 32 in the paper."""
    parts: Annotated[tuple[Literal["down", "mid", "up"], ...], Field(min_length=1)] = (
        "down",
        "mid",
        "up",
    )
    """Parts of the UNet whose layers of these sides are read; the paper averages over all."""
    normalised: bool = True
    """Min-max normalisation of each cross-attention map before it is compared with a mask: a token
    holds a small share of a pixel's attention, which no map in [0, 1] could match otherwise."""
    sharpness: Annotated[float, Field(ge=0)] = 0.0
    """0 reads the probabilities as they are, over all 77 tokens. Above 0 they are multiplied by it
    and go through a second softmax, over the prompt's own words; the authors' code uses 100."""

    def halved(self) -> Self:
        """The maps that the same layers have where images are of half the size."""
        sides = {"cross_side": self.cross_side // 2, "self_side": self.self_side // 2}
        return self.model_copy(update=sides)


class Lora(Section):
    """Low-rank adapters on the UNet's attention instead of its own weights, for small GPUs."""

    rank: Positive = 16
    alpha: Rate = 16.0
    """The adapters' output is scaled by alpha / rank."""
    layers: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "to_q",
        "to_k",
        "to_v",
        "to_out.0",
    )
    """Linear layers that get an adapter, by the end of their name: all of attention's."""


class FinetuneRecipe(Section):
    """`didgen finetune`: region-aware finetuning of a loaded model, or training of a built one.

    `model` alone trains the UNet of that model; `build` alone a whole model from nothing; both
    together all parts of that model, which must have that shape, on from its weights.
    """

    kind: Literal["finetune"] = "finetune"
    source: LocalPath
    model: str | None = None
    revision: str | None = None
    build: Build | None = None
    lora: Lora | None = None

    image_size: Annotated[int, Field(ge=128, multiple_of=64)] = 512
    """Side in pixels that images are brought to: SD 2.1 base was trained at 512."""
    half_size_until: Count = 0
    """Step up to which the UNet sees images of half this side: what takes many steps to learn,
    such as what a word looks like, is then learned in cheaper ones. None in the paper."""
    steps: Positive = 20_000
    """Steps, batch size (of one process) and learning rate are the paper's."""
    batch_size: Positive = 4
    learning_rate: Rate = 1e-5
    schedule: Literal["constant", "cosine"] = "constant"
    """Constant after the warm-up, with its steps, the decay and the clipping of the next fields:
    what the authors' code trains with; the paper names none of them."""
    warmup_steps: Count = 500
    restart_every: Positive | None = None
    """Steps after which warm-up and cosine begin anew. Each cycle ends at a rate of 0,
    so that its last checkpoint is that of a finished model."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    max_grad_norm: Rate = 1.0
    attention_weight: Annotated[float, Field(ge=0)] = 0.1
    """Weight of L_attn in Eq. 4; 0 is the paper's ablation without it."""
    leak_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of L_SA as a training loss: none in the paper; for models built from nothing."""
    perceptual: Perceptual | None = None
    """Added to L_rec: how far apart predicted and true images are, decoded, to this network (after
    Lin & Yang, arXiv:2401.00110, whose network is the UNet itself). None in the paper."""
    perceptual_from: Count = 0
    """Step at which it joins: late it costs less, and finds images that can be sharp."""
    maps: AttentionMaps = AttentionMaps()
    min_snr_gamma: Rate | None = None
    """Min-SNR weights of L_rec (Hang et al., ICCV 2023), with 5 in that paper; none here."""
    caption_probability: Share = 0.8
    """How often a caption follows the prefix, as in the authors' code."""
    caption_thinning: Share = 0.0
    """How often a caption keeps its first clause alone, which is the class where there is one, and
    a random part of the others: a class is then learned by its name, not only by what a caption
    describes besides. None in the paper."""
    prompt_dropout: Share = 0.1
    """How often the prompt is empty, which is what a model from nothing learns classifier-free
    guidance by. The paper drops none, and its recipe says 0."""
    orientations: Literal["none", "flips", "dihedral"] = "flips"
    """How images may lie: a lesion has no upright. The paper names no augmentation."""
    class_balance: Share = 0.0
    """How far rare classes are drawn more often: an image of a class of n as n to the minus this;
    0, the paper's, draws all images alike, 1 all classes alike."""
    ema_decay: Share | None = None
    """Decay of a moving average of the weights, which is then saved; the paper keeps none."""
    mixed_precision: Precision | None = None
    """null is bf16 where GPU or CPU have instructions for it, fp16 on older GPUs, else float32.
    With null a run may move to a machine where that is another one."""
    gradient_checkpointing: bool = False
    """Form the UNet's activations anew in the backward pass: less memory, about a fifth slower."""
    cache: bool = True
    """Keep latents, and text embeddings where the text encoder is fixed, on disk for the run."""
    checkpoint_every: Positive = 500
    save_as: Literal["float32", "float16"] = "float32"
    seed: Seed = 42

    @model_validator(mode="after")
    def a_model(self) -> Self:
        if self.model is None and self.build is None:
            raise ValueError("give `model` (a folder or hub id), `build` (a shape), or both")
        if self.lora is not None and self.build is not None:
            raise ValueError("`lora` adapts a loaded model; with `build` all of it is trained")
        return self

    @model_validator(mode="after")
    def an_autoencoder(self) -> Self:
        if self.build is not None and self.build.autoencoder.steps == 0 and self.model is None:
            raise ValueError("`autoencoder.steps` is 0, which needs a `model` to take it from")
        return self

    @model_validator(mode="after")
    def images_that_can_be_averaged_down(self) -> Self:
        stage = self.build.autoencoder if self.build else None
        halved = self.perceptual_from < self.half_size_until
        judged = [(self.perceptual, self.image_size // 2 if halved else self.image_size)]
        judged += [(stage.perceptual, stage.crop)] if stage else []
        for perceptual, side in judged:
            if perceptual is not None and perceptual.downsample > side:
                raise ValueError(
                    f"`perceptual.downsample` is {perceptual.downsample}, and images have {side} "
                    "pixels a side"
                )
        return self

    @model_validator(mode="after")
    def texts_that_a_cache_can_hold(self) -> Self:
        if self.caption_thinning and self.cache and self.build is None:
            raise ValueError(
                "`caption_thinning` makes ever new prompts, whose embeddings no cache holds; set "
                "`cache: false`"
            )
        return self

    @model_validator(mode="after")
    def halves_that_fit(self) -> Self:
        if self.half_size_until:
            if self.half_size_until >= self.steps:
                raise ValueError("`half_size_until` leaves no step at the whole size; ask for more")
            if self.cache:
                raise ValueError("`half_size_until` needs `cache: false`: it holds whole sizes")
            if self.image_size % 128 or self.maps.cross_side % 2 or self.maps.self_side % 2:
                raise ValueError(
                    "`half_size_until` needs an `image_size` that is a multiple of 128, and `maps` "
                    "of even sides"
                )
        return self

    @model_validator(mode="after")
    def a_perceptual_loss_that_joins(self) -> Self:
        if self.perceptual_from and self.perceptual is None:
            raise ValueError("`perceptual_from` needs `perceptual`")
        return self

    @model_validator(mode="after")
    def cycles_of_a_cosine(self) -> Self:
        if self.restart_every is not None and self.schedule != "cosine":
            raise ValueError("`restart_every` needs `schedule: cosine`")
        return self


class Guidance(Section):
    """Layout guidance of pairs: z - eta grad (L_CA + L_SA), Eq. 5 and 6."""

    eta: Annotated[float, Field(ge=0)] = 20.0
    """Length of a step down the gradient: 20 in the paper; a small model may want more."""
    decay: Literal["none", "sqrt"] = "none"
    """How eta falls from step to step: not at all, as the paper reads, or by the square root of a
    line from 1 at the first step to 0.5 at the last, as in the authors' code."""
    start: Share = 0.0
    """Share of the steps before guidance begins."""
    until: Share = 0.5
    """Share of the steps at which it ends, rounded up: the first half in the paper."""
    smoothing_sigma: Annotated[float, Field(ge=0)] = 0.5
    """Width of the Gaussian that smooths the maps of L_CA, in map pixels."""
    cross_attention: bool = True
    """Guide by L_CA; false is the paper's ablation without it."""
    self_attention: bool = True
    """Guide by L_SA; false is the paper's ablation without it."""

    @model_validator(mode="after")
    def range_in_order(self) -> Self:
        if self.start > self.until:
            raise ValueError("`start` must not lie after `until`")
        return self


class Annotation(Section):
    """How a mask is cut from the attention maps of the last step, Eq. 7."""

    tau: Count = 4
    """The power of A_S; 0 cuts the mask from A_C alone."""
    closing: Annotated[float, Field(ge=0)] = 1 / 48
    """Radius of the closing's disc, a share of the side: closes what the 32x32 grid tears open."""


class Sampling(Section):
    """How one image is drawn."""

    scheduler: Literal["dpm++", "ddim", "pndm"] = "dpm++"
    """DPM-Solver++ looks finished after 20 steps; the paper draws 50 steps of PNDM."""
    steps: Positive = 20
    cfg: Annotated[float, Field(ge=1)] = 7.5
    """Scale of classifier-free guidance."""
    cfg_rescale: Share = 0.0
    """How far guided predictions are brought to the deviation of prompted ones, which a large `cfg`
    raises (Lin et al., WACV 2024, with 0.7 for models of zero terminal SNR); none in the paper."""
    batch_size: Positive = 8
    mixed_precision: Precision | None = None
    """null is bf16 or fp16 on a GPU, and float32 on a CPU: not every CPU is faster in bf16."""
    maps: AttentionMaps = AttentionMaps()
    guidance: Guidance = Guidance()
    annotation: Annotation = Annotation()


LEFT_OUT = ("NV",)
"""The classes that the paper makes no samples of, because they are plenty."""


class ImagesPlan(Section):
    """Class-balanced images: a number for every class, one per class, or up to the largest."""

    per_class: Positive | dict[str, Count] | Literal["fill"] = 1000
    exclude: tuple[str, ...] | None = None
    """Classes to leave out; `LEFT_OUT` by default, unless a recipe names them."""


class PairsPlan(Section):
    """Lesion-mask pairs: how many, and where their layouts come from."""

    count: Count = 2500
    layouts: Literal["source", "drawn"] = "source"
    exclude: tuple[str, ...] | None = None
    """Classes to leave out; `LEFT_OUT` by default."""


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
    captions: LocalPath | None = None
    images: ImagesPlan | None = ImagesPlan()
    pairs: PairsPlan | None = PairsPlan()
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
            if self.pairs is not None and self.pairs.layouts == "source":
                raise ValueError("`pairs.layouts: source` needs `source`, a source manifest")
            if self.images is not None and self.images.per_class == "fill":
                raise ValueError("`images.per_class: fill` needs `source`, a source manifest")
        return self


class MixRecipe(Section):
    """`didgen mix`: a source and a run in one set, with `ratio` synthetic samples a real one."""

    kind: Literal["mix"] = "mix"
    source: LocalPath
    run: LocalPath
    ratio: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    config: Literal["images", "pairs"] | None = None
    drop_copies: bool = False
    shard_size: Positive = 256
    seed: Seed = 42


SPEED_ONLY: dict[str, Any] = {"sampling": {"batch_size"}, "cluster": True}
"""Fields of an AugmentRecipe that change how fast samples are made, not which."""


def asked(recipe: AugmentRecipe) -> dict[str, Any]:
    """The fields of a recipe that decide the result, as JSON values."""
    return recipe.model_dump(mode="json", exclude=SPEED_ONLY)


def fingerprint(value: Any) -> str:
    """Hex SHA-256 of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
