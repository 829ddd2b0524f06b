"""Tests of the shape of a small model, as recipes give it."""

from typing import Any

import pytest
from pydantic import ValidationError

from didgen.manifests.recipes.small_model import AutoencoderStage, Build, Perceptual


def test_text_heads_share_the_width_of_the_text() -> None:
    assert Build(text_width=96, text_heads=3).text_width == 96
    with pytest.raises(ValidationError, match="`text_width` must be a multiple of `text_heads`"):
        Build(text_width=128, text_heads=3)


@pytest.mark.parametrize(
    ("section", "fields"),
    [
        (Build, {"unet_channels": (32, 64)}),
        (Build, {"vocabulary": 513}),
        (Build, {"prediction_type": "noise"}),
        (AutoencoderStage, {"crop": 20}),
        (AutoencoderStage, {"crop": 8}),
        (AutoencoderStage, {"channels": 2}),
        (AutoencoderStage, {"encoder_blocks": (1, 1, 1)}),
        (AutoencoderStage, {"steps": -1}),
        (Perceptual, {"stages": ()}),
        (Perceptual, {"downsample": 0}),
    ],
)
def test_shapes_that_are_none_are_refused(section: type[Any], fields: dict[str, Any]) -> None:
    given = {"weights": "w.safetensors"} if section is Perceptual else {}
    with pytest.raises(ValidationError, match=next(iter(fields))):
        section.model_validate(given | fields)


def test_an_autoencoder_may_stay_as_it_is() -> None:
    assert AutoencoderStage(steps=0).steps == 0
