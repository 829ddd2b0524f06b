"""Judges: networks that a benchmark trained on real images, to be asked about synthetic ones.

Notable choices:
- A judge is the folder of one training of `didgen classify` or `didgen segment`, with its weights.
- One that was trained on synthetic samples is no judge, nor one that was validated or tested on
  images which are not held out in this source: it learned from another split.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from didgen.downstream.benchmark.results import (
    PREDICTIONS_NAME,
    VALIDATION_NAME,
    WEIGHTS_NAME,
    read_predictions,
    read_segmentations,
)
from didgen.downstream.benchmark.training_result import RESULT_NAME, Result
from didgen.downstream.networks.classifiers import build_classifier
from didgen.downstream.networks.network import Network
from didgen.downstream.networks.segmenters import build_segmenter
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json, sha256_of
from didgen.manifests.sources.records import SourceManifest


@dataclass(frozen=True)
class Judge:
    """A trained network: a classifier of `classes`, or where there are none a segmentation net."""

    folder: Path
    name: str
    network: nn.Module
    size: int
    classes: tuple[str, ...]
    sha256: str


def read_judges(folders: Iterable[Path], source: SourceManifest) -> tuple[Judge, ...]:
    """The judges in some folders, each with a name of its own; see `read_judge`."""
    judges = [read_judge(folder, source) for folder in folders]
    names = Counter(judge.name for judge in judges)
    return tuple(
        replace(judge, name=f"{judge.name}, {judge.sha256[:8]}") if names[judge.name] > 1 else judge
        for judge in judges
    )


def read_judge(folder: Path, source: SourceManifest) -> Judge:
    """The network that a benchmark left in `folder`, ready to judge.

    What `open_judge` refuses, and a training with synthetic samples or whose held-out images are
    not held out in `source`, is a `DidgenError`.
    """
    judge = open_judge(folder)
    result = Result.model_validate(read_json(folder / RESULT_NAME))
    if "synthetic" in result.asked["images"]:
        raise DidgenError(
            f"{folder} was trained on synthetic samples too; give a training of `original`."
        )
    if judge.classes:
        keys = read_predictions(folder, judge.classes, name_of(result)).keys
    else:
        keys = read_segmentations(folder, name_of(result)).keys
    held_out = {record.key for split in ("val", "test") for record in source.select(split=split)}
    if strange := [key for key in keys if key not in held_out]:
        raise DidgenError(
            f"{folder} predicted {strange[0]}, which is not held out in the source; give a "
            "training on this source."
        )
    return judge


def open_judge(folder: Path) -> Judge:
    """The network that a benchmark left in `folder`, whatever it was trained on.

    What is no such folder, and one without weights or with others than were written, is a
    `DidgenError`.
    """
    try:
        result = Result.model_validate(read_json(folder / RESULT_NAME))
        asked = result.asked
        recipe, arm = asked["recipe"], asked["arm"]
        network = Network.model_validate(asked["network"] | {"weights": "none"})
        size, classes = int(recipe["image_size"]), tuple(asked.get("classes", ()))
        name = f"{network.called} at {size} px, {arm}, seed {asked['seed']}"
        if not classes:
            name += f", {asked['images']['train']} real pairs"
    except (DidgenError, ValidationError, KeyError, TypeError, ValueError):
        raise DidgenError(
            f"{folder} is no training of `didgen classify` or `didgen segment`; give a folder such "
            "as OUT/runs/NETWORK/original/seed-0."
        ) from None
    weights = folder / WEIGHTS_NAME
    if WEIGHTS_NAME not in result.files:
        raise DidgenError(
            f"{folder} has no weights; delete it, and train it again by its recipe with "
            "`keep_weights: true`."
        )
    sha256 = result.files[WEIGHTS_NAME]
    if not weights.is_file() or sha256_of(weights) != sha256:
        raise DidgenError(f"{weights} is missing or not as it was written; train it again.")
    if classes:
        built: nn.Module = build_classifier(network, len(classes), None)
    else:
        built = build_segmenter(network, None)
    try:
        built.get_submodule("network").load_state_dict(load_file(weights))
    except (RuntimeError, SafetensorError) as error:
        raise DidgenError(
            f"{weights} does not fit its network ({error}); train it again."
        ) from None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Judge(folder, name, built.eval().to(device), size, classes, sha256)


def name_of(result: Result) -> str:
    """The file of predictions that goes with a result: on validation images, or in an older one on
    test images."""
    return VALIDATION_NAME if VALIDATION_NAME in result.files else PREDICTIONS_NAME
