"""The job: a recipe made ready to be carried out."""

from dataclasses import dataclass

from augment.layout import Layouts
from augment.pipeline import LesionPairPipeline
from augment.plan import Planned
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

    def count(self, config: Config) -> int:
        """Samples planned for a config."""
        return sum(len(shard) for shard in self.plan[config])

    @property
    def shards(self) -> dict[Config, int]:
        """The number of shards of each config."""
        return {config: len(shards) for config, shards in self.plan.items()}
