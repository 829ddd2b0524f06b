"""Fixtures of the benchmarks: images in memory, recipes that take seconds, and finished ones."""

from tests.fixtures.assessments import assessed, quality_recipe, smooth_data
from tests.fixtures.benchmarks import (
    classified,
    guided_run,
    images,
    judges,
    outside,
    recipe,
    segment_recipe,
    segmentation_job,
    segmented,
)
from tests.fixtures.environment import fresh_accelerator
from tests.fixtures.networks import learned_dice, timm_weights
from tests.fixtures.study import own_study, study

__all__ = ["assessed", "quality_recipe", "smooth_data"]
__all__ += ["classified", "guided_run", "images", "judges", "outside", "recipe"]
__all__ += ["segment_recipe", "segmentation_job", "segmented"]
__all__ += ["fresh_accelerator", "learned_dice", "own_study", "study", "timm_weights"]
