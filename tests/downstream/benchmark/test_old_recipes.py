"""Recipes of older forms are made those of today, and nothing is lost on the way."""

from typing import Any

from didgen.downstream.benchmark.old_recipes import of_today

ARMS = ("original", "original-epochs")


def test_names_become_records() -> None:
    arms: list[Any] = ["original", "b", "a-filtered", {"name": "c"}]
    given = {"runs": {"a": "x", "b": "y"}, "arms": arms}
    recipe, said = of_today(given, ARMS, True)
    assert recipe["arms"] == [
        {"name": "original", "use": "original", "run": None},
        {"name": "b", "run": "b", "use": "union"},
        {"name": "a-filtered", "run": "a", "use": "filter"},
        {"name": "c"},
    ]
    assert said == ()
    assert arms[0] == "original"


def test_without_arms_there_are_those_that_the_runs_allow() -> None:
    for runs, filtered, names in (
        ({}, True, ["original"]),
        ({"a": "x"}, False, ["original", "original-epochs", "a"]),
        ({"a": "x"}, True, ["original", "original-epochs", "a", "a-filtered"]),
    ):
        recipe, _ = of_today({"runs": runs}, ARMS, filtered)
        assert [arm["name"] for arm in recipe["arms"]] == names


def test_the_only_run_is_the_one_that_a_network_shares() -> None:
    recipe, _ = of_today({"runs": {"a": "x"}, "arms": ["shared-network"]}, ARMS, False)
    assert recipe["arms"] == [{"name": "shared-network", "use": "shared-network", "run": "a"}]


def test_what_is_no_recipe_is_left_for_validation() -> None:
    assert of_today({"arms": 3, "runs": 4}, ARMS, False)[0] == {"arms": 3, "runs": 4}
