"""Tests of Pix2PixHD: its contract, and patches, scales and features against what is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from didgen.augment.device import choose_device
from didgen.augment.generation.prepare import prepare_generation
from didgen.augment.methods.registry import open_model
from didgen.augment.rivals.pix2pixhd import (
    MaskToImage,
    PairsOfMasks,
    Pix2PixHd,
    Scales,
    matched_features,
)
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.rivals import Pix2PixHdNetwork, Pix2PixHdRecipe
from didgen.manifests.recipes.small_model import Perceptual
from tests.contracts.rival import RivalContract

TINY = Pix2PixHdNetwork(
    channels=4,
    downsamplings=2,
    blocks=1,
    discriminator_channels=4,
    discriminator_layers=2,
    noise_channels=2,
)


def tiny(source: Path, **changes: Any) -> Pix2PixHdRecipe:
    """A recipe of seconds at 32 px."""
    fields: dict[str, Any] = {
        "source": source,
        "image_size": 32,
        "steps": 3,
        "batch_size": 2,
        "learning_rate": 1e-2,
        "checkpoint_every": 1,
        "network": TINY,
    }
    return Pix2PixHdRecipe(**fields | changes)


class TestPix2PixHd(RivalContract):
    side = 32
    draws = ("pairs",)

    @classmethod
    def recipe(cls, source: Path) -> Pix2PixHdRecipe:
        return tiny(source)

    def test_the_mask_of_a_pair_is_its_layout(self, trained: Path) -> None:
        generator, device = open_model(self.asked(trained)).generator, choose_device("no")
        planned, layouts = self.batch("pairs")
        drawing = self.draw(generator, device, planned, layouts)
        assert layouts is not None and drawing.masks is not None
        np.testing.assert_array_equal(drawing.masks, layouts)
        turned = self.draw(generator, device, planned, np.ascontiguousarray(layouts[:, ::-1]))
        assert (turned.images != drawing.images).any(), "the layout decides the image"

    def test_captions_are_refused(self, trained: Path) -> None:
        with pytest.raises(DidgenError, match="reads no captions; set `prompt: prefix`"):
            prepare_generation(self.asked(trained, prompt="caption"))


def batch_of(turn: str) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    masks = (torch.rand(2, 1, 32, 32, generator=generator) > 0.5).float()
    pixels = torch.randn(2, 3, 32, 32, generator=generator)
    return {"pixels": pixels, "mask": masks, "step": 0, "turn": turn}


def test_without_noise_a_mask_has_one_image_whatever_the_seed() -> None:
    torch.manual_seed(0)
    net = MaskToImage(TINY.model_copy(update={"noise_channels": 0}))
    layouts = np.zeros((1, 32, 32), bool)
    layouts[0, 8:20, 10:25] = True
    planned = TestPix2PixHd().planned("pairs", 1)
    first, second = (
        PairsOfMasks(net).draw(planned, [(seed, 0)], layouts, choose_device("no")).images
        for seed in (1, 2)
    )
    np.testing.assert_array_equal(first, second)


def test_the_generator_has_the_shape_of_the_source() -> None:
    net = MaskToImage(Pix2PixHdNetwork())
    convolutions = [one for one in net.modules() if isinstance(one, torch.nn.Conv2d)]
    # One at the start, 4 down, two in each of 9 blocks, one at the end; 4 transposed ones go up.
    assert len(convolutions) == 1 + 4 + 18 + 1
    assert max(one.out_channels for one in convolutions) == 1024
    assert all(one.kernel_size == (7, 7) for one in (convolutions[0], convolutions[-1]))


def test_a_patch_of_the_first_scale_sees_70_pixels_and_one_of_the_second_twice_as_many() -> None:
    """The receptive field of a PatchGAN of three layers (Isola et al., CVPR 2017) by gradients.

    Instance normalisation sees the whole map, so its statistics are left out of the question.
    """
    torch.manual_seed(0)
    scales = Scales(Pix2PixHdNetwork(discriminator_channels=2))
    for module in scales.modules():
        if isinstance(module, torch.nn.InstanceNorm2d):
            module.forward = torch.nn.Identity().forward  # type: ignore[method-assign]
    images = torch.randn(1, 3, 320, 320, requires_grad=True)
    seen = []
    for features in scales(torch.zeros(1, 1, 320, 320), images):
        side = features[-1].shape[-1]
        (gradient,) = torch.autograd.grad(
            features[-1][0, 0, side // 2, side // 2], images, retain_graph=True
        )
        seen.append(int((gradient.abs().sum((0, 1, 2)) > 0).sum()))
    assert seen[0] == 70
    # Pixels of half the side are means of three, at a distance of two.
    assert seen[1] == 2 * (70 - 1) + 3


def test_matched_features_are_in_closed_form_and_leave_the_output_out() -> None:
    real = [[torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 2, 2), torch.zeros(1, 1, 2, 2)]] * 2
    drawn = [
        [torch.full((1, 2, 4, 4), 0.5), torch.full((1, 4, 2, 2), -2.0), torch.ones(1, 1, 2, 2)],
        [torch.full((1, 2, 4, 4), 1.0), torch.full((1, 4, 2, 2), 0.0), torch.ones(1, 1, 2, 2)],
    ]
    assert matched_features(real, drawn).item() == pytest.approx((0.5 + 2 + 1) / 2)


def test_the_losses_of_discriminators_that_are_constant_are_in_closed_form() -> None:
    module = Pix2PixHd(tiny(Path("none"), feature_weight=0.0))
    scales: Any = module.discriminator.scales
    with torch.no_grad():
        for scale in scales:
            last = [one for one in scale.modules() if isinstance(one, torch.nn.Conv2d)][-1]
            last.weight.zero_()
            assert last.bias is not None
            last.bias.fill_(0.25)
    critic = module(batch_of("discriminator"))["loss"].item()
    assert critic == pytest.approx(2 * (0.75**2 + 0.25**2) / 2)
    assert module(batch_of("generator"))["loss"].item() == pytest.approx(2 * 0.75**2)


def test_features_and_perception_count_by_their_weights(perceptual: Perceptual) -> None:
    recipe = tiny(Path("none"), perceptual=perceptual, feature_weight=3.0)
    module = Pix2PixHd(recipe)
    told = module(batch_of("generator"))
    assert told["features"] > 0 and told["perceptual"] > 0
    torch.testing.assert_close(
        told["loss"],
        told["adversarial"] + 3 * told["features"] + perceptual.weight * told["perceptual"],
    )
    # The generator is moved by each of them, the judging network by none.
    told["loss"].backward()
    assert all(p.grad is not None for p in module.generator.parameters())
    assert module.perceptual is not None
    assert not any(p.requires_grad for p in module.perceptual.parameters())


def test_a_scale_sees_the_mask_beside_the_image() -> None:
    torch.manual_seed(0)
    scales, batch = Scales(TINY), batch_of("generator")
    with torch.no_grad():
        one, other = (
            scales(masks, batch["pixels"])[0][-1] for masks in (batch["mask"], 1 - batch["mask"])
        )
    assert not one.allclose(other, atol=1e-4)
    half = F.avg_pool2d(batch["pixels"], 2)
    assert scales(batch["mask"], batch["pixels"])[1][0].shape[-1] == half.shape[-1] // 2


def test_a_side_halves_as_often_as_the_net() -> None:
    with pytest.raises(ValidationError, match="must be a multiple of 64, since"):
        tiny(Path("none"), image_size=96, network=Pix2PixHdNetwork(downsamplings=6))
