"""Arms as recipes say them: defaults of their use, and an order of simplicity."""

from didgen.downstream.benchmark.arms.record import Arm


def test_a_share_left_open_is_that_of_the_use() -> None:
    half = Arm(name="a", use="half", run="r")
    assert (half.share, half.filter, half.role) == (0.5, False, "use")
    assert Arm(name="a", use="half", run="r", share=0.25).share == 0.25
    assert Arm(name="a", use="union", run="r").share is None
    assert Arm(name="a", use="filter", run="r").filter
    assert Arm(name="a", use="focal").role == "rival"


def test_settings_are_those_that_decide_a_training() -> None:
    union = Arm(name="a", use="union", run="r")
    assert union.settings() == Arm(name="b", use="union", run="s").settings()
    assert union.settings() == {"use": "union", "weight": 1.0, "filter": False}


def test_the_papers_use_is_the_simplest() -> None:
    arms = [
        Arm(name="a", use="twin", run="r"),
        Arm(name="b", use="union", run="r", weight=0.5),
        Arm(name="c", use="union", run="r", filter=True),
        Arm(name="d", use="union", run="r"),
    ]
    assert [arm.name for arm in sorted(arms, key=lambda arm: arm.plain)] == ["d", "b", "c", "a"]
