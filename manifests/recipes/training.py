"""What every training recipe has, whatever the method: its data, its order, its checkpoints."""

from collections.abc import Set as AbstractSet
from typing import Annotated, Any, Literal

from pydantic import Field

from didgen.manifests.choices import Method, PromptForm
from didgen.manifests.recipes.fields import (
    LocalPath,
    Positive,
    Precision,
    Rate,
    Section,
    Seed,
    Share,
    Subset,
)
from didgen.manifests.recipes.fingerprint import without_added


class TrainingRecipe(Section):
    """`didgen finetune`: what the recipes of all methods share; `method` names that of a recipe."""

    kind: Literal["finetune"] = "finetune"
    method: Method
    source: LocalPath
    collections: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Collections of the source whose images are trained on, such as `isic2018-task1`: the field
    `source` of their records. null is all of them."""
    exclude: tuple[str, ...] = ()
    """Classes whose images are left out; one without a label is of no class, and stays. The paper
    trains on Task 1 alone for its pairs, and on Task 3 without NV for its images."""
    subset: Subset | None = None
    """Of the images that `collections` and `exclude` let through, those that a benchmark's scale of
    scarcity keeps; null for all. A comparison of the closed scope needs a model of these alone."""
    prompt: PromptForm
    """What an image is shown with: the prefix and its caption, as DiDGen is; the prefix and the
    name of its class alone; or the bare prefix, as the paper's rivals are."""
    image_size: Positive
    learning_rate: Rate
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
    checkpoint_every: Positive = 500
    save_as: Literal["float32", "float16"] = "float32"
    seed: Seed = 42


FREE = {"checkpoint_every", "compile", "save_as", "gradient_checkpointing", "sampling"}
"""Fields that do not decide what a run computes, and may change while it goes on."""

ADDED: dict[str, Any] = {
    "attention_reduction": "mean",
    "attention_timesteps": "constant",
    "collections": None,
    "exclude": [],
    "gradient_accumulation": 1,
    "method": "didgen",
    "posterior": "mode",
    "prior": None,
    "prompt": "caption",
    "subset": None,
}
"""Fields that recipes did not always have, as `without_added` takes them."""


def asked(recipe: TrainingRecipe, free: AbstractSet[str] = frozenset()) -> dict[str, Any]:
    """The fields of a recipe that decide the result, as JSON values; `free` leaves out more."""
    return without_added(recipe.model_dump(mode="json", exclude=FREE | free), ADDED)
