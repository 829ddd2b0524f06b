"""The registry: each use is there once, and each fits what it says of itself."""

from didgen.downstream.benchmark.arms.registry import SIMPLICITY, USES


def test_uses_have_one_name_and_the_simplest_is_the_papers() -> None:
    assert all(use.name == name for name, use in USES.items())
    assert len({*map(type, USES.values())}) == len(USES) == 15
    assert SIMPLICITY[0] == "union"
    assert {*SIMPLICITY} == {name for name, use in USES.items() if use.role == "use"}
    assert all(USES[name].of_run for name in SIMPLICITY)
    assert all(use.__doc__ for use in USES.values())
