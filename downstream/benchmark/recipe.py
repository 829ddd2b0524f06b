"""Recipes of the downstream benchmarks: which networks, trained on what, and how.

Notable choices:
- All arms of a network differ in their training set or loss, and in nothing else.
- Paths are relative to the working folder, as in all recipes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import (
    Field,
    PrivateAttr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    model_validator,
)

from didgen.downstream.benchmark.arms.record import NAME, Arm
from didgen.downstream.benchmark.old_recipes import of_today
from didgen.downstream.networks.network import Network
from didgen.downstream.pages.arms import outside_name
from didgen.downstream.pages.document import BENCHMARK_NAME
from didgen.manifests.choices import Reviewed, Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json
from didgen.manifests.recipes.fields import LocalPath, Positive, Precision, Rate, Section, Seed
from didgen.manifests.sources.records import SourceManifest, SourceRecord

Scale = int | None
"""How many real images a training has, of each class or pairs; None for all."""

Tracker = Literal[
    "tensorboard", "wandb", "trackio", "aim", "comet_ml", "mlflow", "clearml", "dvclive", "swanlab"
]

MaskLoss = Literal["dice-bce", "dice", "bce", "focal-dice", "jaccard"]
"""The loss between masks: Dice and binary cross-entropy, one of both, Dice and focal loss, or
the Jaccard index."""


FEW_IMAGES = 25
"""Scales up to which real images differ much from seed to seed."""

ENOUGH_SEEDS = 10
"""Seeds that such a scale needs."""

RunName = Annotated[str, Field(pattern=NAME)]


class Outside(Section):
    """Another source, or a part of one, whose images no training of a benchmark has."""

    source: LocalPath
    split: Split | None = None
    """The split that is taken; null for all. Of the benchmark's own source only `test` is left."""
    collections: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Images whose record names one of these as its `source`; null for all."""

    def records(self) -> list[SourceRecord]:
        """The records of this part."""
        return [
            record
            for record in SourceManifest.read(self.source).select(split=self.split)
            if self.collections is None or record.source in self.collections
        ]

    def __str__(self) -> str:
        return outside_name(self.model_dump())


class BenchmarkRecipe(Section):
    """What every benchmark is asked: networks in arms by seeds, and how they train."""

    kind: Literal["classify", "segment"]
    source: LocalPath
    outside: Outside | LocalPath | None = None
    """Another source, of another clinic say: the networks that are tested are tested on it too.
    A record `{source, split, collections}` takes a part of one, which may be test images of the
    benchmark's own source that `collections` leave out."""
    runs: dict[RunName, LocalPath | dict[Seed, LocalPath]] = Field(default_factory=dict)
    """Runs by the names that arms say. The first is the one whose worth is asked, the others are
    its rivals. `{real}` and `{seed}` in a folder stand for the scale (or `all`) and the seed of a
    training: each then has a run of its own. A record of folders by seed says the same."""
    drop_copies: bool = False
    """Leave out the samples that the copy check of `didgen quality` found to be copies."""
    reviewed: Reviewed | None = None
    """`accepted` takes only what the experts of `didgen review` accept, as they correct it."""
    networks: Annotated[tuple[Network, ...], Field(min_length=1)]
    arms: Annotated[tuple[Arm, ...], Field(min_length=1)]
    """Uses without a run by their names; a run by its name, which is its union with the real
    images; or records `{name, run, use, share, weight, filter}`."""
    real: Annotated[tuple[Positive | None, ...], Field(min_length=1)] = (None,)
    """Scales of scarcity: how many real training images are taken, of each class in `classify` (or
    all of a class that has fewer) and pairs in `segment`; null for all."""
    seed: Seed = 42
    """Of the choice of these images, with the training's own seed, and of the filter's folds."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0, 1, 2, 3, 4)
    """Trainings of each arm of each network; seeds are paired over the arms. At a scale each has
    images of its own."""
    seeds_at: Annotated[tuple[Positive, ...], Field(min_length=1)] | None = None
    """How many of these seeds each scale of `real` has, in its order; null is all of them."""
    search: Positive | None = None
    """How many of these seeds the uses of a run have while validation chooses among them; the
    chosen one then gets the others too. null is all that every scale has."""
    chosen: LocalPath | None = None
    """A finished benchmark of the same kind that chose the use of each run on its validation
    images. Only these uses are trained here; `arms` has them among others."""
    test: bool = True
    """Whether test images are looked at; without, a benchmark ends with its choice."""
    near_duplicates: Literal["refuse", "drop"] = "refuse"
    """Images that are nearly those of a later split (train before val before test): refused, or
    left out of the earlier split."""
    scope: Literal["closed"] | None = None
    """`closed` refuses runs that rest on real images beyond those of the arm."""

    image_size: Annotated[int, Field(ge=32)] = 224
    batch_size: Positive = 32
    epochs: Positive = 30
    """Passes over the real images and the largest run, or over the real images without one."""
    max_steps: Positive | None = None
    """Most steps of a training, where epochs would be more. `original-epochs` is then shortened
    in the same proportion, so that its epochs stay as many as those of the others."""
    evaluate_every: Positive | None = None
    """Steps between evaluations in every arm; null for those that the real images take. At a scale
    there are none: the last weights count."""
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
    """Keep the weights of each training as safetensors; else they go when all is tested."""
    records: LocalPath | None = None
    """A folder that gets the record and predictions of each training, small enough to commit; what
    stands there is not trained again."""

    _changed: tuple[str, ...] = PrivateAttr(())

    @model_validator(mode="wrap")
    @classmethod
    def in_the_form_of_today(cls, values: Any, handler: ValidatorFunctionWrapHandler) -> Self:
        said: tuple[str, ...] = ()
        if isinstance(values, Mapping):
            values, said = of_today(values, cls.default_arms, "filter" in cls.model_fields)
        recipe = handler(values)
        # A copy of a recipe that is one already keeps what was said of it.
        if said:
            recipe._changed = said
        return recipe

    default_arms: ClassVar[tuple[str, ...]] = ()

    @property
    def changed(self) -> tuple[str, ...]:
        """What fields and arms of an older form are now, a sentence each."""
        return self._changed

    @property
    def cautions(self) -> list[str]:
        """What a reader of the results has to know of the recipe, a sentence each."""
        small = [count for count in self.real if count is not None and count <= FEW_IMAGES]
        few = [count for count in small if len(self.seeds_of(count)) < ENOUGH_SEEDS]
        if not few or not self.test:
            return []
        caution = (
            f"The scale {few[0]} has {len(self.seeds_of(few[0]))} seeds: so few real images differ "
            f"much from seed to seed, and {ENOUGH_SEEDS} seeds or more are needed to tell an "
            "effect from their luck."
        )
        return [caution]

    def seeds_of(self, real: Scale) -> tuple[int, ...]:
        """The seeds that a scale has."""
        return self.seeds if self.seeds_at is None else self.seeds[: self._most(real)]

    def _most(self, real: Scale) -> int:
        return dict(zip(self.real, self.seeds_at or (), strict=True))[real]

    @property
    def searched(self) -> tuple[int, ...]:
        """The seeds that the uses of a run have while validation chooses among them."""
        counts = [count for count in (self.search, *(self.seeds_at or ())) if count is not None]
        return self.seeds[: min(counts, default=len(self.seeds))]

    def at_most(self) -> int:
        """Trainings of one network at most, besides those of the quality filter."""
        every = sum(len(self.seeds_of(real)) for real in self.real)
        uses = sum(arm.role == "use" for arm in self.arms)
        controls, searched = len(self.arms) - uses, len(self.searched) * len(self.real)
        if self.chosen:
            return (controls + len(self.runs)) * every
        # Without a test nothing is trained after the choice.
        further = len(self.runs) * (every - searched) if self.test else 0
        return controls * every + uses * searched + further

    @property
    def elsewhere(self) -> Outside | None:
        """The other source, as a record."""
        return Outside(source=self.outside) if isinstance(self.outside, Path) else self.outside

    @model_validator(mode="after")
    def seeds_that_are_there(self) -> Self:
        if self.seeds_at is not None and len(self.seeds_at) != len(self.real):
            raise ValueError(
                f"`seeds_at` has {len(self.seeds_at)} numbers for {len(self.real)} scales of `real`"
            )
        if (most := max(self.seeds_at or (0,))) > len(self.seeds):
            raise ValueError(f"`seeds_at` asks for {most} seeds and `seeds` has {len(self.seeds)}")
        return self

    @model_validator(mode="after")
    def own_images_that_are_left(self) -> Self:
        elsewhere = self.elsewhere
        own = elsewhere is not None and elsewhere.source.resolve() == self.source.resolve()
        if own and elsewhere is not None and elsewhere.split != "test":
            raise ValueError("`outside` is the benchmark's own source: it needs `split: test`")
        return self

    @model_validator(mode="after")
    def names_are_unique(self) -> Self:
        for field, values in self.lists().items():
            if len(set(values)) < len(values):
                twice = next(value for value in values if values.count(value) > 1)
                mends = {"networks": "set another `called` for one", "arms": "name one otherwise"}
                mend = f"; {mends[field]}" if field in mends else ""
                raise ValueError(f"`{field}` has {twice} twice{mend}")
        return self

    def lists(self) -> dict[str, tuple[object, ...]]:
        """The fields whose values differ from one another."""
        return {
            "networks": tuple(network.called for network in self.networks),
            "arms": tuple(arm.name for arm in self.arms),
            "real": self.real,
            "seeds": self.seeds,
            "trackers": self.trackers,
        }

    @model_validator(mode="after")
    def runs_where_needed(self) -> Self:
        for arm in self.arms:
            if self.kind not in arm.how.tasks or (arm.filter and self.kind != "segment"):
                raise ValueError(f"the arm `{arm.name}` is none of `{self.kind}`")
            if arm.run is not None and arm.run not in self.runs:
                raise ValueError(f"the arm `{arm.name}` needs the run {arm.run} in `runs`")
            if arm.how.epochs and not self.runs:
                raise ValueError(f"the arm `{arm.name}` needs `runs`, which say its steps")
        for name, run in self.runs.items():
            if isinstance(run, Mapping) and (lacking := [s for s in self.seeds if s not in run]):
                raise ValueError(f"the run {name} in `runs` has no folder for seed {lacking[0]}")
        used = {arm.run for arm in self.arms if arm.role == "use"}
        if idle := [name for name in self.runs if name not in used]:
            raise ValueError(f"`runs` has {idle[0]}, but `arms` has none that trains on it")
        return self

    def arm(self, name: str) -> Arm:
        """The arm of this name."""
        return next(arm for arm in self.arms if arm.name == name)

    def run_folder(self, name: str, real: Scale, seed: int) -> Path:
        """The folder of a run for the trainings of a scale and seed."""
        said = {"{real}": "all" if real is None else str(real), "{seed}": str(seed)}
        run = self.runs[name]
        text = str(run[seed] if isinstance(run, Mapping) else run)
        for mark, value in said.items():
            text = text.replace(mark, value)
        return Path(text)


class ClassifyRecipe(BenchmarkRecipe):
    """`didgen classify`: classifiers with and without synthetic images."""

    kind: Literal["classify"] = "classify"
    default_arms = ("original", "original-epochs", "oversampled", "class-weighted", "focal")
    exclude: tuple[str, ...] = ("NV",)
    """Classes left out: nevi in the paper, which makes six; `[]` for all seven."""
    positive: str = "MEL"
    """The class whose sensitivity at 90 % specificity is told."""
    focal_gamma: Rate = 2.0
    """Of focal loss (Lin et al., ICCV 2017), whose value it is."""


class Filter(Section):
    """The quality filter: which pairs are kept, by the agreement of a segmentation net.

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
    default_arms = ("original", "original-epochs")
    collections: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Real images to take: those whose record names one of these as its `source`, such as
    `isic2018-task1`; null for all that have a mask."""
    filter: Filter = Filter()
    loss: MaskLoss = "dice-bce"
    auxiliary_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of a network's further outputs (deep supervision); most networks have none."""
    boundary_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the outlines that a network predicts besides masks, where it does."""
    patience: Positive = 20

    def lists(self) -> dict[str, tuple[object, ...]]:
        return super().lists() | {"collections": self.collections or ()}


R = TypeVar("R", bound=BenchmarkRecipe)


def with_chosen(recipe: R) -> R:
    """A recipe without the uses that the benchmark `chosen` did not choose; itself without one.

    Only a choice among the very same uses counts: any other is a `DidgenError`.
    """
    if recipe.chosen is None:
        return recipe
    path, found = chosen_record(recipe.chosen)
    choices = found.get("choices")
    if found.get("kind") != recipe.kind or not choices:
        raise DidgenError(f"{path} chose no use for `{recipe.kind}`; name another `chosen`.")
    try:
        there = [Arm.model_validate(arm) for arm in found["recipe"]["arms"]]
        taken = {one["name"] for every in choices.values() for one in every if one["chosen"]}
    except (AttributeError, KeyError, TypeError, ValidationError):
        raise DidgenError(f"{path} is not as didgen wrote it; run its benchmark again.") from None
    uses = [arm for arm in recipe.arms if arm.role == "use"]
    for run in recipe.runs:
        of_run = [arm for arm in uses if arm.run == run]
        searched = [arm for arm in there if arm.role == "use" and arm.run == run]
        by_name = [sorted(arms, key=lambda arm: arm.name) for arms in (of_run, searched)]
        if by_name[0] != by_name[1] or sum(arm.name in taken for arm in of_run) != 1:
            raise DidgenError(
                f"{path} did not choose among the uses of {run} that this recipe has; give both "
                "the same `arms`."
            )
    arms = tuple(arm for arm in recipe.arms if arm.role != "use" or arm.name in taken)
    return recipe.model_copy(update={"arms": arms})


def chosen_record(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The record of the benchmark in a folder, and its path."""
    path = folder / BENCHMARK_NAME
    if not path.is_file():
        raise DidgenError(
            f"`chosen` names {folder}, which is no finished benchmark; run the search to its end, "
            "or name another."
        )
    found = read_json(path)
    return path, found if isinstance(found, dict) else {}


NOT_ASKED = frozenset(
    {"kind", "source", "outside", "runs", "drop_copies", "networks", "arms", "real", "seed"}
    | {
        "reviewed",
        "seeds",
        "seeds_at",
        "search",
        "chosen",
        "test",
        "scope",
        "epochs",
        "max_steps",
        "evaluate_every",
        "filter",
        "trackers",
    }
    | {"keep_weights", "records"}
)
"""Fields that decide no training by themselves: what they come to stands beside the recipe."""
