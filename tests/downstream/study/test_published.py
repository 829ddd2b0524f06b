"""Tests of published records: nothing in them is of this machine, and a report reads them."""

from pathlib import Path

from didgen.downstream.study.published import placeless, publish
from didgen.manifests.files import read_json, write_json


def test_the_state_has_a_name_and_other_places_are_left_out(tmp_path: Path) -> None:
    state = tmp_path / "state"
    record = {"chosen": f"{state}/stages/search/out", "near": f"{state}-2/x", "kept": "runs/mine"}
    found = placeless(record, state)
    assert found["chosen"] == "$STATE/stages/search/out" and found["kept"] == "runs/mine"
    assert str(tmp_path) not in str(found)


def test_a_record_leaves_its_pictures_with_the_stage(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "masks-1"
    plots = [{"file": "plots/worst-test.png", "title": "Worst", "caption": "masks"}]
    write_json(folder / "out" / "benchmark.json", {"kind": "segment", "plots": plots})
    publish(folder, tmp_path / "state", tmp_path / "records")
    assert read_json(tmp_path / "records" / "masks-1" / "benchmark.json") == {"kind": "segment"}
