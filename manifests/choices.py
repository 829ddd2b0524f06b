"""Choices: the closed lists of words that options, recipes and records share, each written once."""

from typing import Literal, TypeAlias

Config: TypeAlias = Literal["images", "pairs"]
"""The two kinds of samples: images with a class, and images with a lesion mask."""

Split: TypeAlias = Literal["train", "val", "test"]

MaskOrientation: TypeAlias = Literal["upright", "stored"]
"""What a mask was drawn on: the photograph as viewers show it, or its pixels as they are stored."""

LabelBy: TypeAlias = Literal["diagnosis", "malignancy"]
"""Which of two labels a public table gives: the diagnosis, or benign against malignant."""

ExportForm: TypeAlias = Literal["imagefolder", "parquet", "nnunet"]
"""The layouts that `didgen export` writes."""

Part: TypeAlias = Literal["held-out", "train", "val", "test"]
"""The real images that `didgen quality` compares with: val and test together, training ones, or one
of the held-out splits: figures that choose something come from val, and test confirms."""

ChatBackend: TypeAlias = Literal["transformers", "openai"]
"""Where a language model runs: on this machine, or behind an OpenAI-compatible endpoint."""

CaptionBackend: TypeAlias = Literal["measure", ChatBackend]
"""Who writes captions: the measurement of the pixels, or a language model."""

PromptForm: TypeAlias = Literal["caption", "class", "prefix"]
"""What a prompt says behind the fixed prefix: a clinical sentence, the class's name, or nothing."""

Reviewed: TypeAlias = Literal["accepted"]
"""Which samples the experts' reviews leave: those that are accepted."""

Engine: TypeAlias = Literal["local", "ray"]
"""Where shards are made: in this process, or on a Ray cluster."""

Executor: TypeAlias = Literal["local", "slurm"]
"""What carries the stages of a study out: this machine, or Slurm's jobs."""

Method: TypeAlias = Literal["didgen", "stylegan", "pgan", "pix2pixhd", "controlnet"]
"""How a model makes samples: DiDGen, or a rival of its paper's tables."""
