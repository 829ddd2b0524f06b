"""Attention maps: processors that hand out the maps of the layers that are read, and no others.

Notable choices:
- A captured cross-attention layer forms its softmax explicitly (256 x 77, small) and uses it for
  its output too; only the two P-Tokens' columns leave the layer.
- Self-attention is never formed for a loss: the region masks ride along as value channels of the
  layer's own call of scaled_dot_product_attention.
- The last layer that is read can end the pass, or the gradients: what lies behind it gives no map.
- Layers are chosen by the sides that their maps have at the model's own size. At another size, and
  for images that are not square, the same layers are read, and their maps have other shapes.
- Maps are kept as float32, whatever the model computes in.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor

from didgen.augment.device import exact
from didgen.augment.models.configs import KINDS, PARTS, check_sides
from didgen.manifests.recipes.sampling import AttentionMaps


class AllRead(Exception):
    """Raised by the last layer that is read where `Maps.early_end` asks for it."""


@dataclass
class Maps:
    """What the captured layers of one UNet pass wrote, and what they are asked for.

    positions: (B, 2) of the P-Tokens, or None to read no cross-attention; ends: (B,) positions of
    the prompts' end tokens, read where the maps are sharpened; regions: (B, N, R) values that
    self-attention is applied to, over the whole batch, or None; keep_self: add up the whole
    self-attention (B, N, N). rows: the part of the batch that cross and whole self-attention are
    read of; there B counts these rows. own: side of the latents that the sides in `asked` are meant
    for; latents: height and width of those that the pass is given. early_end: what ends with the
    last layer that is read: nothing, the gradients, or the pass, by `AllRead`.
    """

    asked: AttentionMaps = field(default_factory=AttentionMaps)
    own: int = 64
    latents: tuple[int, int] = (64, 64)
    rows: slice = field(default_factory=lambda: slice(None))
    positions: Tensor | None = None
    ends: Tensor | None = None
    regions: Tensor | None = None
    keep_self: bool = False
    early_end: Literal["none", "gradients", "pass"] = "none"
    cross: list[Tensor] = field(default_factory=list)
    attended: list[Tensor] = field(default_factory=list)
    self_sum: Tensor | None = None
    self_layers: int = 0

    def clear(self) -> None:
        """Forget what was written, before another pass."""
        self.cross.clear()
        self.attended.clear()
        self.self_sum, self.self_layers = None, 0

    @property
    def cross_shape(self) -> tuple[int, int]:
        """Height and width of the cross-attention maps."""
        return map_shape(self.latents, self.own, self.asked.cross_side)

    @property
    def self_shape(self) -> tuple[int, int]:
        """Height and width of the image that self-attention maps pixels of."""
        return map_shape(self.latents, self.own, self.asked.self_side)

    def read_cross(self, weights: Tensor) -> None:
        """Keep of a layer's probabilities (B, heads, N, T) what `cross_maps` needs."""
        assert self.positions is not None
        mean = weights[self.rows].mean(1)
        if not self.asked.sharpness:
            mean = _columns(mean, self.positions)
        self.cross.append(mean)

    def cross_maps(self) -> Tensor:
        """A_C (B, 2, h, w): mean over heads and layers of the P-Tokens' probabilities.

        Sharpened, these are a softmax over the prompt's own words of `sharpness` times the mean.
        """
        mean = torch.stack(self.cross).mean(0)
        if self.asked.sharpness:
            assert self.positions is not None and self.ends is not None
            place = torch.arange(mean.shape[-1], device=mean.device)
            words = (place > 0) & (place < self.ends[:, None])
            scores = (self.asked.sharpness * mean).masked_fill(~words[:, None], -torch.inf)
            mean = _columns(scores.softmax(-1), self.positions)
        return mean.transpose(1, 2).unflatten(-1, self.cross_shape)

    def attended_regions(self) -> Tensor:
        """A_S applied to the regions, (B, N, R): mean over heads and layers."""
        return torch.stack(self.attended).mean(0)

    def self_map(self) -> Tensor:
        """A_S (B, N, N): mean over heads and layers, rows sum to 1."""
        assert self.self_sum is not None
        return self.self_sum / self.self_layers


def _columns(probabilities: Tensor, positions: Tensor) -> Tensor:
    """The columns (B, N, 2) of probabilities (B, N, T) at positions (B, 2)."""
    return probabilities.gather(2, positions[:, None].expand(-1, probabilities.shape[1], -1))


