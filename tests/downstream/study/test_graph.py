"""Tests of the graph of a study: complete, without circles, and named by what decides it."""

from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from didgen.downstream.study.graph import Stage, faults_of, stages_of
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import write_bytes
from didgen.manifests.recipes.reading import read_recipe
from didgen.manifests.recipes.study import StudyRecipe
from tests.fixtures.studies import HUB, drawing, study_of, training

STATE = Path("state")

Needs = dict[str, set[str]]


@st.composite
def studies(draw: st.DrawFn) -> tuple[dict[str, Any], Needs]:
    """Systems with models and masks of each other, and what each of their stages needs."""
    count = draw(st.integers(1, 5))
    names = [f"s{number}" for number in range(count)]
    systems: dict[str, Any] = {}
    needs: dict[str, set[str]] = {}
    for name in names:
        model = draw(st.sampled_from([None, *names]))
        masks = draw(st.sampled_from([None, *names]))
        systems[name] = {
            "train": training(HUB if model is None else f"${model}.model"),
            "pairs": drawing("drawn" if masks is None else {"run": f"${masks}.pairs"}),
        }
        needs[f"{name}.model"] = {f"{model}.model"} - {"None.model"}
        needs[f"{name}.pairs"] = {f"{name}.model", f"{masks}.pairs"} - {"None.pairs"}
    return systems, needs


@given(studies())
@settings(max_examples=60, deadline=None)
def test_it_is_complete_and_has_no_circle(
    asked: tuple[dict[str, Any], dict[str, set[str]]],
) -> None:
    systems, needs = asked
    recipe = study_of(Path("source"), systems)
    try:
        TopologicalSorter(needs).prepare()
    except CycleError:
        with pytest.raises(DidgenError, match="need each other"):
            stages_of(recipe, STATE)
        return
    stages = stages_of(recipe, STATE)
    assert {name: {*stage.needs} for name, stage in stages.items()} == needs
    seen: set[str] = set()
    for name, stage in stages.items():
        assert seen.issuperset(stage.needs)
        seen.add(name)
        for other in stage.needs:
            # What is needed is named in the recipe by the very place where it will lie.
            assert stage.recipe is not None
            assert str(stages[other].product) in stage.recipe.model_dump_json()
    assert len({stage.folder for stage in stages.values()}) == len(stages)


def chain(**fields: Any) -> dict[str, Any]:
    """A model, another one from it, its pairs, and a system that has nothing to do with them."""
    return {
        "base": {"train": training(**fields)},
        "own": {"train": training("$base.model"), "pairs": drawing()},
        "other": {"model": HUB, "pairs": drawing()},
    }


def digests(stages: dict[str, Stage]) -> dict[str, str]:
    return {name: stage.digest for name, stage in stages.items()}


def test_names_change_with_what_decides_and_with_nothing_else(source: Path, tmp_path: Path) -> None:
    before = digests(stages_of(study_of(source, chain()), STATE))
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("source.json", "records.jsonl"):
        write_bytes(moved / name, (source / name).read_bytes())
    slurm = {"cpus": 2}
    slower = chain()
    slower["base"]["train"]["hours"] = 7.0
    same = [
        stages_of(study_of(moved, chain()), tmp_path),
        stages_of(study_of(source, slower, stage_minutes=30, slurm=slurm), STATE),
        # Which field has its default's value is said or not.
        stages_of(study_of(source, chain(steps=20_000)), STATE),
        stages_of(study_of(source, chain(checkpoint_every=7)), STATE),
    ]
    for stages in same:
        assert digests(stages) == before
    (moved / "records.jsonl").write_bytes(b"\n" + (source / "records.jsonl").read_bytes())
    changed = digests(stages_of(study_of(moved, chain()), STATE))
    assert all(changed[name] != before[name] for name in before)
    longer = digests(stages_of(study_of(source, chain(steps=3)), STATE))
    assert {name for name in before if longer[name] != before[name]} == {
        "base.model",
        "own.model",
        "own.pairs",
    }


def test_a_file_that_a_recipe_names_decides_too(source: Path, tmp_path: Path) -> None:
    captions = tmp_path / "captions.jsonl"
    systems = {"one": {"model": HUB, "pairs": drawing(captions=str(captions))}}
    lacking = stages_of(study_of(source, systems), STATE)
    assert faults_of(lacking) == {f"{captions} is not there.": ["one.pairs"]}
    found = []
    for text in ("a", "b", "a"):
        captions.write_text(text)
        stages = stages_of(study_of(source, systems), STATE)
        assert not faults_of(stages)
        found.append(stages["one.pairs"].digest)
    assert found[0] == found[2] != found[1]


def test_faults_are_sentences(source: Path) -> None:
    with pytest.raises(DidgenError, match=r"needs `\$bese.model`.*nearest is `\$base.model`"):
        stages_of(
            study_of(
                source, {"base": {"train": training()}, "a": {"train": training("$bese.model")}}
            ),
            STATE,
        )
    systems = {
        "a": {"train": {"recipe": "rival-nobody", "hours": 1}},
        "b": {"train": training(stebs=3)},
    }
    faults = {
        name: text
        for text, (name,) in faults_of(stages_of(study_of(source, systems), STATE)).items()
    }
    assert "rival-nobody is neither a file nor a bundled recipe" in faults["a.model"]
    assert "`stebs` is not a field of a recipe; the nearest one is `steps`" in faults["b.model"]


@pytest.mark.parametrize("name", ["study-toy", "study-cpu", "study-paper"])
def test_bundled_studies_lack_recipes_and_files_alone(name: str) -> None:
    """A fault of a field would be found here; a rival that this didgen lacks is none."""
    recipe = read_recipe(name, StudyRecipe)
    for fault in faults_of(stages_of(recipe, STATE)):
        assert fault.endswith("is not there.") or "is neither a file nor a bundled recipe" in fault
