"""Tests of capture: the maps are those the layers compute, and the model computes as before."""

from contextlib import nullcontext
from typing import Literal

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor

from didgen.augment.diffusion.attention import AllRead, attend_with, captured, layer_side, layers_at
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.sampling import AttentionMaps

SIDE = 32
WIDTH = 24
READ = AttentionMaps()


def stable_diffusion(linear: bool) -> UNet2DConditionModel:
    """A UNet built like SD 2.x (linear projections, heads by width) or 1.x (convolutions)."""
    torch.manual_seed(int(linear))
    return UNet2DConditionModel(
        sample_size=SIDE,
        block_out_channels=(16, 32, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=(2, 4, 4) if linear else 4,
        norm_num_groups=8,
        use_linear_projection=linear,
    ).eval()


@pytest.fixture(scope="module", params=[True, False], ids=["sd2", "sd1"])
def unet(request: pytest.FixtureRequest) -> UNet2DConditionModel:
    """UNets of both generations of Stable Diffusion."""
    return stable_diffusion(request.param)


@pytest.fixture(scope="module")
def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Latents, a timestep and a context of 77 tokens for a batch of three."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(3, 4, SIDE, SIDE, generator=generator)
    context = 3 * torch.randn(3, 77, WIDTH, generator=generator)
    return latents, torch.tensor(300), context


POSITIONS = torch.tensor([[4, 6], [7, 2], [76, 0]])
"""Positions of the P-Tokens, another pair for each sample."""


def explicit_maps(
    unet: UNet2DConditionModel, names: list[str], inputs: tuple[Tensor, Tensor, Tensor]
) -> dict[str, Tensor]:
    """Softmax (B, heads, N, T) of the named layers under the model's own processors.

    Formed head by head from what to_q and to_k put out.
    """
    seen: dict[str, dict[str, Tensor]] = {}
    handles = []
    layers: dict[str, Attention] = {}
    for name in names:
        layer = unet.get_submodule(name.removesuffix(".processor"))
        assert isinstance(layer, Attention)
        layers[name], seen[name] = layer, {}
        for part in ("to_q", "to_k"):

            def keep(
                module: torch.nn.Module,
                args: tuple[Tensor],
                output: Tensor,
                name: str = name,
                part: str = part,
            ) -> None:
                seen[name][part] = output

            handles.append(getattr(layer, part).register_forward_hook(keep))
    with torch.no_grad():
        unet(*inputs)
    for handle in handles:
        handle.remove()
    maps = {}
    for name, layer in layers.items():
        query, key = seen[name]["to_q"], seen[name]["to_k"]
        heads = []
        for q, k in zip(query.chunk(layer.heads, -1), key.chunk(layer.heads, -1), strict=True):
            heads.append((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1))
        maps[name] = torch.stack(heads, 1)
    return maps


def test_cross_maps_are_the_layers_softmax(
    unet: UNet2DConditionModel, inputs: tuple[Tensor, Tensor, Tensor]
) -> None:
    names = layers_at(unet, "attn2", READ, SIDE)
    explicit = torch.stack([m.mean(1) for m in explicit_maps(unet, names, inputs).values()])
    assert explicit.shape[2:] == (READ.cross_side**2, 77)
    with torch.no_grad(), captured(unet, SIDE, READ) as maps:
        maps.positions = POSITIONS
        unet(*inputs)
    found = maps.cross_maps()
    assert found.shape == (3, 2, READ.cross_side, READ.cross_side)
    for sample in range(3):
        for column in range(2):
            expected = explicit.mean(0)[sample, :, POSITIONS[sample, column]]
            torch.testing.assert_close(
                found[sample, column].flatten(), expected, rtol=1e-4, atol=1e-6
            )


def test_self_map_is_the_layers_softmax_and_its_rows_sum_to_one(
    unet: UNet2DConditionModel, inputs: tuple[Tensor, Tensor, Tensor]
) -> None:
    names = layers_at(unet, "attn1", READ, SIDE)
    layers = explicit_maps(unet, names, inputs).values()
    expected = torch.cat(list(layers), 1).mean(1)
    with torch.no_grad(), captured(unet, SIDE, READ) as maps:
        maps.keep_self = True
        unet(*inputs)
    found = maps.self_map()
    assert found.shape == (3, READ.self_side**2, READ.self_side**2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(
        found.sum(-1), torch.ones(3, READ.self_side**2), rtol=1e-4, atol=1e-4
    )


def test_attended_regions_are_the_map_times_the_regions(
    unet: UNet2DConditionModel, inputs: tuple[Tensor, Tensor, Tensor]
) -> None:
    regions = torch.rand(3, READ.self_side**2, 2, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), captured(unet, SIDE, READ) as maps:
        maps.regions, maps.keep_self = regions, True
        unet(*inputs)
    torch.testing.assert_close(
        maps.attended_regions(), maps.self_map() @ regions, rtol=1e-4, atol=1e-5
    )


def test_capture_does_not_change_what_the_model_computes(
    unet: UNet2DConditionModel, inputs: tuple[Tensor, Tensor, Tensor]
) -> None:
    with torch.no_grad():
        expected = unet(*inputs).sample
        with captured(unet, SIDE, READ) as maps:
            maps.positions, maps.keep_self = POSITIONS, True
            maps.regions = torch.ones(3, READ.self_side**2, 2)
            everything = unet(*inputs).sample
        with captured(unet, SIDE, READ, self_attention=False) as maps:
            nothing_asked = unet(*inputs).sample
    torch.testing.assert_close(everything, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(nothing_asked, expected, rtol=1e-5, atol=1e-5)
    assert not maps.cross
    assert not maps.attended


def test_rows_choose_a_part_of_the_batch(
    unet: UNet2DConditionModel, inputs: tuple[Tensor, Tensor, Tensor]
) -> None:
    with torch.no_grad(), captured(unet, SIDE, READ) as whole:
        whole.positions, whole.keep_self = POSITIONS, True
        unet(*inputs)
    with torch.no_grad(), captured(unet, SIDE, READ) as part:
        part.rows = slice(1, None)
        part.positions, part.keep_self = POSITIONS[1:], True
        unet(*inputs)
    torch.testing.assert_close(part.cross_maps(), whole.cross_maps()[1:])
    torch.testing.assert_close(part.self_map(), whole.self_map()[1:])


@pytest.mark.parametrize("extra", [1, 2, 8])
def test_regions_ride_along_without_changing_attention(extra: int) -> None:
    generator = torch.Generator().manual_seed(3)
    query, key, value = (torch.randn(2, 3, 64, 16, generator=generator) for _ in range(3))
    regions = torch.rand(2, 64, extra, generator=generator)
    output, attended = attend_with(query, key, value, regions, 16**-0.5)
    weights = (query @ key.transpose(-1, -2) * 16**-0.5).softmax(-1)
    torch.testing.assert_close(output, weights @ value, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(attended, weights @ regions[:, None], atol=1e-5, rtol=1e-4)


def test_gradients_reach_the_latents_through_both_maps(
    unet: UNet2DConditionModel, inputs: tuple[Tensor, Tensor, Tensor]
) -> None:
    latents, timestep, context = inputs
    latents = latents.clone().requires_grad_()
    with captured(unet, SIDE, READ) as maps:
        maps.positions = POSITIONS
        maps.regions = torch.zeros(3, READ.self_side**2, 1)
        maps.regions[:, :300] = 1
        unet(latents, timestep, context)
    for loss in (maps.cross_maps().square().sum(), maps.attended_regions().square().sum()):
        (gradient,) = torch.autograd.grad(loss, latents, retain_graph=True)
        assert gradient.isfinite().all()
        assert gradient.abs().amax((1, 2, 3)).min() > 0


def test_the_processors_return_also_after_an_error(unet: UNet2DConditionModel) -> None:
    before = dict(unet.attn_processors)
    with captured(unet, SIDE, READ):
        replaced = [n for n, p in unet.attn_processors.items() if p is not before[n]]
        assert replaced
    assert unet.attn_processors == before
    with pytest.raises(KeyboardInterrupt), captured(unet, SIDE, READ):
        raise KeyboardInterrupt
    assert unet.attn_processors == before


def test_only_the_layers_that_are_read_capture(unet: UNet2DConditionModel) -> None:
    read = set(layers_at(unet, "attn2", READ, SIDE))
    with captured(unet, SIDE, READ, self_attention=False):
        kept = {n for n, p in unet.attn_processors.items() if isinstance(p, AttnProcessor2_0)}
        assert kept == unet.attn_processors.keys() - read
    read |= set(layers_at(unet, "attn1", READ, SIDE))
    with captured(unet, SIDE, READ):
        kept = {n for n, p in unet.attn_processors.items() if isinstance(p, AttnProcessor2_0)}
        assert kept == unet.attn_processors.keys() - read


def test_layer_sides_are_those_of_the_feature_maps(
    built: StableDiffusionPipeline, unet: UNet2DConditionModel
) -> None:
    for model in (unet, built.unet):
        width = model.config.cross_attention_dim
        pixels: dict[str, int] = {}
        handles = []
        for name in model.attn_processors:

            def keep(
                module: torch.nn.Module,
                args: tuple[Tensor],
                output: Tensor,
                name: str = name,
                pixels: dict[str, int] = pixels,
            ) -> None:
                pixels[name] = output.shape[1]

            layer = model.get_submodule(name.removesuffix(".processor"))
            handles.append(layer.to_q.register_forward_hook(keep))
        with torch.no_grad():
            model(torch.zeros(1, 4, SIDE, SIDE), torch.tensor(1), torch.zeros(1, 77, width))
        for handle in handles:
            handle.remove()
        assert pixels.keys() == model.attn_processors.keys()
        assert all(layer_side(model, n, SIDE) ** 2 == count for n, count in pixels.items())


def test_a_size_without_the_layers_is_an_error_that_says_which_there_are(
    unet: UNet2DConditionModel,
) -> None:
    with pytest.raises(DidgenError) as caught:
        layers_at(unet, "attn1", READ, 16)
    assert str(caught.value) == (
        "This UNet has no 32x32 self-attention layer at 16x16 latents, only 16x16, 8x8, 4x4; "
        "use another image size, or name one of these in the recipe's `maps.self_side`."
    )
    before = dict(unet.attn_processors)
    with pytest.raises(DidgenError, match="no 16x16"), captured(unet, 128, READ):
        pass
    assert unet.attn_processors == before


def test_layers_come_in_the_order_of_the_pass(unet: UNet2DConditionModel) -> None:
    names = layers_at(unet, "attn2", READ, SIDE)
    called: list[str] = []
    handles = [
        unet.get_submodule(name.removesuffix(".processor")).to_q.register_forward_hook(
            lambda *_, name=name: called.append(name)
        )
        for name in reversed(names)
    ]
    with torch.no_grad():
        unet(torch.zeros(1, 4, SIDE, SIDE), torch.tensor(1), torch.zeros(1, 77, WIDTH))
    for handle in handles:
        handle.remove()
    assert called == names
    assert {name.split("_")[0] for name in names} == {"down", "up"}


def test_parts_choose_the_layers(unet: UNet2DConditionModel) -> None:
    whole = layers_at(unet, "attn2", READ, SIDE)
    up = layers_at(unet, "attn2", AttentionMaps(parts=("up",)), SIDE)
    assert up == [name for name in whole if name.startswith("up_blocks")]
    middle = AttentionMaps(parts=("mid",), cross_side=8)
    assert all(name.startswith("mid_block") for name in layers_at(unet, "attn2", middle, SIDE))
    with pytest.raises(DidgenError, match="no 16x16 cross-attention layer in its mid part at 32x"):
        layers_at(unet, "attn2", AttentionMaps(parts=("mid",)), SIDE)


@pytest.mark.parametrize("early", ["gradients", "pass"])
@pytest.mark.parametrize("parts", [("down",), ("down", "mid", "up")])
def test_an_early_end_gives_the_same_maps_and_gradients(
    unet: UNet2DConditionModel,
    inputs: tuple[Tensor, Tensor, Tensor],
    parts: tuple[Literal["down", "mid", "up"], ...],
    early: Literal["gradients", "pass"],
) -> None:
    latents, timestep, context = inputs
    asked = AttentionMaps(parts=parts)
    results = []
    for end in ("none", early):
        start = latents.clone().requires_grad_()
        ended = pytest.raises(AllRead) if end == "pass" else nullcontext()
        with torch.enable_grad(), captured(unet, SIDE, asked) as maps, ended:
            maps.positions, maps.early_end = POSITIONS, end
            maps.regions = torch.ones(3, READ.self_side**2, 1)
            maps.regions[:, :300] = 0
            output = unet(start, timestep, context).sample
            assert output.requires_grad == (end == "none")
        assert torch.is_grad_enabled()
        loss = maps.cross_maps().square().sum() + maps.attended_regions().square().sum()
        results.append((maps.cross_maps(), *torch.autograd.grad(loss, start)))
    for whole, exited in zip(*results, strict=True):
        torch.testing.assert_close(exited, whole)


def test_sharpened_maps_are_a_softmax_over_the_prompts_own_words(
    unet: UNet2DConditionModel, inputs: tuple[Tensor, Tensor, Tensor]
) -> None:
    asked = AttentionMaps(sharpness=100)
    positions, ends = torch.tensor([[4, 6], [7, 2], [9, 1]]), torch.tensor([8, 76, 10])
    layers = explicit_maps(unet, layers_at(unet, "attn2", asked, SIDE), inputs).values()
    mean = torch.stack([layer.mean(1) for layer in layers]).mean(0)
    with torch.no_grad(), captured(unet, SIDE, asked) as maps:
        maps.positions, maps.ends = positions, ends
        unet(*inputs)
    found = maps.cross_maps().flatten(2)
    for sample in range(3):
        for pixel in range(0, READ.cross_side**2, 17):
            words = 100 * mean[sample, pixel, 1 : ends[sample]]
            shares = (words - words.max()).exp() / (words - words.max()).exp().sum()
            expected = shares[positions[sample] - 1]
            torch.testing.assert_close(found[sample, :, pixel], expected, rtol=1e-3, atol=1e-5)


BF16_BOUND = 0.02
"""How far maps of a pass in bf16 may lie from those in float32: bf16 keeps 8 bits."""


def test_maps_in_bf16_keep_within_their_bound(
    unet: UNet2DConditionModel, inputs: tuple[Tensor, Tensor, Tensor]
) -> None:
    regions = torch.rand(3, READ.self_side**2, 2, generator=torch.Generator().manual_seed(1))
    results = []
    for enabled in (False, True):
        half = torch.autocast("cpu", torch.bfloat16, enabled=enabled)
        with torch.no_grad(), half, captured(unet, SIDE, READ) as maps:
            maps.positions, maps.regions, maps.keep_self = POSITIONS, regions, True
            unet(*inputs)
        found = (maps.cross_maps(), maps.attended_regions(), maps.self_map())
        assert all(m.dtype == torch.float32 for m in found)
        results.append(found)
    for exact, rough in zip(*results, strict=True):
        assert (exact - rough).abs().max() < BF16_BOUND * exact.abs().max()


def test_maps_can_be_cleared_for_another_pass(
    unet: UNet2DConditionModel, inputs: tuple[Tensor, Tensor, Tensor]
) -> None:
    with torch.no_grad(), captured(unet, SIDE, READ) as maps:
        maps.positions, maps.keep_self = POSITIONS, True
        unet(*inputs)
        first = maps.cross_maps(), maps.self_map()
        maps.clear()
        unet(*inputs)
    torch.testing.assert_close((maps.cross_maps(), maps.self_map()), first, rtol=0, atol=0)
