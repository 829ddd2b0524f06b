"""Recipes of the downstream benchmarks: which networks, trained on what, and how.

Notable choices:
- All arms of a network differ in their training set or loss, and in nothing else.
- Paths are relative to the working folder, as in all recipes.
"""

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from didgen.downstream.networks.network import Network
from didgen.manifests.choices import Reviewed
from didgen.manifests.recipes.fields import LocalPath, Positive, Precision, Rate, Section, Seed

Arm = Literal["original", "original-epochs", "oversampled", "class-weighted", "focal", "didgen"]
"""What a classifier is trained on, or with which loss; the arms but one take the steps of `didgen`.

original: the real images. original-epochs: the same for as many epochs as `didgen`, which are
fewer steps. oversampled: rare classes repeated up to the largest. class-weighted: cross-entropy by
1 / images of the class. focal: focal loss. didgen: the real and the synthetic images.
"""

SegmentArm = Literal["original", "original-epochs", "didgen", "didgen-filtered"]
"""What a segmentation net is trained on: as above, and `didgen-filtered` is the real pairs and
those synthetic ones that the quality filter keeps."""

TREATMENT: Literal["didgen"] = "didgen"
"""The arm that is compared with each other one."""

FILTERED: Literal["didgen-filtered"] = "didgen-filtered"
"""The arm that the quality filter makes; it is compared with `didgen` too."""

ARMS: tuple[Arm, ...] = get_args(Arm)

SEGMENT_ARMS: tuple[SegmentArm, ...] = get_args(SegmentArm)

Tracker = Literal[
    "tensorboard", "wandb", "trackio", "aim", "comet_ml", "mlflow", "clearml", "dvclive", "swanlab"
]

MaskLoss = Literal["dice-bce", "dice", "bce", "focal-dice", "jaccard"]
"""The loss between masks: Dice and binary cross-entropy, one of both, Dice and focal loss, or
the Jaccard index."""


class BenchmarkRecipe(Section):
    """What every benchmark is asked: networks in arms by seeds, and how they train."""

    kind: str
    source: LocalPath
    run: LocalPath | None = None
    """The run of `augment` whose samples the arm `didgen` adds."""
    drop_copies: bool = False
    """Leave out the samples that the copy check of `didgen quality` found to be copies."""
    reviewed: Reviewed | None = None
    """`accepted` takes only what the experts of `didgen review` accept, as they correct it."""
    networks: Annotated[tuple[Network, ...], Field(min_length=1)]
    arms: Annotated[tuple[str, ...], Field(min_length=1)]
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0, 1, 2, 3, 4)
    """Trainings of each arm of each network; seeds are paired over the arms."""
    near_duplicates: Literal["refuse", "drop"] = "refuse"
    """Images that are nearly those of a later split (train before val before test): refused, or
    left out of the earlier split."""

    image_size: Annotated[int, Field(ge=32)] = 224
    batch_size: Positive = 32
    epochs: Positive = 30
    """Passes over the training set of `didgen`, or over the real images without one."""
    learning_rate: Rate = 1e-4
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of the steps in which the learning rate rises; it then falls along a cosine to 0."""
    max_grad_norm: Rate = 1.0
    patience: Positive = 10
    """Evaluations without a better one after which a training ends. They come after as many steps
    in every arm."""
    mixed_precision: Precision | None = None
    """null is bf16 or fp16 on a GPU, and float32 on a CPU: not every CPU is faster in bf16."""
    trackers: tuple[Tracker, ...] = ("tensorboard",)
    """Where curves go to, besides the result: trackers of accelerate."""
    keep_weights: bool = True
    """Keep the best weights of each training as safetensors."""

    @model_validator(mode="after")
    def names_are_unique(self) -> Self:
        for field, values in self.lists().items():
            if len(set(values)) < len(values):
                twice = next(value for value in values if values.count(value) > 1)
                mend = "; set another `called` for one" if field == "networks" else ""
                raise ValueError(f"`{field}` has {twice} twice{mend}")
        return self

    def lists(self) -> dict[str, tuple[object, ...]]:
        """The fields whose values differ from one another."""
        return {
            "networks": tuple(network.called for network in self.networks),
            "arms": self.arms,
            "seeds": self.seeds,
            "trackers": self.trackers,
        }

    @model_validator(mode="after")
    def run_where_needed(self) -> Self:
        adding = {TREATMENT, FILTERED} & {*self.arms}
        if self.run is None and (needing := adding | ({"original-epochs"} & {*self.arms})):
            raise ValueError(f"the arm `{min(needing)}` needs `run`, a run of `didgen augment`")
        if self.run is not None and not adding:
            raise ValueError("`run` is given, but `arms` has no `didgen` to train on it")
        return self


class ClassifyRecipe(BenchmarkRecipe):
    """`didgen classify`: classifiers with and without synthetic images."""

    kind: Literal["classify"] = "classify"
    arms: Annotated[tuple[Arm, ...], Field(min_length=1)] = ARMS
    exclude: tuple[str, ...] = ("NV",)
    """Classes left out: nevi in the paper, which makes six; `[]` for all seven."""
    positive: str = "MEL"
    """The class whose sensitivity at 90 % specificity is told."""
    focal_gamma: Rate = 2.0
    """Of focal loss (Lin et al., ICCV 2017), whose value it is."""


class Filter(Section):
    """The quality filter: which pairs `didgen-filtered` keeps, by a segmenter's agreement.

    The recipe's first network is trained on the real pairs of a scale without one fold at a time.
    """

    folds: Annotated[int, Field(ge=2)] = 2
    """Folds of the real training pairs, by lesion. More leave each judge more to learn from, and
    take as many more trainings a scale."""
    keep: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Share of the pairs that is kept, those of the highest agreement. No bound on the agreement
    itself: a judge of few real pairs agrees with little, and a bound would then drop almost all."""


class SegmentRecipe(BenchmarkRecipe):
    """`didgen segment`: segmentation nets with and without synthetic lesion-mask pairs."""

    kind: Literal["segment"] = "segment"
    arms: Annotated[tuple[SegmentArm, ...], Field(min_length=1)] = SEGMENT_ARMS
    collections: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Real images to take: those whose record names one of these as its `source`, such as
    `isic2018-task1`; null for all that have a mask."""
    real: Annotated[tuple[Positive | None, ...], Field(min_length=1)] = (None,)
    """Scales of scarcity: how many of the real training pairs are taken; null for all."""
    seed: Seed = 42
    """Of the choice of these pairs and of the filter's folds. All trainings of a scale have the
    same pairs, so that seeds differ in the training alone; what is found holds for these pairs."""
    filter: Filter = Filter()
    loss: MaskLoss = "dice-bce"
    auxiliary_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of a network's further outputs (deep supervision); most networks have none."""
    boundary_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the outlines that a network predicts besides masks, where it does."""
    max_steps: Positive | None = None
    """Most steps of a training, where epochs would be more. `original-epochs` is then shortened
    in the same proportion, so that its epochs stay as many as those of `didgen`."""
    evaluate_every: Positive | None = None
    """Steps between evaluations in every arm; null for those that the real pairs take."""
    patience: Positive = 20

    def lists(self) -> dict[str, tuple[object, ...]]:
        return super().lists() | {"real": self.real, "collections": self.collections or ()}


TRACKING_ONLY = {"trackers", "keep_weights"}
"""Fields that decide what is kept of a training, not what it does."""
