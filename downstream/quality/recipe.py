"""The recipe of `didgen quality`: which run is compared with which real images, and how."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PlainValidator

from didgen.manifests.choices import Config, Part
from didgen.manifests.files import located
from didgen.manifests.recipes.fields import LocalPath, Positive, Section, Seed


class QualityRecipe(Section):
    """An assessment of one run against one source."""

    kind: Literal["quality"] = "quality"
    real: LocalPath
    """The source manifest."""
    synthetic: Annotated[Path, PlainValidator(lambda place: located(str(place)))]
    """The run, a folder or its URL in an object store."""
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
