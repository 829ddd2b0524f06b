"""Tests of claims: a folder belongs to one run of one recipe."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json_lines, sha256_of
from didgen.manifests.runs.claim import differences, is_started, start_run
from didgen.manifests.shards.index import read_run
from tests.fixtures.bare_runs import DOCUMENTS, RECIPE, write
from tests.fixtures.samples import bare_image


def test_directory_belongs_to_one_recipe(tmp_path: Path) -> None:
    run = start_run(tmp_path, fingerprint="f00d", recipe=RECIPE)
    assert read_run(tmp_path) == run
    assert start_run(tmp_path, fingerprint="f00d", recipe=RECIPE) == run
    other = {"seed": 2, "sampling": {"steps": 20, "size": (256, 256)}, "lora": True}
    with pytest.raises(DidgenError) as caught:
        start_run(tmp_path, fingerprint="beef", recipe=other)
    assert str(caught.value) == (
        f"{tmp_path} holds a run of another recipe: it differs in lora (absent, now True), "
        "model ('mini', now absent), sampling.steps (50, now 20), seed (1, now 2); "
        "choose another directory or restore them."
    )
    assert read_run(tmp_path) == run


def test_same_recipe_over_other_inputs_is_told_apart(tmp_path: Path) -> None:
    start_run(tmp_path, fingerprint="f00d", recipe=RECIPE)
    with pytest.raises(DidgenError, match="same recipe over other inputs"):
        start_run(tmp_path, fingerprint="beef", recipe=RECIPE)


@pytest.mark.parametrize("name", ["README.md", "croissant.json", "images/mine.tar"])
def test_files_that_a_run_would_write_over_are_safe(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(DidgenError, match=f"{name} lies where a run would put its files"):
        start_run(tmp_path, fingerprint="f00d", recipe=RECIPE, documents=DOCUMENTS)
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()] == [name]


leaves = st.none() | st.booleans() | st.integers(-2, 2) | st.text(max_size=2)

records = st.dictionaries(
    st.sampled_from("abc"),
    leaves | st.dictionaries(st.sampled_from("xy"), leaves, max_size=2),
    max_size=3,
)


@settings(deadline=None, max_examples=100)
@given(records, records)
def test_differences_are_none_only_between_equals(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert (differences(one, two) == []) == (one == two)
    fields = [text.split(" (")[0] for text in differences(one, two)]
    assert fields == [text.split(" (")[0] for text in differences(two, one)]


def test_a_run_whose_first_record_is_broken_is_still_whose_it_was(tmp_path: Path) -> None:
    start_run(tmp_path, fingerprint="f00d", recipe=RECIPE)
    write(tmp_path, 0, bare_image("a"))
    for broken in ("{", None):
        (tmp_path / "run.json").unlink()
        if broken:
            (tmp_path / "run.json").write_text(broken)
        with pytest.raises(DidgenError, match="holds a run of another recipe"):
            start_run(tmp_path, fingerprint="beef", recipe=RECIPE)
        assert start_run(tmp_path, fingerprint="f00d", recipe=RECIPE).fingerprint == "f00d"
        assert is_started(tmp_path, "f00d") and not is_started(tmp_path, "beef")


def test_the_plan_is_part_of_a_start(tmp_path: Path) -> None:
    rows = [{"key": "a"}, {"key": "b"}]
    run = start_run(tmp_path, fingerprint="f00d", recipe=RECIPE, plan=rows)
    plan = tmp_path / "plan.jsonl"
    assert read_json_lines(plan) == rows and run.plan == sha256_of(plan)
    plan.write_text("{}\n")
    assert not is_started(tmp_path, "f00d")
    assert start_run(tmp_path, fingerprint="f00d", recipe=RECIPE, plan=rows) == run
    assert read_json_lines(plan) == rows and is_started(tmp_path, "f00d")
