"""Tests of the pilots: each is a recipe that differs from `mini` in what its name says."""

from pathlib import Path

import pytest

from benchmarks.pilots import HALF_FIRST, PILOTS, recipe_of

KEPT = {"steps", "restart_every", "half_size_until", "warmup_steps", "source"}


@pytest.mark.parametrize("name", PILOTS)
def test_a_pilot_changes_what_it_says_and_nothing_else(name: str) -> None:
    base = recipe_of("base", Path("src"), 400).model_dump(mode="json", exclude=KEPT)
    pilot = recipe_of(name, Path("src"), 400).model_dump(mode="json", exclude=KEPT)
    build = base["build"] | PILOTS[name].get("build", {})
    assert pilot == base | PILOTS[name] | {"build": build}


def test_a_short_pilot_warms_up_for_a_fifth_of_its_steps() -> None:
    assert recipe_of("base", Path("src"), 100).warmup_steps == 20
    assert recipe_of("base", Path("src"), 5000).warmup_steps == 200


def test_one_pilot_has_a_cycle_of_each_size() -> None:
    asked = recipe_of(HALF_FIRST, Path("source"), 300)
    assert (asked.half_size_until, asked.restart_every, asked.steps) == (150, 150, 300)
    assert asked.warmup_steps == 30
    assert recipe_of(HALF_FIRST, Path("source"), 301) == asked
    assert recipe_of(HALF_FIRST, Path("source"), 1).steps == 2
    assert recipe_of("base", Path("source"), 300).half_size_until == 0
