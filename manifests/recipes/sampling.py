"""The sampling section of a recipe: attention maps, guidance, annotation, scheduler."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from didgen.manifests.recipes.fields import Count, LocalPath, Positive, Precision, Section, Share

NoiseLevel = Annotated[float, Field(ge=0)]
"""A noise level sigma = sqrt((1 - abar) / abar): deviation of the noise beside clean latents."""

Normaliser = Literal["region", "paper"]
"""What a region's leak in Eq. 5 is divided by: its own pixels, or those outside it."""

Scheduler = Literal["dpm++", "dpm++-sde", "unipc", "ddim", "pndm"]


class AttentionMaps(Section):
    """Which attention maps are read, and how: A_C of Eq. 3, L_CA and Eq. 7, A_S of Eq. 5 and 7."""

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


class Guidance(Section):
    """Eq. 6: layout guidance of pairs, z - eta grad (L_CA + L_SA)."""

    eta: Annotated[float, Field(ge=0)] = 20.0
    """Length of a step down the gradient: 20 in the paper; a small model may want more."""
    decay: Literal["none", "sqrt"] = "none"
    """How eta falls from step to step: not at all, as the paper reads, or by the square root of a
    line from 1 at the first step to 0.5 at the last, as in the authors' code."""
    start: Share = 0.0
    """Share of the steps before guidance begins."""
    until: Share = 0.5
    """Share of the steps at which it ends, rounded up: the first half in the paper."""
    update: Literal["before", "after"] = "before"
    """What is moved: the latents before a step, by a pass of their own, as in Eq. 6; or the step's
    result, by the gradient of its own conditional half, which is cheaper. An experiment of ours."""
    every: Positive = 1
    """Which of these steps are guided: each, as in the paper, or one in so many, the first of them
    included. Eta stays as it is."""
    smoothing_sigma: Annotated[float, Field(ge=0)] = 0.5
    """Width of the Gaussian that smooths the maps of L_CA, in map pixels."""
    cross_attention: bool = True
    """Guide by L_CA; false is the paper's ablation without it."""
    self_attention: bool = True
    """Guide by L_SA; false is the paper's ablation without it."""
    normaliser: Normaliser = "region"
    """What L_SA divides a region's leak by. `paper` is Eq. 5 as printed: the pixels outside the
    region. Of a lesion of 2 % of the image it weighs the lesion's leak 0.02 times, and the skin's
    49 times, as `region` does, which takes the mean over the region's own pixels."""

    @model_validator(mode="after")
    def range_in_order(self) -> Self:
        if self.start > self.until:
            raise ValueError("`start` must not lie after `until`")
        return self


class Zest(Section):
    """ZestGuide (Couairon et al., ICCV 2023): results are moved by cross-entropies of the maps.

    Constants are those of its public code (6b7e81a). Deviations: maps are those of `maps`, of one
    side, where the source also takes a second; a segment is one token, `<lesion>` or `<skin>`.
    """

    eta: Annotated[float, Field(ge=0)] = 0.3
    """Largest change of a latent in a step, times sqrt(1 - abar_t); the paper has 1."""
    until: Share = 0.5
    """Share of the steps at which it ends, rounded up."""
    scale: Positive = 10
    """Factor of the maps before the first of the two cross-entropies."""
    ignored: Share = 0.1
    """Share of a map's largest value up to which pixels outside the segment do not count."""


class Refocus(Section):
    """Attn-Refocus (Phung et al., CVPR 2024): latents are moved until maps keep to their regions.

    Constants are those of its public code (2c265cb; the mask form: 81700c2). They are given for 50
    steps, and are taken at the same shares of any number. Deviations: the objects are `<lesion>`,
    with the layout's box, and `<skin>`, with the rest; maps have the sides of `maps`.
    """

    form: Literal["box", "mask"] = "box"
    """`box` compares the largest values in and out of boxes (CAR, SAR); `mask` sums over masks."""
    scale: Annotated[float, Field(ge=0)] = 1.0
    """Factor of the source's step lengths; a small model may want more."""
    self_attention: bool = True
    """Add SAR, the self-attention that leaves a region, in the form of boxes."""
    sharpness: Annotated[float, Field(gt=0)] = 100.0
    """Factor of the maps before a second softmax, over the prompt's own words."""
    smoothing_sigma: Annotated[float, Field(ge=0)] = 0.5
    """Width of the 3x3 Gaussian that smooths maps in the form of boxes, in map pixels."""
    enough: Share = 0.2
    """Largest value inside each box at which a sample is moved no more in this step."""


class Annotation(Section):
    """How a mask is cut from the attention maps, Eq. 7."""

    mask: Literal["attention", "layout"] = "attention"
    """What a pair's mask is: the one that is cut from attention, or its layout, as rivals have it;
    figures of the attention are recorded either way."""
    tau: Count = 4
    """The power of A_S; 0 cuts the mask from A_C alone."""
    timestep: Count | None = None
    """The noise level at which the maps are read, as one of the timesteps that the model was
    trained with. null reads them in the last step of the sampling, as the paper does: at what
    timestep that is hangs on scheduler and steps. A number reads them in a further pass, of the
    finished latents with as much as that timestep has of the noise that the sample began with."""
    flat: Share = 0.01
    """Relative span (max - min) / max of A_CS below which a map says nothing: its mask is empty,
    where Otsu's threshold would part what rounding left. Those of the bundled model have 0.8 to 1,
    those of random weights 1e-6."""
    closing: Annotated[float, Field(ge=0)] = 1 / 48
    """Radius of the closing's disc, a share of the side: closes what the 32x32 grid tears open."""


