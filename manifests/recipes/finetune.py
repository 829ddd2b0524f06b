"""The recipe of `didgen finetune`."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from didgen.manifests.choices import PromptForm
from didgen.manifests.recipes.fields import (
    Count,
    Positive,
    Rate,
    Section,
    Share,
)
from didgen.manifests.recipes.sampling import AttentionMaps, Sampling, Scheduler
from didgen.manifests.recipes.small_model import Build, Perceptual
from didgen.manifests.recipes.training import TrainingRecipe


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


class Prior(Section):
    """Prior preservation (DreamBooth: Ruiz et al., CVPR 2023): L(instance) + weight L(class).

    The class images are drawn by the model before it is trained. They are kept as the latents that
    they are drawn in: the source decodes and encodes them again.
    """

    images: Positive = 200
    """Images of the class; diffusers' example has 200 to 300."""
    weight: Annotated[float, Field(ge=0)] = 1.0
    prompt: str = "An image of a lesion on skin."
    """What they are drawn and learned by: the prefix without its placeholder tokens, as a class
    has no identifier. The paper that compares DreamBooth does not say."""
    scheduler: Scheduler = "dpm++"
    steps: Positive = 20
    cfg: Annotated[float, Field(ge=1)] = 7.5
    """How they are drawn, as in `sampling` of a recipe of `didgen augment`."""


class FinetuneRecipe(TrainingRecipe):
    """`didgen finetune`: region-aware finetuning of a loaded model, or training of a built one.

    `model` alone trains the UNet of that model; `build` alone a whole model from nothing; both
    together all parts of that model, which must have that shape, on from its weights.
    """

    method: Literal["didgen"] = "didgen"
    prompt: PromptForm = "caption"
    model: str | None = None
    revision: str | None = None
    build: Build | None = None
    lora: Lora | None = None
    prior: Prior | None = None
    """Learn images of the class beside those of the source, as DreamBooth does."""

    image_size: Annotated[int, Field(ge=128, multiple_of=64)] = 512
    """Side in pixels that images are brought to: SD 2.1 base was trained at 512."""
    half_size_until: Count = 0
    """Step up to which the UNet sees images of half this side: what takes many steps to learn,
    such as what a word looks like, is then learned in cheaper ones. None in the paper."""
    steps: Positive = 20_000
    """Steps, batch size (of one process) and learning rate are the paper's."""
    gradient_accumulation: Positive = 1
    """Batches that a step adds up, for what does not fit in memory at once: the step is that of a
    batch so many times as large."""
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
    attention_reduction: Literal["mean", "sum"] = "mean"
    """How Eq. 3 brings a map to one number. The paper prints a squared norm, the sum, for L_rec and
    L_attn alike. Here both are means: beside a mean L_rec, the sum over 16x16 counts 256 times as
    much."""
    attention_timesteps: Literal["constant", "signal", "min-snr"] = "constant"
    """How L_attn is weighted by the timestep: not at all, as in the paper; by the signal's share of
    the noisy latents, 1 on average, which is ours; or by the Min-SNR weights of L_rec."""
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
    """How often the caption, or the name of the class, follows the prefix, as in the authors'
    code; at other times the prefix stands alone."""
    caption_thinning: Share = 0.0
    """How often a caption keeps its first clause alone, which is the class where there is one, and
    a random part of the others: a class is then learned by its name, not only by what a caption
    describes besides. None in the paper."""
    prompt_dropout: Share = 0.1
    """How often the prompt is empty, which is what a model from nothing learns classifier-free
    guidance by. The paper drops none, and its recipe says 0."""
    gradient_checkpointing: bool = False
    """Form the UNet's activations anew in the backward pass: less memory, about a fifth slower."""
    compile: bool = False
    """Compile the UNet by torch.compile: the first step takes minutes, each later one less."""
    cache: bool = True
    """Keep latents, and text embeddings where the text encoder is fixed, on disk for the run."""
    posterior: Literal["mode", "sample"] = "mode"
    """Which latents of the autoencoder's posterior are trained on: its mode, or new ones drawn for
    each training sample. An AutoencoderTiny, as `build` makes it, has no posterior but a mode."""
    sampling: Annotated[Sampling, Field(validate_default=True)] = Sampling()
    """How the sample sheets are drawn, one a checkpoint. Maps and batch size are those of the
    training unless they are given here."""

    @field_validator("sampling")
    @classmethod
    def sheets_like_the_training(cls, sampling: Sampling, info: ValidationInfo) -> Sampling:
        if sampling.mixed_precision is not None:
            raise ValueError("sheets are drawn in the training's `mixed_precision`; leave it out")
        if sampling.autoguidance is not None:
            raise ValueError("sheets are drawn by the model in training alone: no `autoguidance`")
        known: dict[str, Any] = {
            name: info.data[name] for name in ("maps", "batch_size") if name in info.data
        }
        said = sampling.model_fields_set
        return sampling.model_copy(update={n: known[n] for n in known if n not in said})

    @model_validator(mode="after")
    def a_model(self) -> Self:
        if self.model is None and self.build is None:
            raise ValueError("give `model` (a folder or hub id), `build` (a shape), or both")
        if self.lora is not None and self.build is not None:
            raise ValueError("`lora` adapts a loaded model; with `build` all of it is trained")
        return self

    @model_validator(mode="after")
    def a_prior_of_a_loaded_model(self) -> Self:
        if self.prior is not None:
            if self.build is not None:
                raise ValueError("`prior` draws from a loaded model; leave `build` out")
            if self.attention_weight or self.leak_weight or self.half_size_until:
                raise ValueError(
                    "`prior` needs `attention_weight`, `leak_weight` and `half_size_until` of 0"
                )
        return self

    @model_validator(mode="after")
    def an_autoencoder(self) -> Self:
        if self.build is not None and self.build.autoencoder.steps == 0 and self.model is None:
            raise ValueError("`autoencoder.steps` is 0, which needs a `model` to take it from")
        return self

    @model_validator(mode="after")
    def a_posterior(self) -> Self:
        if self.build is not None and self.posterior == "sample":
            raise ValueError("`build` makes an AutoencoderTiny, which needs `posterior: mode`")
        return self

    @model_validator(mode="after")
    def weights_that_have_a_gamma(self) -> Self:
        if self.attention_timesteps == "min-snr" and self.min_snr_gamma is None:
            raise ValueError("`attention_timesteps: min-snr` needs `min_snr_gamma`")
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
        if self.caption_thinning and self.prompt != "caption":
            raise ValueError("`caption_thinning` thins captions, and needs `prompt: caption`")
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
            sides = [
                s for m in (self.maps, self.sampling.maps) for s in (m.cross_side, m.self_side)
            ]
            if self.image_size % 128 or any(side % 2 for side in sides):
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
