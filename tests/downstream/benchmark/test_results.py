"""Tests of results on disk: whole ones are found, torn ones made again, others named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from didgen.downstream.benchmark.results import (
    PREDICTIONS_NAME,
    VALIDATION_NAME,
    WEIGHTS_NAME,
    Predictions,
    Segmentations,
    copy_records,
    find_result,
    find_tested,
    has_weights,
    read_predictions,
    read_segmentations,
    training_folder,
    write_result,
    write_tested,
)
from didgen.downstream.benchmark.training_result import RESULT_NAME
from didgen.downstream.metrics.segmentation import overlaps
from didgen.manifests.errors import DidgenError

CLASSES = ("MEL", "BCC")
ASKED = {"seed": 1, "network": {"name": "vgg16", "arguments": {}}}


def write(folder: Path, network: nn.Module | None = None) -> Predictions:
    predictions = Predictions(
        ("a", "b", "c"),
        ("1", "1", "2"),
        np.array([0, 0, 1]),
        np.array([[0.9, 0.1], [1 / 3, 2 / 3], [0.0, 1.0]]),
    )
    record = {
        "asked": ASKED,
        "training": {"seconds": 1.0},
        "figures": {},
        "versions": {},
        "device": "cpu, no",
    }
    rows = predictions.rows(CLASSES)
    write_result(folder, {PREDICTIONS_NAME: rows}, network, record)
    return predictions


def test_a_result_comes_back(tmp_path: Path) -> None:
    network = nn.Linear(2, 2)
    written = write(tmp_path, network)
    result = find_result(tmp_path, ASKED)
    assert result is not None
    assert set(result.files) == {PREDICTIONS_NAME, WEIGHTS_NAME}
    read = read_predictions(tmp_path, CLASSES)
    assert (read.keys, read.units) == (written.keys, written.units)
    assert np.array_equal(read.labels, written.labels)
    assert np.allclose(read.probabilities, written.probabilities, atol=1e-7)
    state = load_file(tmp_path / WEIGHTS_NAME)
    assert torch.equal(state["weight"], network.weight)


def test_weights_under_two_names_are_kept_under_both(tmp_path: Path) -> None:
    layer = nn.Linear(2, 2)
    write(tmp_path, nn.ModuleDict({"own": layer, "again": layer}))
    assert find_result(tmp_path, ASKED) is not None
    state = load_file(tmp_path / WEIGHTS_NAME)
    assert torch.equal(state["own.weight"], state["again.weight"])


def test_weights_are_kept_only_where_a_network_is_given(tmp_path: Path) -> None:
    write(tmp_path)
    assert not (tmp_path / WEIGHTS_NAME).exists()
    assert find_result(tmp_path, ASKED) is not None


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"{}")])
def test_weights_may_be_gone_and_are_then_not_there(
    damage: Callable[[Path], object], tmp_path: Path
) -> None:
    write(tmp_path, nn.Linear(2, 2))
    result = find_result(tmp_path, ASKED)
    assert result is not None and has_weights(tmp_path, result)
    damage(tmp_path / WEIGHTS_NAME)
    assert find_result(tmp_path, ASKED) == result
    assert not has_weights(tmp_path, result)


def test_a_result_of_an_older_didgen_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / RESULT_NAME
    path.write_text(path.read_text().replace('"format": 2', '"format": 1'))
    with pytest.raises(DidgenError, match="of an older didgen, without predictions on validation"):
        find_result(tmp_path, ASKED)


def test_a_test_is_found_if_it_is_of_this_training_on_these_images(tmp_path: Path) -> None:
    record = {"asked": ASKED, "training": {}, "figures": {}, "versions": {}, "device": "cpu"}
    result = write_result(tmp_path, {VALIDATION_NAME: [{"key": "a"}]}, None, record)
    rows = {"test": [{"key": "b"}], "outside": [{"key": "c"}]}
    data = {"test": "t", "outside": "o"}
    tested = write_tested(tmp_path, result, rows, data, {"test": {}, "outside": {}})
    assert set(tested.files) == {PREDICTIONS_NAME, "outside.jsonl"}
    assert find_tested(tmp_path, result, data) == tested
    assert find_tested(tmp_path, result, {"test": "t"}) is None
    assert find_tested(tmp_path, result, data | {"test": "others"}) is None
    other = write_result(tmp_path, {VALIDATION_NAME: [{"key": "z"}]}, None, record)
    assert find_tested(tmp_path, other, data) is None
    copy_records(tmp_path, tmp_path / "records")
    assert find_tested(tmp_path / "records", result, data) == tested
    assert find_result(tmp_path / "records", ASKED) == other
    (tmp_path / "outside.jsonl").write_text("torn")
    assert find_tested(tmp_path, result, data) is None


@pytest.mark.parametrize("name", [RESULT_NAME, PREDICTIONS_NAME])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"{}")])
def test_what_is_not_whole_is_no_result(
    name: str, damage: Callable[[Path], object], tmp_path: Path
) -> None:
    write(tmp_path, nn.Linear(2, 2))
    damage(tmp_path / name)
    assert find_result(tmp_path, ASKED) is None


def test_a_result_of_another_training_is_refused_by_its_fields(tmp_path: Path) -> None:
    write(tmp_path)
    other = {"seed": 2, "network": {"name": "vgg16", "arguments": {"depth": 3}}}
    with pytest.raises(DidgenError, match=r"network\.arguments\.depth .*, seed \(1, now 2\)"):
        find_result(tmp_path, other)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"key": "a", "lesion": "1", "label": "NV", "probabilities": [0.5, 0.5]}],
        [{"key": "a", "lesion": "1", "label": "MEL", "probabilities": [1.0]}],
        [{"key": "a", "label": "MEL", "probabilities": [0.5, 0.5]}],
        [[]],
    ],
)
def test_predictions_that_are_none_are_refused(rows: Any, tmp_path: Path) -> None:
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    (tmp_path / PREDICTIONS_NAME).write_text(text)
    with pytest.raises(DidgenError, match="is not what didgen writes there"):
        read_predictions(tmp_path, CLASSES)


def test_masks_come_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    masks, truths = rng.random((2, 3, 8, 9)) < 0.5
    written = Segmentations(("a", "b", "c"), ("1", "1", "2"), overlaps(masks, truths), masks)
    path = tmp_path / PREDICTIONS_NAME
    path.write_text("".join(f"{json.dumps(row)}\n" for row in written.rows()))
    read = read_segmentations(tmp_path)
    assert (read.keys, read.units) == (written.keys, written.units)
    assert np.array_equal(read.masks, masks)
    for name, values in vars(written.overlaps).items():
        assert getattr(read.overlaps, name) == pytest.approx(values, abs=1e-7)
    first = json.loads(path.read_text().splitlines()[0])
    for fault in ({}, {"mask": {"size": [8, 9], "counts": [1]}}, {"dice": "good"}):
        row = first | fault if fault else {}
        path.write_text(json.dumps(row))
        with pytest.raises(DidgenError, match="is not what didgen writes there"):
            read_segmentations(tmp_path)


def test_each_training_has_a_folder_of_its_own(tmp_path: Path) -> None:
    folders = {
        training_folder(tmp_path, network, arm, seed, real)
        for network in ("vgg16", "vit")
        for arm in ("original", "didgen")
        for seed in (0, 1)
        for real in (None, 100, 1000)
    }
    assert len(folders) == 24
