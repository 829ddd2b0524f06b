"""Tests of seeds."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from didgen.augment.seeds import derived_seed


@settings(max_examples=100, deadline=None)
@given(parts=st.lists(st.one_of(st.integers(), st.text(max_size=5)), max_size=4))
def test_a_derived_seed_is_a_seed_of_every_generator(parts: list[str | int]) -> None:
    seed = derived_seed(*parts)
    assert 0 <= seed < 2**63
    np.random.default_rng(seed)
    assert derived_seed(*parts, "more") != seed
