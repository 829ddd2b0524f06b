"""Tests of the hours of a study: stated, measured of an older recipe, or taken."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from didgen.downstream.study.graph import stages_of
from didgen.downstream.study.hours import FINISHED_NAME, MARGIN, estimates, shifts_of, to_do
from didgen.downstream.study.inputs import work
from didgen.manifests.files import write_json
from tests.fixtures.studies import drawing, study_of, training


def systems(**fields: Any) -> dict[str, Any]:
    return {"one": {"train": training(**fields), "pairs": drawing()}}


def test_what_was_measured_counts_before_what_is_stated(source: Path, tmp_path: Path) -> None:
    first = stages_of(study_of(source, systems(steps=100)), tmp_path)
    found = estimates(first.values(), tmp_path)
    assert {name: (one.hours, one.basis) for name, one in found.items()} == {
        "one.model": (1.0, "stated"),
        "one.pairs": (0.5, "stated"),
    }
    assert to_do(found) == 1.5
    stage = first["one.model"]
    assert stage.recipe is not None
    record = {"name": stage.name, "digest": stage.digest, "command": "finetune"}
    write_json(
        stage.folder / FINISHED_NAME, record | {"work": work(stage.recipe), "seconds": 7200.0}
    )
    found = estimates(first.values(), tmp_path)
    assert (found["one.model"].hours, found["one.model"].basis) == (2.0, "done")
    assert to_do(found) == 0.5
    # Half the steps of the same stage take half the time.
    second = stages_of(study_of(source, systems(steps=50)), tmp_path)
    found = estimates(second.values(), tmp_path)
    assert (found["one.model"].hours, found["one.model"].basis) == (1.0, "measured")
    (stage.folder / FINISHED_NAME).write_text("torn")
    assert estimates(second.values(), tmp_path)["one.model"].basis == "stated"


def test_a_few_trainings_say_what_all_others_of_their_networks_take(
    source: Path, tmp_path: Path
) -> None:
    networks = [{"name": name, "weights": "none"} for name in ("vgg11", "vgg13")]
    asked = {"networks": networks, "image_size": 64, "batch_size": 8, "max_steps": 50}
    # Two controls with three and two seeds; two uses that are compared by the two that both have.
    scales = {"real": [4, 9], "seeds": [0, 1, 2], "seeds_at": [3, 2]}
    half = {"name": "half", "use": "half", "run": "mini"}
    arms = {"runs": {"mini": "$mini.images"}, "arms": ["original", "focal", "mini", half]}
    recipe = study_of(
        source,
        {
            "mini": {
                "model": "mini",
                "images": {"instead": {"images": {"per_class": 1}}, "hours": 1},
            }
        },
        classify={"few": {"instead": {**asked, **scales, **arms}, "hours": 3}},
    )
    stage = stages_of(recipe, tmp_path)["few"]
    assert estimates([stage], tmp_path)["few"].basis == "stated"
    for network, pace in (("vgg11", 2.0), ("vgg13", 4.0)):
        told = {"network": {"name": network, "arguments": {}}, "recipe": asked}
        record = {"asked": told, "training": {"steps": 5, "seconds": 5 * pace}}
        other = tmp_path / "stages" / "other-1" / "out" / "runs" / network / "original" / "seed-0"
        write_json(other / "result.json", record)
    trainings = 2 * (3 + 2) + 2 * 4 + 1
    found = estimates([stage], tmp_path)["few"]
    assert found.hours == pytest.approx(trainings * 50 * (2 + 4) / 3600)
    assert found.basis == "measured"
    assert stage.recipe is not None and work(stage.recipe) == 2 * trainings * 50
    (other / "result.json").write_text("torn")
    assert estimates([stage], tmp_path)["few"].basis == "stated"


@given(st.floats(0.01, 200), st.integers(1, 90))
def test_parts_hold_the_hours_with_a_margin(hours: float, minutes: int) -> None:
    shifts = shifts_of(hours, minutes)
    assert (shifts - 1) * minutes < MARGIN * hours * 60 <= shifts * minutes + 1e-6


def test_work_grows_with_what_is_asked(source: Path) -> None:
    stages = stages_of(study_of(source, systems(steps=10, batch_size=2)), Path("state"))
    assert [work(s.recipe) for s in stages.values() if s.recipe is not None] == [
        pytest.approx(20),
        pytest.approx(4),
    ]
