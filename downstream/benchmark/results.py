"""Results: what each training of a benchmark leaves on disk, and the way back.

    OUT/runs/NETWORK/ARM/seed-N/  curves/, predictions.jsonl, weights.safetensors, result.json

Where a training has a part of the real images only, `real-100`, say, stands before the seed.
`result.json` is written last: a folder without one, or whose files are no longer those it names,
holds no result, and the training is made again.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors.torch import save
from torch import nn

from didgen.downstream.benchmark.training_result import RESULT_NAME, Result
from didgen.downstream.metrics.segmentation import Masks, Overlaps, mask_of, run_lengths
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import (
    read_json,
    read_json_lines,
    sha256_of,
    write_bytes,
    write_json,
    write_json_lines,
)
from didgen.manifests.runs.claim import differences

CURVES_NAME = "curves"

PREDICTIONS_NAME = "predictions.jsonl"

WEIGHTS_NAME = "weights.safetensors"

DECIMALS = 7
"""Decimals of a probability or figure in `predictions.jsonl`: float32 has no more."""


@dataclass(frozen=True)
class Predictions:
    """Probabilities (N, C) of test images, their labels (N,) and lesions."""

    keys: tuple[str, ...]
    lesions: tuple[str, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    def rows(self, classes: Sequence[str]) -> Iterator[dict[str, Any]]:
        """One row an image, as `predictions.jsonl` holds it."""
        known = zip(self.keys, self.lesions, self.labels, self.probabilities, strict=True)
        for key, lesion, label, chances in known:
            rounded = [round(float(chance), DECIMALS) for chance in chances]
            yield {"key": key, "lesion": lesion, "label": classes[label], "probabilities": rounded}


@dataclass(frozen=True)
class Segmentations:
    """Predicted masks (N, S, S) of test images, and how well each agrees with the true one."""

    keys: tuple[str, ...]
    lesions: tuple[str, ...]
    overlaps: Overlaps
    masks: Masks

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row an image, as `predictions.jsonl` holds it."""
        figures = vars(self.overlaps)
        for place, key in enumerate(self.keys):
            reported = {
                name: round(float(values[place]), DECIMALS) for name, values in figures.items()
            }
            mask = run_lengths(self.masks[place])
            yield {"key": key, "lesion": self.lesions[place], **reported, "mask": mask}


def training_folder(out: Path, network: str, arm: str, seed: int, real: int | None = None) -> Path:
    """Where a training's files lie."""
    scale = "" if real is None else f"real-{real}"
    return out / "runs" / network / arm / scale / f"seed-{seed}"


def find_result(folder: Path, asked: dict[str, Any]) -> Result | None:
    """The result in a folder if it is whole and was asked for like this; None if it is not whole.

    One that was asked for otherwise is a `DidgenError` that names the fields that differ.
    """
    try:
        result = Result.model_validate(read_json(folder / RESULT_NAME))
    except (DidgenError, ValidationError):
        return None
    if fields := differences(result.asked, asked):
        raise DidgenError(
            f"{folder} holds the result of another training: it differs in {', '.join(fields)}; "
            "choose another directory, or delete that one to train again."
        )
    for name, sha256 in result.files.items():
        path = folder / name
        if not path.is_file() or sha256_of(path) != sha256:
            return None
    return result


def write_result(
    folder: Path,
    rows: Iterable[dict[str, Any]],
    network: nn.Module | None,
    record: dict[str, Any],
) -> Result:
    """Write predictions, the weights of a network if one is given, and then the result."""
    write_json_lines(folder / PREDICTIONS_NAME, rows)
    names = [PREDICTIONS_NAME]
    if network is not None:
        # Clones, because safetensors takes no tensor that a network has under two names.
        state = {
            name: part.detach().cpu().contiguous().clone()
            for name, part in network.state_dict().items()
        }
        write_bytes(folder / WEIGHTS_NAME, save(state))
        names.append(WEIGHTS_NAME)
    result = Result(files={name: sha256_of(folder / name) for name in names}, **record)
    write_json(folder / RESULT_NAME, result.model_dump(mode="json"))
    return result


def read_predictions(folder: Path, classes: Sequence[str]) -> Predictions:
    """The predictions of a training; what is not what didgen writes there is a `DidgenError`."""
    path = folder / PREDICTIONS_NAME
    rows = read_json_lines(path)
    try:
        chances = np.array([row["probabilities"] for row in rows], np.float64)
        if chances.shape != (len(rows), len(classes)) or not len(rows):
            raise ValueError(f"{chances.shape} probabilities of {len(classes)} classes")
        return Predictions(
            tuple(str(row["key"]) for row in rows),
            tuple(str(row["lesion"]) for row in rows),
            np.array([classes.index(row["label"]) for row in rows], np.int64),
            chances,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _foreign(path, error) from None


def read_segmentations(folder: Path) -> Segmentations:
    """The masks of a training; what is not what didgen writes there is a `DidgenError`."""
    path = folder / PREDICTIONS_NAME
    rows = read_json_lines(path)
    try:
        if not rows:
            raise ValueError("no image")
        names = [one.name for one in fields(Overlaps)]
        return Segmentations(
            tuple(str(row["key"]) for row in rows),
            tuple(str(row["lesion"]) for row in rows),
            Overlaps(**{name: np.array([row[name] for row in rows], np.float64) for name in names}),
            np.stack([mask_of(row["mask"]) for row in rows]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _foreign(path, error) from None


def _foreign(path: Path, error: Exception) -> DidgenError:
    return DidgenError(
        f"{path} is not what didgen writes there ({error}); delete its folder to train again."
    )
