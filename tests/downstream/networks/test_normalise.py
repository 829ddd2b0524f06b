"""Tests of pixels as networks take them, and of trying a network on them."""

from typing import Any

import pytest
import torch

from didgen.downstream.networks.classifiers import build_classifier
from didgen.downstream.networks.normalise import trial
from didgen.downstream.networks.segmenters import build_segmenter
from didgen.manifests.errors import DidgenError
from tests.fixtures.networks import LITE, TINY, classifier, pixels, segmenter


def test_pixels_are_normalised_as_the_weights_were_trained() -> None:
    built = build_classifier(classifier(), 3, None).eval()
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    config: Any = built.network.pretrained_cfg
    scaled = torch.stack(
        [
            (pixels[:, i] / 255 - mean) / deviation
            for i, (mean, deviation) in enumerate(zip(config["mean"], config["std"], strict=True))
        ],
        1,
    )
    with torch.no_grad():
        assert torch.allclose(built(pixels), built.network(scaled), atol=1e-5)
        assert built(pixels).shape == (2, 3)
    assert all(name.startswith("network.") for name in built.state_dict())


def test_pixels_are_normalised_as_the_encoders_weights_were_trained() -> None:
    half = build_segmenter(segmenter(arguments=LITE), None)
    imagenet = build_segmenter(segmenter("monai.SegResNet"), None)
    given = pixels()
    assert torch.allclose(half.normalise(given), (given / 255 - 0.5) / 0.5)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    assert torch.allclose(imagenet.normalise(given), (given / 255 - mean) / deviation, atol=1e-5)
    assert all(name.startswith("network.") for name in half.state_dict())


@pytest.mark.parametrize(
    ("name", "arguments", "side", "sentence"),
    [
        ("monai.DenseNet121", {}, 64, "gives no masks"),
        ("smp.Unet", TINY | {"aux_params": {"classes": 2}}, 64, "gives no masks"),
        ("monai.SwinUNETR", {"feature_size": 12}, 100, "cannot take images of 100 px .*; set an"),
    ],
)
def test_what_gives_no_mask_of_an_image_is_refused(
    name: str, arguments: dict[str, Any], side: int, sentence: str
) -> None:
    asked = segmenter(name, arguments=arguments)
    net = build_segmenter(asked, None)
    with pytest.raises(DidgenError, match=sentence):
        trial(net, asked.called, side)
    assert net.training