def _project(
    attn: Attention, hidden_states: Tensor, context: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (B, heads, N, d), keys and values (B, heads, T, d) of an attention layer."""
    projected = (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
    query, key, value = (p.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for p in projected)
    return query, key, value


def _output(attn: Attention, hidden_states: Tensor) -> Tensor:
    """Merge heads (B, heads, N, d) and project out (B, N, C)."""
    return attn.to_out[1](attn.to_out[0](hidden_states.transpose(1, 2).flatten(2)))


def probabilities(attn: Attention, query: Tensor, key: Tensor) -> Tensor:
    """softmax(Q K^T / sqrt d) in float32, (B, heads, N, T)."""
    with exact(query.device):
        scores = query.float() @ key.float().transpose(-1, -2)
        return (scores * attn.scale).softmax(-1)


class _Processor:
    """What both processors have in common: the maps they write to, and whether they are last."""

    def __init__(self, maps: Maps, last: bool) -> None:
        self.maps, self.last = maps, last

    def finish(self) -> None:
        """End the pass, or its gradients, where this was the last layer to be read."""
        if not self.last:
            return
        if self.maps.early_end == "pass":
            raise AllRead
        if self.maps.early_end == "gradients":
            # For the rest of the pass: whoever asked for gradients is their context manager.
            torch.set_grad_enabled(False)


class CrossProcessor(_Processor):
    """Cross-attention that hands the P-Tokens' columns to `maps` when it has positions."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        query, key, value = _project(attn, hidden_states, encoder_hidden_states)
        weights = probabilities(attn, query, key)
        if self.maps.positions is not None:
            self.maps.read_cross(weights)
        self.finish()
        return _output(attn, weights.to(value.dtype) @ value)


class SelfProcessor(_Processor):
    """Self-attention that hands out what `maps` asks for: attended regions, or the whole map."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        query, key, value = _project(attn, hidden_states, hidden_states)
        maps = self.maps
        if maps.keep_self:
            rows = maps.rows
            # One head at a time: the heads' maps together would be the largest tensor of all.
            for head in range(attn.heads):
                weights = probabilities(attn, query[rows, head], key[rows, head])
                maps.self_sum = weights if maps.self_sum is None else maps.self_sum + weights
            maps.self_layers += attn.heads
        if maps.regions is None:
            output = F.scaled_dot_product_attention(query, key, value, scale=attn.scale)
        else:
            output, attended = attend_with(query, key, value, maps.regions, attn.scale)
            maps.attended.append(attended.float().mean(1))
        self.finish()
        return _output(attn, output)


PADDING = 8
"""Channels added to queries, keys and values to carry regions; kernels want multiples of 8."""


def attend_with(
    query: Tensor, key: Tensor, value: Tensor, regions: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Attention's output (B, heads, N, d) and the map applied to regions, (B, heads, N, R).

    regions: (B, N, R), R at most PADDING. They ride along as further value channels of one fused
    call, with zeros in queries and keys, so N x N is never formed in either direction.
    """
    width, extra = value.shape[-1], regions.shape[-1]
    carried = F.pad(regions.to(value.dtype), (0, PADDING - extra))[:, None]
    value = torch.cat([value, carried.expand(-1, value.shape[1], -1, -1)], -1)
    query, key = F.pad(query, (0, PADDING)), F.pad(key, (0, PADDING))
    output = F.scaled_dot_product_attention(query, key, value, scale=scale)
    return output[..., :width], output[..., width : width + extra]


def own_side(unet: UNet2DConditionModel) -> int:
    """Side of the latents that a UNet was trained on; the shorter one where they are not square."""
    size = unet.config.sample_size
    return int(size) if isinstance(size, int) else int(min(size))


def map_shape(latents: tuple[int, int], own: int, side: int) -> tuple[int, int]:
    """Height and width of the maps at latents (h, w) of layers that have `side` at the own side."""
    level = 0
    while math.ceil(own / 2**level) > side:
        level += 1
    height, width = (math.ceil(extent / 2**level) for extent in latents)
    return height, width


def layer_side(unet: UNet2DConditionModel, name: str, latent_side: int) -> int:
    """Side of the feature map at a layer of the UNet, for latents of the given side."""
    depth = len(unet.config.block_out_channels) - 1
    part, index, *_ = name.split(".")
    if part == "down_blocks":
        level = int(index)
    elif part == "up_blocks":
        level = depth - int(index)
    else:
        level = depth
    # A stride of two rounds up where a side is odd.
    return math.ceil(latent_side / 2**level)


def layers_at(
    unet: UNet2DConditionModel, kind: str, asked: AttentionMaps, latent_side: int
) -> list[str]:
    """Names of the processors of `attn1` (self) or `attn2` (cross) that are read, in pass order.

    Raises DidgenError where the model has none, and says which sides it has.
    """
    side = getattr(asked, KINDS[kind][1])
    sides = {
        name: layer_side(unet, name, latent_side)
        for name in sorted(unet.attn_processors, key=_place)
        if f".{kind}." in name and _place(name)[0] in {PARTS.index(part) for part in asked.parts}
    }
    check_sides(kind, asked, latent_side, {*sides.values()})
    return [name for name, at in sides.items() if at == side]


def _place(name: str) -> tuple[int, ...]:
    """Where in a pass a layer comes: its part, then the numbers in its name, `attn1` before 2."""
    part = next(number for number, part in enumerate(PARTS) if name.startswith(part))
    return part, *(int(number) for number in re.findall(r"\d+", name))


def install(
    unet: UNet2DConditionModel,
    latent_side: int,
    asked: AttentionMaps,
    *,
    cross_attention: bool = True,
    self_attention: bool = True,
) -> Maps:
    """Put capture processors on the layers that are read, and SDPA on all others."""
    maps = Maps(asked, latent_side, (latent_side, latent_side))
    cross = layers_at(unet, "attn2", asked, latent_side) if cross_attention else []
    own = layers_at(unet, "attn1", asked, latent_side) if self_attention else []
    last = max([*cross, *own], key=_place)
    chosen: dict[str, object] = dict.fromkeys(unet.attn_processors, AttnProcessor2_0())
    chosen |= {name: CrossProcessor(maps, name == last) for name in cross}
    chosen |= {name: SelfProcessor(maps, name == last) for name in own}
    unet.set_attn_processor(chosen)
    return maps


@contextmanager
def captured(
    unet: UNet2DConditionModel,
    latent_side: int,
    asked: AttentionMaps,
    *,
    cross_attention: bool = True,
    self_attention: bool = True,
) -> Iterator[Maps]:
    """`install` for a while; the old processors return at the end."""
    before = dict(unet.attn_processors)
    try:
        yield install(
            unet,
            latent_side,
            asked,
            cross_attention=cross_attention,
            self_attention=self_attention,
        )
    finally:
        unet.set_attn_processor(before)
