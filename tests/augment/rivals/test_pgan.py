"""Tests of PGAN: its contract, and growing, fading and scaling against closed forms."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from didgen.augment.rivals.pgan import (
    Equalised,
    GrowingCritic,
    GrowingGenerator,
    Pgan,
    enlarged,
    faded,
    pixel_norm,
)
from didgen.manifests.recipes.rivals import PganNetwork, PganRecipe
from tests.contracts.rival import RivalContract

TINY = PganNetwork(latent=8, channels=(8, 8, 4), group=2)


def tiny(source: Path, **changes: Any) -> PganRecipe:
    """A recipe of seconds, from 4 to 16 px: two steps of fading, two after them."""
    fields: dict[str, Any] = {
        "source": source,
        "image_size": 16,
        "learning_rate": 1e-2,
        "checkpoint_every": 1,
        "fade_kimg": 0.004,
        "stable_kimg": 0.004,
        "batch_sizes": (2, 2, 2),
        "conditional": True,
        "network": TINY,
    }
    return PganRecipe(**fields | changes)


class TestPgan(RivalContract):
    side = 16
    draws = ("images",)
    # In the second level, while it is faded in.
    kept = 3

    @classmethod
    def recipe(cls, source: Path) -> PganRecipe:
        return tiny(source)


def level_of(module: Pgan, level: int, step: int, fade: int = 3) -> dict[str, Any]:
    """A batch of the critic's turn at a step of a level."""
    module.grow(level, fade)
    generator = torch.Generator().manual_seed(0)
    return {
        "pixels": torch.randn(4, 3, 16, 16, generator=generator),
        "label": torch.tensor([0, 1, 0, 1]),
        "step": step,
        "turn": "discriminator",
    }


def test_pixel_norm_brings_every_place_to_a_mean_square_of_one() -> None:
    features = torch.randn(2, 5, 3, 3) * 7
    square = pixel_norm(features).square().mean(1)
    torch.testing.assert_close(square, torch.ones_like(square))


def test_an_equalised_layer_is_its_plain_one_with_scaled_weights() -> None:
    torch.manual_seed(0)
    layer, features = Equalised(6, 4), torch.randn(2, 6, 5, 5)
    wanted = F.conv2d(features, layer.weight * math.sqrt(2 / (6 * 9)), padding=1)
    torch.testing.assert_close(layer(features), wanted)
    dense = Equalised(6, 4, None, gain=1.0)
    flat = features[..., 0, 0]
    torch.testing.assert_close(dense(flat), flat @ dense.weight.T / math.sqrt(6))
    # Every weight is of unit deviation, whatever the fan-in: one rate suits all (Section 4.1).
    assert Equalised(400, 100).weight.std().item() == pytest.approx(1, abs=0.01)


def test_a_level_is_faded_in_from_the_one_before_it() -> None:
    torch.manual_seed(0)
    generator = GrowingGenerator(TINY, 1)
    numbers, labels = torch.randn(2, 8), torch.zeros(2, dtype=torch.long)
    with torch.no_grad():
        generator.level = 1
        coarse = generator(numbers, labels)
        generator.level = 2
        fine = generator(numbers, labels)
        assert coarse.shape[-1] == 8 and fine.shape[-1] == 16
        generator.share = 0.25
        found = generator(numbers, labels)
    torch.testing.assert_close(found, 0.75 * enlarged(coarse) + 0.25 * fine)


def test_a_critic_that_is_hardly_faded_in_judges_like_the_one_before_it() -> None:
    torch.manual_seed(0)
    critic, images = GrowingCritic(TINY, 2), torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        critic.level = 1
        before, read_before = critic(F.avg_pool2d(images, 2))
        critic.level, critic.share = 2, 1e-7
        found, read = critic(images)
        critic.share = 0.5
        half, _ = critic(images)
    torch.testing.assert_close(found, before, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(read, read_before, atol=1e-5, rtol=1e-5)
    assert read.shape == (4, 2) and not half.allclose(before, atol=1e-4)


def test_real_images_are_faded_with_their_level() -> None:
    images = torch.randn(1, 3, 4, 4)
    assert faded(images, 1.0) is images
    blocks = faded(images, 1e-9)
    torch.testing.assert_close(F.avg_pool2d(blocks, 2), F.avg_pool2d(images, 2))
    torch.testing.assert_close(blocks[..., ::2, ::2], blocks[..., 1::2, 1::2])
    torch.testing.assert_close(faded(images, 0.5), (blocks + images) / 2)


def test_shares_rise_over_the_fading_and_stay() -> None:
    module = Pgan(tiny(Path("none")), 2)
    shares = []
    for step in range(5):
        module(level_of(module, 2, step))
        shares.append(module.generator.share)
        assert module.discriminator.share == module.generator.share
    assert shares == [0.25, 0.5, 0.75, 1, 1]
    module(level_of(module, 0, 0))
    assert module.generator.share == 1, "there is nothing before the first level"


def test_the_losses_of_a_critic_that_is_constant_are_in_closed_form() -> None:
    """D = c: no distance, a penalty of 1 by its weight, a drift of c^2, no class that is read."""
    module = Pgan(tiny(Path("none"), penalty=7.0, drift=0.1), 2)
    with torch.no_grad():
        module.discriminator.output.weight.zero_()
        module.discriminator.output.bias.copy_(torch.tensor([3.0, 0.0, 0.0]))
    batch = level_of(module, 2, 9)
    told = module(batch)
    assert told["wasserstein"].item() == 0
    assert told["penalty"].item() == pytest.approx(1, abs=1e-4)
    # Two kinds of images, each with the cross-entropy of a guess among two classes.
    assert told["loss"].item() == pytest.approx(7 + 0.1 * 9 + 2 * math.log(2), rel=1e-4)
    drawn = module(batch | {"turn": "generator"})["loss"].item()
    assert drawn == pytest.approx(math.log(2) - 3, rel=1e-5)


def test_the_critic_learns_of_a_whole_batch_by_its_deviation() -> None:
    """A batch of one image again and again looks otherwise than one of as many images."""
    torch.manual_seed(0)
    critic, images = GrowingCritic(TINY, 1), torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        alone, _ = critic(images[:1].expand(2, -1, -1, -1))
        together, _ = critic(images)
    assert alone[0].item() != pytest.approx(together[0].item(), abs=1e-4)


def test_the_defaults_are_the_papers() -> None:
    recipe = PganRecipe(source=Path("none"))
    generator, critic = GrowingGenerator(recipe.network, 1), GrowingCritic(recipe.network, 1)
    count = sum(p.numel() for net in (generator, critic) for p in net.parameters())
    # The paper's nets have 23.1 million each at 1024 px; its last two levels are small.
    assert 45.5e6 < count < 46.5e6
    with torch.no_grad():
        image = generator(torch.randn(1, 512), torch.zeros(1, dtype=torch.long))
    assert image.shape == (1, 3, 256, 256)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"image_size": 32}, "which end at 16 pixels a side; `image_size` is 32"),
        ({"batch_sizes": (2, 2)}, "needs a number for each of the 3 levels"),
    ],
)
def test_levels_fit_the_size(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        tiny(Path("none"), **changes)
