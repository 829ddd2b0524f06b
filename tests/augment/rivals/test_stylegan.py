"""Tests of SL-StyleGAN: its contract, and AdaIN, noise and losses against what is known of them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from didgen.augment.generation.prepare import prepare_generation
from didgen.augment.rivals.stylegan import (
    StyleDiscriminator,
    StyledLayer,
    StyleGan,
    StyleGenerator,
    adaptive_norm,
)
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.rivals import StyleGanNetwork, StyleGanRecipe
from tests.contracts.rival import RivalContract

TINY = StyleGanNetwork(
    latent=8, style=8, mapping_layers=2, channels=(8, 8, 4), discriminator=(4, 4), dense=8
)


def tiny(source: Path, **changes: Any) -> StyleGanRecipe:
    """A recipe of seconds at 16 px."""
    fields: dict[str, Any] = {
        "source": source,
        "image_size": 16,
        "steps": 3,
        "batch_size": 2,
        "learning_rate": 1e-2,
        "checkpoint_every": 1,
        "ema_decay": 0.5,
        "conditional": True,
        "diff_augment": True,
        "r1_every": 2,
        "network": TINY,
    }
    return StyleGanRecipe(**fields | changes)


class TestStyleGan(RivalContract):
    side = 16
    draws = ("images",)

    @classmethod
    def recipe(cls, source: Path) -> StyleGanRecipe:
        return tiny(source)

    def test_captions_are_refused(self, trained: Path) -> None:
        with pytest.raises(DidgenError, match="reads no captions; set `prompt: class`"):
            prepare_generation(self.asked(trained, prompt="caption"))


class TestStyleGanOfEachClass(RivalContract):
    side = 16
    draws = ("images",)
    kept = 3

    @classmethod
    def recipe(cls, source: Path) -> StyleGanRecipe:
        others = ("NV", "BKL", "AKIEC", "DF", "VASC")
        return tiny(source, conditional=False, exclude=others, steps=2, ema_decay=None)

    def test_a_class_that_it_was_not_trained_on_is_refused(
        self, trained: Path, source: Path
    ) -> None:
        other = {"images": {"per_class": {"NV": 1}}}
        with pytest.raises(DidgenError, match="`images` names the class NV"):
            prepare_generation(self.asked(trained, **other))
        with pytest.raises(DidgenError, match="draws no NV: it was trained on MEL, BCC; leave"):
            prepare_generation(self.asked(trained, source=source, **other))

    def test_a_class_has_a_net_of_its_own(self, trained: Path) -> None:
        assert len(list(trained.glob("generator-*.safetensors"))) == 2


def test_adain_gives_each_channel_the_mean_and_deviation_of_the_style() -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 3, 8, 8) * 5 + 2
    scale, shift = torch.tensor([[0.5, 2, 3], [1, 4, 0.1]]), torch.randn(2, 3)
    styled = adaptive_norm(features, scale, shift)
    torch.testing.assert_close(styled.mean((2, 3)), shift, atol=1e-4, rtol=0)
    torch.testing.assert_close(styled.std((2, 3), correction=0), scale, atol=1e-3, rtol=0)
    # By hand, for one channel of one image.
    one = features[1, 2]
    wanted = 0.1 * (one - one.mean()) / (one.var(correction=0) + 1e-5).sqrt() + shift[1, 2]
    torch.testing.assert_close(styled[1, 2], wanted)


def test_noise_begins_without_strength_and_then_moves_places_apart() -> None:
    torch.manual_seed(0)
    layer, style = StyledLayer(3, 4, 5), torch.randn(1, 5)
    features, noise = torch.randn(1, 3, 8, 8), torch.randn(2, 1, 1, 8, 8)
    torch.testing.assert_close(layer(features, style, noise[0]), layer(features, style, noise[1]))
    with torch.no_grad():
        layer.strength.fill_(1)
    assert not layer(features, style, noise[0]).allclose(layer(features, style, noise[1]))


def test_the_defaults_have_the_sizes_of_the_source() -> None:
    recipe = StyleGanRecipe(source=Path("none"))
    generator = StyleGenerator(recipe.network, 1)
    assert sum(p.numel() for p in generator.mapping.parameters()) == 100 * 512 + 7 * 512**2 + 4096
    assert generator.constant.shape == (1, 512, 4, 4)
    layers: Any = generator.layers
    assert [layer.convolution.out_channels for layer in layers][::2] == [
        512, 256, 192, 128, 64, 32, 16,
    ]  # fmt: skip
    numbers = torch.randn(1, generator.numbers)
    with torch.no_grad():
        image = generator(numbers, torch.zeros(1, dtype=torch.long))
        assert image.shape == (1, 3, 256, 256) and image.abs().max() <= 1
        discriminator = StyleDiscriminator(recipe.network, 1).eval()
        assert discriminator(image, torch.zeros(1, dtype=torch.long)).shape == (1,)
    assert discriminator.output.in_features == 128


def test_the_losses_are_those_of_least_squares_and_r1_comes_lazily() -> None:
    module = StyleGan(tiny(Path("none"), diff_augment=False, r1_weight=3.0), 1).eval()
    batch: dict[str, Any] = {
        "pixels": torch.randn(4, 3, 16, 16),
        "label": torch.zeros(4, dtype=torch.long),
        "step": 0,
        "turn": "discriminator",
    }
    told = module(batch)
    torch.manual_seed(0)
    real = module.discriminator(batch["pixels"], batch["label"])
    again = module(batch)
    assert again["loss"].equal(told["loss"]), "the step and its turn alone decide what is drawn"
    assert "r1" not in module(batch | {"step": 1}) and "r1" in module(batch | {"step": 2})
    # Two steps of penalty at once, since every second step has one.
    torch.testing.assert_close(told["loss"], told["adversarial"] + 3.0 * 2 * told["r1"])
    assert told["adversarial"] >= (real - 1).square().mean()
    output: Any = module.discriminator.output
    with torch.no_grad():
        output.weight.zero_()
        output.bias.fill_(0.25)
    torch.testing.assert_close(module(batch)["adversarial"], torch.tensor(0.75**2 + 1.25**2))
    drawn = module(batch | {"turn": "generator"})["loss"]
    torch.testing.assert_close(drawn, torch.tensor(0.25**2))


def test_the_class_decides_what_a_conditional_net_draws() -> None:
    torch.manual_seed(0)
    generator = StyleGenerator(TINY, 3)
    numbers = torch.randn(1, generator.numbers).expand(3, -1)
    with torch.no_grad():
        first, second, third = generator(numbers, torch.tensor([0, 1, 0]))
    assert first.equal(third) and not first.allclose(second, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"image_size": 32}, "which end at 16 pixels a side; `image_size` is 32"),
        ({"network": {"channels": (8, 8)}}, "a block less than `channels`"),
    ],
)
def test_blocks_fit_the_size(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        tiny(Path("none"), **changes)
