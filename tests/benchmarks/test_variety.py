"""The measurement of variety: its settings, and that what was measured stands."""

from pathlib import Path

import pytest

from benchmarks.records import Records
from benchmarks.variety import SETTINGS, Study, chosen_settings, told
from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from tests.fixtures.lesions import source
from tests.fixtures.recipes import QUICK, UNGATED

__all__ = ["source"]


@pytest.fixture
def study(model: Path, source: Path, tmp_path: Path) -> Study:
    """One image of each class by a tiny model, and no pairs."""
    instead = {"model": str(model), "captions": None, "gates": UNGATED}
    records = Records(tmp_path / "variety.jsonl", {})
    counts: dict[Config, int] = {"images": 6, "pairs": 0}
    return Study(source, tmp_path, Path("none"), None, [], counts, instead, 1, records)


def test_every_setting_is_a_recipe_of_its_own(study: Study) -> None:
    study.weaker = Path("weaker")
    for config in ("images", "pairs"):
        recipes = [study.recipe(config, setting).sampling for setting in SETTINGS]
        assert len({recipe.model_dump_json() for recipe in recipes}) == len(SETTINGS)
        assert recipes[0].guidance.eta == (80 if config == "pairs" else 20)
        varied = study.recipe(config, "variations 0.4").variations
        assert varied is not None and varied.strength == 0.4


def test_what_was_measured_stands_and_is_told(study: Study) -> None:
    study.instead = {**study.instead, "sampling": QUICK}
    study.part("draw", "cfg 1")
    (row,) = study.records.rows[1:]
    assert (row["kind"], row["samples"], row["failures"]) == ("draw images", 6, 0)
    study.part("draw", "cfg 1")
    assert study.records.rows[1:] == [row]
    table = told(study, "images", list(SETTINGS))
    assert table.row_count == 1
    assert [str(column.header) for column in table.columns][-1] == "seconds"


def test_settings_are_named() -> None:
    assert chosen_settings("unipc; apg", None) == ["unipc", "apg"]
    assert "autoguidance" not in chosen_settings(None, None)
    assert chosen_settings(None, Path("weaker")) == list(SETTINGS)
    with pytest.raises(DidgenError, match="more is none of the settings as it is; cfg 2"):
        chosen_settings("more", None)
    with pytest.raises(DidgenError, match="name its folder by `--weaker`"):
        chosen_settings("autoguidance", None)
