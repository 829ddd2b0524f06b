"""The recipe of `didgen quality`: which run is compared with which real images, and how."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, PlainValidator, model_validator

from didgen.manifests.choices import Config, Part
from didgen.manifests.files import located
from didgen.manifests.recipes.fields import LocalPath, Positive, Section, Seed

RunPlace: TypeAlias = Annotated[Path, PlainValidator(lambda place: located(str(place)))]
"""A run, a folder or its URL in an object store."""

RunName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,59}$")]
"""The name of a run, which is that of a folder too."""


class QualityRecipe(Section):
    """An assessment of runs against one source."""

    kind: Literal["quality"] = "quality"
    real: LocalPath
    """The source manifest."""
    synthetic: RunPlace
    """The run; the first of `runs`, where these are given in its place."""
    runs: dict[RunName, RunPlace] = Field(default_factory=dict)
    """Several runs by name: each is assessed, and their figures stand side by side."""
    extractor: str = "inception"
    """Network of the features: inception, timm:NAME, or an earlier layer of either."""
    weights: str = "pretrained"
    """Its weights: a safetensors file; for timm also `pretrained`, `reachable` or `none`."""
    size: Annotated[int, Field(ge=32, le=2048)] | None = None
    """Side of the images in pixels; the network's own where it is left open."""
    against: Part = "held-out"
    """The real images that figures compare with; the others make the real baseline."""
    config: Config | None = None
    """What is assessed; all that the run holds where it is left open."""
    lpips: LocalPath | None = None
    """LPIPS's weights, a safetensors file."""
    pairs: Positive = 256
    """Pairs of images at most that MS-SSIM and LPIPS compare."""
    planted: Positive = 100
    """Training images that are changed and looked for again."""
    judges: tuple[LocalPath, ...] = ()
    """Folders of trainings on real images, the reference classifiers and segmentation nets."""
    seed: Seed = 0
    """Seed of every draw."""

    @model_validator(mode="before")
    @classmethod
    def one_run_or_several(cls, values: Any) -> Any:
        runs = values.get("runs") if isinstance(values, Mapping) else None
        if not isinstance(runs, Mapping) or not runs:
            return values
        first = next(iter(runs.values()))
        if str(values.get("synthetic") or first) != str(first):
            raise ValueError("give `synthetic`, which is one run, or `runs`, not both")
        return {**values, "synthetic": first}

    def each(self) -> dict[str, Self]:
        """The recipe of each run by its name; one without `runs` has no name."""
        if not self.runs:
            return {"": self}
        return {
            name: self.model_copy(update={"synthetic": run, "runs": {}})
            for name, run in self.runs.items()
        }
