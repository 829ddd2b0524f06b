# The public face: what stands here is loaded lazily by `__init__.py`, and typed.
from .augment.diffusion.annotation import binarise, propagate
from .augment.diffusion.losses import attention_loss, layout_loss, leak_loss, region_masks
from .augment.diffusion.model_folder import load_pipeline, save_pipeline
from .augment.diffusion.pipeline import LesionPairPipeline
from .augment.finetuning.finetune import finetune
from .augment.generation.prepare import prepare_generation
from .augment.methods.generator import Drawing, Generator
from .downstream.benchmark.recipe import ClassifyRecipe, SegmentRecipe
from .downstream.quality.recipe import QualityRecipe
from .downstream.stats.paired import crossed_test, t_test, wilcoxon
from .manifests.errors import DidgenError
from .manifests.importers.admission import ImportOptions
from .manifests.importers.folder import import_folder
from .manifests.importers.isic2018 import import_isic2018
from .manifests.recipes.augment import AugmentRecipe
from .manifests.recipes.finetune import FinetuneRecipe
from .manifests.recipes.mix import MixRecipe
from .manifests.recipes.reading import read_recipe
from .manifests.runs.verify import verify
from .manifests.shards.index import read_manifest
from .manifests.shards.shard import read_shard
from .manifests.sources.records import SourceManifest, SourceRecord

__all__ = [
    "AugmentRecipe",
    "ClassifyRecipe",
    "DidgenError",
    "Drawing",
    "FinetuneRecipe",
    "Generator",
    "ImportOptions",
    "LesionPairPipeline",
    "MixRecipe",
    "QualityRecipe",
    "SegmentRecipe",
    "SourceManifest",
    "SourceRecord",
    "attention_loss",
    "binarise",
    "crossed_test",
    "finetune",
    "import_folder",
    "import_isic2018",
    "layout_loss",
    "leak_loss",
    "load_pipeline",
    "prepare_generation",
    "propagate",
    "read_manifest",
    "read_recipe",
    "read_shard",
    "region_masks",
    "save_pipeline",
    "t_test",
    "verify",
    "wilcoxon",
]
