"""Results: what each training of a benchmark leaves on disk, and the way back.

    OUT/runs/NETWORK/ARM/seed-N/  curves/, validation.jsonl, weights.safetensors, result.json,
                                  predictions.jsonl, outside.jsonl, tested.json

Where a training has a part of the real images only, `real-100`, say, stands before the seed.
`result.json` is written last: a folder without one, or whose files are no longer those it names,
holds no result, and the training is made again.

A training leaves its predictions on validation images, by which uses are chosen. Test images are
predicted later, and by those networks alone that the choice lets through.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors.torch import save
from torch import nn

from didgen.downstream.benchmark.training_result import RESULT_NAME, TESTED_NAME, Result, Tested
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

FILTER_FOLDER = "filter"
"""Folder of a benchmark for what the networks of the filter say, by run."""

VALIDATION_NAME = "validation.jsonl"

PREDICTIONS_NAME = "predictions.jsonl"

FILES_OF = {"val": VALIDATION_NAME, "test": PREDICTIONS_NAME, "outside": "outside.jsonl"}
"""The file of predictions on each part of the images."""

WEIGHTS_NAME = "weights.safetensors"

DECIMALS = 7
"""Decimals of a probability or figure in `predictions.jsonl`: float32 has no more."""


@dataclass(frozen=True)
class Predictions:
    """Probabilities (N, C) of images, their labels (N,) and units."""

    keys: tuple[str, ...]
    units: tuple[str, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    def rows(self, classes: Sequence[str]) -> Iterator[dict[str, Any]]:
        """One row an image, as `predictions.jsonl` holds it."""
        known = zip(self.keys, self.units, self.labels, self.probabilities, strict=True)
        for key, unit, label, chances in known:
            rounded = [round(float(chance), DECIMALS) for chance in chances]
            yield {"key": key, "unit": unit, "label": classes[label], "probabilities": rounded}


@dataclass(frozen=True)
class Segmentations:
    """Predicted masks (N, S, S) of images, and how well each agrees with the true one."""

    keys: tuple[str, ...]
    units: tuple[str, ...]
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
            yield {"key": key, "unit": self.units[place], **reported, "mask": mask}


def training_folder(out: Path, network: str, arm: str, seed: int, real: int | None = None) -> Path:
    """Where a training's files lie."""
    scale = "" if real is None else f"real-{real}"
    return out / "runs" / network / arm / scale / f"seed-{seed}"


def find_result(folder: Path, asked: dict[str, Any]) -> Result | None:
    """The result in a folder if it is whole and was asked for like this; None if it is not whole.

    Weights may be gone: they are needed for a test only. A result that was asked for otherwise is a
    `DidgenError` that names the fields that differ, and so is one of an older didgen.
    """
    try:
        result = Result.model_validate(read_json(folder / RESULT_NAME))
    except (DidgenError, ValidationError):
        return None
    if result.format == 1:
        raise DidgenError(
            f"{folder} holds the result of an older didgen, without predictions on validation "
            "images, by which uses are chosen now; choose another directory, or delete that one to "
            "train again."
        )
    if fields := differences(result.asked, asked):
        raise DidgenError(
            f"{folder} holds the result of another training: it differs in {', '.join(fields)}; "
            "choose another directory, or delete that one to train again."
        )
    for name, sha256 in result.files.items():
        if name != WEIGHTS_NAME and not _is_whole(folder / name, sha256):
            return None
    return result


def has_weights(folder: Path, result: Result) -> bool:
    """Whether the weights of a training are there as they were written."""
    sha256 = result.files.get(WEIGHTS_NAME)
    return sha256 is not None and _is_whole(folder / WEIGHTS_NAME, sha256)


def find_tested(folder: Path, result: Result, data: Mapping[str, str]) -> Tested | None:
    """The test of a training on these parts, None where it is not there, not whole or another."""
    try:
        tested = Tested.model_validate(read_json(folder / TESTED_NAME))
    except (DidgenError, ValidationError):
        return None
    whole = all(_is_whole(folder / name, sha256) for name, sha256 in tested.files.items())
    own = result.files.get(VALIDATION_NAME)
    return tested if whole and tested.of == own and tested.data == data else None


