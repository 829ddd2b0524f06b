"""Recipes of the downstream benchmarks: which networks, trained on what, and how.

Notable choices:
- All arms of a network differ in their training set or loss, and in nothing else.
- Paths are relative to the working folder, as in the recipes of `manifests.recipe`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, model_validator

from manifests.recipe import Positive, Rate, Section, Seed

Arm = Literal["original", "original-epochs", "oversampled", "class-weighted", "focal", "didgen"]
"""What a network is trained on, or with which loss; the arms but one take the steps of `didgen`.

original: the real images. original-epochs: the same for as many epochs as `didgen`, which are
fewer steps. oversampled: rare classes repeated up to the largest. class-weighted: cross-entropy by
1 / images of the class. focal: focal loss. didgen: the real and the synthetic images.
"""

TREATMENT: Arm = "didgen"
"""The arm that is compared with each other one."""

ARMS: tuple[Arm, ...] = get_args(Arm)

Tracker = Literal[
    "tensorboard", "wandb", "trackio", "aim", "comet_ml", "mlflow", "clearml", "dvclive", "swanlab"
]


class Network(Section):
    """A network of timm, and the weights that it starts from."""

    name: str
    called: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,60}$")] = ""
    """What the report and the folder call it; the name unless one is given."""
    weights: str = "pretrained"
    """`pretrained` is what timm takes from the hub; `reachable` the same, or random weights where
    the hub cannot be reached; `none` is random ones; anything else is a safetensors file."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of `timm.create_model`, such as a width, a depth or the image size."""
    epochs: Positive | None = None
    """Epochs of this network where they differ from the recipe's."""

    @model_validator(mode="before")
    @classmethod
    def called_by_its_name(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("called"):
            return values | {"called": values.get("name")}
        return values


class ClassifyRecipe(Section):
    """`didgen classify`: classifiers with and without synthetic images."""

    kind: Literal["classify"] = "classify"
    source: Path
    run: Path | None = None
    """The run of `augment` whose images the arm `didgen` adds."""
    exclude: tuple[str, ...] = ("NV",)
    """Classes left out: nevi in the paper, which makes six; `[]` for all seven."""
    networks: Annotated[tuple[Network, ...], Field(min_length=1)]
    arms: Annotated[tuple[Arm, ...], Field(min_length=1)] = ARMS
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0, 1, 2, 3, 4)
    """Trainings of each arm of each network; seeds are paired over the arms."""
    positive: str = "MEL"
    """The class whose sensitivity at 90 % specificity is told."""
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
    focal_gamma: Rate = 2.0
    """Of focal loss (Lin et al., ICCV 2017), whose value it is."""
    patience: Positive = 10
    """Evaluations without a better one after which a training ends. One is made after as many steps
    as the real images take, in every arm alike."""
    mixed_precision: Literal["no", "bf16", "fp16"] = "bf16"
    trackers: tuple[Tracker, ...] = ("tensorboard",)
    """Where curves go to, besides the result: trackers of accelerate."""
    keep_weights: bool = True
    """Keep the best weights of each training as safetensors."""

    @model_validator(mode="after")
    def names_are_unique(self) -> Self:
        names: dict[str, tuple[object, ...]] = {
            "networks": tuple(network.called for network in self.networks),
            "arms": self.arms,
            "seeds": self.seeds,
            "trackers": self.trackers,
        }
        for field, values in names.items():
            if len(set(values)) < len(values):
                twice = next(value for value in values if values.count(value) > 1)
                mend = "; set another `called` for one" if field == "networks" else ""
                raise ValueError(f"`{field}` has {twice} twice{mend}")
        return self

    @model_validator(mode="after")
    def run_where_needed(self) -> Self:
        if self.run is None and (needing := {"didgen", "original-epochs"} & {*self.arms}):
            raise ValueError(f"the arm `{min(needing)}` needs `run`, a run of `didgen augment`")
        if self.run is not None and "didgen" not in self.arms:
            raise ValueError("`run` is given, but `arms` has no `didgen` to train on it")
        return self


TRACKING_ONLY = {"trackers", "keep_weights"}
"""Fields that decide what is kept of a training, not what it does."""
