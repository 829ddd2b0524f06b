"""Tests of older records: the pages of today read them, and nothing of theirs is lost."""

import pytest

from didgen.downstream.pages.older import of_today
from didgen.manifests.files import read_json
from tests.fixtures.benchmarks import OLDER, Done


@pytest.mark.parametrize("kind", ["classify", "segment"])
def test_names_are_those_of_today_and_figures_stay(kind: str) -> None:
    there = read_json(OLDER / f"{kind}.json")
    found = of_today(there)
    assert "format" not in found
    assert (found["unit"], found["units"]) == ("lesion", there["lesions"])
    score = {"classify": "balanced_accuracy", "segment": "dice"}[kind]
    for arm, old in zip(found["arms"], there["arms"], strict=True):
        assert arm["interval"] == old[f"{score}_over_lesions"]
        assert arm["figures"] == old["figures"]
    for one, old in zip(found["comparisons"], there["comparisons"], strict=True):
        assert one["over_units"] == old["over_lesions"]
        assert (one["units"], one["sentence"]) == (old["lesions"], old["sentence"])


def test_filters_are_a_list() -> None:
    there = read_json(OLDER / "segment.json")
    for scale, old in zip(of_today(there)["scales"], there["scales"], strict=True):
        assert scale["filters"] == [old["filter"]]


def test_a_record_of_today_stays_as_it_is(classified: Done) -> None:
    _, benchmark = classified
    assert of_today(benchmark) == benchmark
