"""The job: a recipe made ready to be carried out."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from augment.layout import Layouts
from augment.pipeline import LesionPairPipeline
from augment.plan import Planned
from manifests.attention import WATCHED
from manifests.contamination import TrainedOn
from manifests.recipe import AugmentRecipe
from manifests.shards import Config


@dataclass(frozen=True)
class Job:
    """A recipe made ready: its model, its classes, its layouts and its plan."""

    recipe: AugmentRecipe
    pipeline: LesionPairPipeline
    classes: tuple[str, ...]
    layouts: Layouts
    plan: dict[Config, list[list[Planned]]]
    fingerprint: str
    """Of the recipe, the plan, the model's files and the layouts: of what decides the result."""
    trained_on: TrainedOn

    def count(self, config: Config) -> int:
        """Samples planned for a config."""
        return sum(len(shard) for shard in self.plan[config])

    def watched(self, batch: Iterable[Planned]) -> int:
        """How many of a batch have their attention maps kept: of pairs, those first in the plan."""
        pairs = (planned.key for shard in self.plan.get("pairs", []) for planned in shard)
        first = {*islice(pairs, WATCHED)}
        return sum(planned.key in first for planned in batch)

    @property
    def shards(self) -> dict[Config, int]:
        """The number of shards of each config."""
        return {config: len(shards) for config, shards in self.plan.items()}