class ProjectedGuidance(Section):
    """APG (Sadat et al., arXiv:2410.02416): the update of `cfg`, on clean latents, taken apart.

    As they are, the fields leave `cfg` what it is. The paper has 0 for `parallel`, and by model 2.5
    to 15 for `norm` and -0.25 to -0.75 for `momentum`.
    """

    parallel: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the part of the update that is parallel to the prompted prediction, the paper's
    eta: 1 keeps it as it is, 0 leaves it out."""
    norm: Annotated[float, Field(ge=0)] = 0.0
    """Largest norm of an update, the paper's r; 0 for any."""
    momentum: Annotated[float, Field(gt=-1, lt=1)] = 0.0
    """Share of the steps before it that an update has, the paper's beta: negative leads away."""


class ConditionAnnealing(Section):
    """CADS (Sadat et al., arXiv:2310.17347): noise on the prompt's embeddings, less at each step.

    With `noise: 0` there is none. The paper's values for Stable Diffusion are a noise of 0.25 and
    the defaults of the other fields. Time runs from 1, where the sampling begins, to 0.
    """

    noise: Annotated[float, Field(ge=0)] = 0.0
    """Scale of the noise, the paper's s."""
    whole_until: Share = 0.6
    """Time from which on the prompt is whole, the paper's tau 1."""
    none_from: Share = 0.9
    """Time down to which there is noise alone, the paper's tau 2."""
    rescale: Share = 1.0
    """How far the embeddings are brought back to their own mean and deviation, the paper's psi."""

    @model_validator(mode="after")
    def times_in_order(self) -> Self:
        if self.whole_until >= self.none_from:
            raise ValueError("`whole_until` must lie before `none_from`")
        return self


class Sampling(Section):
    """How one image is drawn."""

    scheduler: Scheduler = "dpm++"
    """DPM-Solver++ looks finished after 20 steps; the authors' code draws 50 of PNDM. `dpm++-sde`
    is its stochastic form, which adds noise of the sample's own seed at every step (Lu et al.,
    arXiv:2211.01095), and `unipc` UniPC (Zhao et al., arXiv:2302.04867)."""
    steps: Positive = 20
    cfg: Annotated[float, Field(ge=1)] = 7.5
    """Scale of classifier-free guidance."""
    cfg_interval: tuple[NoiseLevel, NoiseLevel] | None = None
    """Noise levels over the first and up to the second of which `cfg` guides (Kynkaanniemi et al.,
    arXiv:2404.07724, with 0.28 and 5.42 for SDXL); elsewhere the prompted prediction stands alone,
    which takes half the time. null is all of them."""
    apg: ProjectedGuidance = ProjectedGuidance()
    cads: ConditionAnnealing = ConditionAnnealing()
    autoguidance: LocalPath | None = None
    """Folder of a weaker version of the model, such as an earlier checkpoint. `cfg` then leads away
    from its prediction for the same prompt, in place of the one without a prompt (Karras et al.,
    arXiv:2406.02507). Its UNet and text encoder are used, with the model's own tokenizer."""
    cfg_rescale: Share = 0.0
    """How far guided predictions are brought to the deviation of prompted ones, which a large `cfg`
    raises (Lin et al., WACV 2024, with 0.7 for models of zero terminal SNR); none in the paper."""
    ddim_eta: Share = 0.0
    """Share of new noise in each step of `ddim` (its paper's eta); none in DiDGen's paper."""
    batch_size: Positive = 8
    mixed_precision: Precision | None = None
    """null is bf16 or fp16 on a GPU, and float32 on a CPU: not every CPU is faster in bf16."""
    compile: bool = False
    """Compile the UNet's ordinary passes by torch.compile: the first batch of each kind takes
    minutes, each later one less. Samples differ in their last bits."""
    maps: AttentionMaps = AttentionMaps()
    guidance: Guidance = Guidance()
    zest: Zest | None = None
    """Guide by ZestGuide instead of `guidance`."""
    refocus: Refocus | None = None
    """Guide by Attn-Refocus instead of `guidance`."""
    annotation: Annotation = Annotation()

    @model_validator(mode="after")
    def interval_in_order(self) -> Self:
        if self.cfg_interval is not None and self.cfg_interval[0] >= self.cfg_interval[1]:
            raise ValueError("`cfg_interval` must be the lower noise level and then the higher")
        return self

    @model_validator(mode="after")
    def one_guidance(self) -> Self:
        rivals = [name for name in ("zest", "refocus") if getattr(self, name) is not None]
        if len(rivals) > 1:
            raise ValueError("`zest` and `refocus` are two guidances; keep one")
        if rivals and self.guidance != Guidance():
            raise ValueError(f"`{rivals[0]}` takes the place of `guidance`; leave one out")
        return self

    @model_validator(mode="after")
    def noise_that_a_scheduler_draws(self) -> Self:
        if self.ddim_eta and self.scheduler != "ddim":
            raise ValueError("`ddim_eta` needs `scheduler: ddim`")
        return self
