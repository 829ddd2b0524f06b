"""Tests of the sampling section: the paper's values, and what cannot be."""

from typing import Any

import pytest
from pydantic import ValidationError

from didgen.manifests.recipes.sampling import (
    Annotation,
    AttentionMaps,
    ConditionAnnealing,
    Guidance,
    ProjectedGuidance,
    Sampling,
)


def test_unasked_maps_guidance_and_annotation_are_the_papers() -> None:
    sampling = Sampling()
    assert (sampling.maps.cross_side, sampling.maps.self_side) == (16, 32)
    assert (sampling.guidance.eta, sampling.guidance.start, sampling.guidance.until) == (20, 0, 0.5)
    assert sampling.guidance.cross_attention and sampling.guidance.self_attention
    assert sampling.annotation.tau == 4
    assert (sampling.cfg, sampling.cfg_rescale) == (7.5, 0)


def test_maps_of_half_the_size_have_half_the_sides() -> None:
    maps = AttentionMaps(sharpness=3.0, parts=("up",))
    half = maps.halved()
    assert (half.cross_side, half.self_side) == (8, 16)
    assert half.model_copy(update={"cross_side": 16, "self_side": 32}) == maps


def test_guidance_ends_after_it_begins() -> None:
    assert Guidance(start=0.5, until=0.5).start == 0.5
    with pytest.raises(ValidationError, match="`start` must not lie after `until`"):
        Guidance(start=0.6)


@pytest.mark.parametrize(
    ("section", "fields"),
    [
        (AttentionMaps, {"cross_side": 0}),
        (AttentionMaps, {"parts": ()}),
        (AttentionMaps, {"parts": ("left",)}),
        (AttentionMaps, {"sharpness": -1}),
        (Guidance, {"eta": -1}),
        (Guidance, {"until": 1.1}),
        (Guidance, {"decay": "line"}),
        (Annotation, {"tau": -1}),
        (Annotation, {"closing": -0.1}),
        (Sampling, {"scheduler": "euler"}),
        (Sampling, {"steps": 0}),
        (Sampling, {"cfg": 0.5}),
        (Sampling, {"cfg_rescale": 1.5}),
        (Sampling, {"cfg_interval": (5, 1)}),
        (Sampling, {"cfg_interval": (-1, 1)}),
        (Sampling, {"autoguidance": ""}),
        (ProjectedGuidance, {"momentum": 1}),
        (ConditionAnnealing, {"whole_until": 0.9}),
        (Sampling, {"mixed_precision": "fp8"}),
    ],
)
def test_values_out_of_range_are_refused(section: type[Any], fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(fields))):
        section.model_validate(fields)
