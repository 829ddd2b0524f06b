"""Tests of folders: which are reported on, in what order, and how many."""

from collections.abc import Callable
from pathlib import Path

import pytest

from didgen.downstream.report import folders
from didgen.downstream.report.benchmark import benchmark_part
from didgen.downstream.report.folders import PARTS, maker_of, parts_of
from didgen.downstream.report.quality import quality_part
from didgen.downstream.report.run import run_part
from didgen.downstream.report.training import training_part
from didgen.manifests.errors import DidgenError


def test_each_folder_is_known_by_what_lies_in_it(study: Path, tmp_path: Path) -> None:
    assert maker_of(study / "made" / "run") is run_part
    assert maker_of(study / "model") is training_part
    assert maker_of(study / "quality") is quality_part
    assert maker_of(study / "classify") is benchmark_part
    assert maker_of(study / "segment") is benchmark_part
    for folder in (study, study / "made", study / "classify" / "runs", tmp_path):
        assert maker_of(folder) is None
    (tmp_path / "run.json").write_text('{"recipe": {"kind": "something"}}')
    assert maker_of(tmp_path) is None


def test_parts_come_in_the_order_of_the_work_each_once(study: Path) -> None:
    wanted = ["Model", "Run", "Quality", "Classification", "Segmentation"]
    parts = parts_of([study, study / "quality"])
    assert [part.title.partition(":")[0] for part in parts] == wanted
    assert [Path(part.place).name for part in parts][:2] == ["model", "run"]


def test_what_lies_deeper_or_hidden_is_left_out(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    make_run(tmp_path / "one" / "two" / "three")
    make_run(tmp_path / ".hidden")
    with pytest.raises(DidgenError, match="nothing to report on"):
        parts_of([tmp_path])
    assert len(parts_of([tmp_path / "one"])) == 1


def test_too_many_folders_are_refused(tmp_path: Path) -> None:
    for number in range(PARTS + 1):
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}" / "quality.json").write_text("{}")
    with pytest.raises(DidgenError, match=f"41 folders to report on, more than the {PARTS}"):
        parts_of([tmp_path])
    assert folders.PARTS == 40
