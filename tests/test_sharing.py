"""Tests of how processes share the tests out."""

from pathlib import Path

from tests.fixtures.places import REPOSITORY
from tests.fixtures.sharing import TOGETHER, unit_of


def test_files_that_name_a_dear_fixture_stay_together() -> None:
    benchmark = Path("tests/downstream/benchmark")
    files = [benchmark / kind / "test_summary.py" for kind in ("classification", "segmentation")]
    assert {unit_of(str(file)) for file in files} == {TOGETHER[0][0]}
    assert unit_of("tests/downstream/pages/test_arms.py") == TOGETHER[0][0]
    assert unit_of("tests/manifests/test_files.py") == "tests/manifests/test_files.py"


def test_every_dear_fixture_is_one_that_files_name() -> None:
    places = {str(f.relative_to(REPOSITORY)) for f in (REPOSITORY / "tests").rglob("test_*.py")}
    units = [unit_of(place) for place in places]
    assert {units.count(fixtures[0]) > 1 for fixtures in TOGETHER} == {True}