def find_tested_files(out: Path) -> list[Path]:
    """The folders of a benchmark's trainings that were tested, in order.

    Test predictions that are not as they were written are a `DidgenError`.
    """
    folders = sorted(path.parent for path in (out / "runs").rglob(TESTED_NAME))
    for folder in folders:
        tested = Tested.model_validate(read_json(folder / TESTED_NAME))
        name = FILES_OF["test"]
        if not _is_whole(folder / name, tested.files.get(name, "")):
            raise DidgenError(
                f"{folder / name} is not as it was written; let the benchmark's command test again."
            )
    return folders


def _is_whole(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_of(path) == sha256


def write_result(
    folder: Path,
    predictions: Mapping[str, Iterable[dict[str, Any]]],
    network: nn.Module | None,
    record: dict[str, Any],
) -> Result:
    """Write predictions by the name of their file, the weights of a network, then the result."""
    for name, rows in predictions.items():
        write_json_lines(folder / name, rows)
    names = [*predictions]
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


def write_tested(
    folder: Path,
    result: Result,
    predictions: Mapping[str, Iterable[dict[str, Any]]],
    data: Mapping[str, str],
    figures: dict[str, dict[str, Any]],
) -> Tested:
    """Write the predictions of a test by part, and then its record."""
    files = {}
    for part, rows in predictions.items():
        write_json_lines(folder / FILES_OF[part], rows)
        files[FILES_OF[part]] = sha256_of(folder / FILES_OF[part])
    of = result.files[VALIDATION_NAME]
    tested = Tested(of=of, data=dict(data), figures=figures, files=files)
    write_json(folder / TESTED_NAME, tested.model_dump(mode="json"))
    return tested


def copy_records(source: Path, target: Path) -> None:
    """Copy the small files of a training: its records and predictions, no weights; records last."""
    names = [*FILES_OF.values(), PREDICTIONS_NAME, TESTED_NAME, RESULT_NAME]
    for name in dict.fromkeys(names):
        if (source / name).is_file():
            data = (source / name).read_bytes()
            there = target / name
            if not there.is_file() or there.read_bytes() != data:
                write_bytes(there, data)


def read_predictions(
    folder: Path, classes: Sequence[str], name: str = PREDICTIONS_NAME
) -> Predictions:
    """The predictions of a training; what is not what didgen writes there is a `DidgenError`."""
    path = folder / name
    rows = read_json_lines(path)
    try:
        chances = np.array([row["probabilities"] for row in rows], np.float64)
        if chances.shape != (len(rows), len(classes)) or not len(rows):
            raise ValueError(f"{chances.shape} probabilities of {len(classes)} classes")
        return Predictions(
            tuple(str(row["key"]) for row in rows),
            tuple(map(_unit, rows)),
            np.array([classes.index(row["label"]) for row in rows], np.int64),
            chances,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _foreign(path, error) from None


def read_segmentations(folder: Path, name: str = PREDICTIONS_NAME) -> Segmentations:
    """The masks of a training; what is not what didgen writes there is a `DidgenError`."""
    path = folder / name
    rows = read_json_lines(path)
    try:
        if not rows:
            raise ValueError("no image")
        names = [one.name for one in fields(Overlaps)]
        return Segmentations(
            tuple(str(row["key"]) for row in rows),
            tuple(map(_unit, rows)),
            Overlaps(**{name: np.array([row[name] for row in rows], np.float64) for name in names}),
            np.stack([mask_of(row["mask"]) for row in rows]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _foreign(path, error) from None


def _unit(row: Mapping[str, Any]) -> str:
    """The patient or lesion of a row; older predictions have lesions alone."""
    return str(row["unit"] if "unit" in row else row["lesion"])


def _foreign(path: Path, error: Exception) -> DidgenError:
    return DidgenError(
        f"{path} is not what didgen writes there ({error}); delete its folder to train again."
    )
