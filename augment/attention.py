"""Attention maps: processors that hand out the maps of the layers that are read, and no others.

Notable choices:
- A captured cross-attention layer forms its softmax explicitly (256 x 77, small) and uses it for
  its output too; only the two P-Tokens' columns leave the layer.
- Self-attention is never formed for a loss: the region masks ride along as value channels of the
  layer's own call of scaled_dot_product_attention.
- Maps are kept as float32, whatever the model computes in.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor

from manifests.errors import DidgenError

CROSS_SIDE = 16
"""Side of the cross-attention maps that are read (Eq. 3)."""

SELF_SIDE = 32
"""Side of the self-attention maps that are read (Eq. 6 and 7)."""


@dataclass
class Maps:
    """What the captured layers of one UNet pass wrote, and what they are asked for.

    positions: (B, 2) of the P-Tokens; regions: (B, N, R) values that self-attention is applied to,
    over the whole batch, or None; keep_self: add up the whole self-attention (B, N, N). rows: the
    part of the batch that cross and whole self-attention are read of; there B counts these rows.
    """

    rows: slice = field(default_factory=lambda: slice(None))
    positions: Tensor | None = None
    regions: Tensor | None = None
    keep_self: bool = False
    cross: list[Tensor] = field(default_factory=list)
    attended: list[Tensor] = field(default_factory=list)
    self_sum: Tensor | None = None
    self_layers: int = 0

    def cross_maps(self) -> Tensor:
        """A_C (B, 2, side, side): mean over heads and layers of the P-Tokens' probabilities."""
        mean = torch.stack(self.cross).mean(0)
        side = int(mean.shape[-1] ** 0.5)
        return mean.unflatten(-1, (side, side))

    def attended_regions(self) -> Tensor:
        """A_S applied to the regions, (B, N, R): mean over heads and layers."""
        return torch.stack(self.attended).mean(0)

    def self_map(self) -> Tensor:
        """A_S (B, N, N): mean over heads and layers, rows sum to 1."""
        assert self.self_sum is not None
        return self.self_sum / self.self_layers


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
    with torch.autocast(query.device.type, enabled=False):
        scores = query.float() @ key.float().transpose(-1, -2)
        return (scores * attn.scale).softmax(-1)


class CrossProcessor:
    """Cross-attention that hands the P-Tokens' columns to `maps` when it has positions."""

    def __init__(self, maps: Maps) -> None:
        self.maps = maps

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
        positions = self.maps.positions
        if positions is not None:
            mean = weights[self.maps.rows].mean(1)
            index = positions[:, None].expand(-1, mean.shape[1], -1)
            self.maps.cross.append(mean.gather(2, index).transpose(1, 2))
        return _output(attn, weights.to(value.dtype) @ value)


class SelfProcessor:
    """Self-attention that hands out what `maps` asks for: attended regions, or the whole map."""

    def __init__(self, maps: Maps) -> None:
        self.maps = maps

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
    return latent_side >> level


def layers_at(unet: UNet2DConditionModel, kind: str, side: int, latent_side: int) -> list[str]:
    """Names of the processors of `attn1` (self) or `attn2` (cross) at one side.

    Raises DidgenError where the model has none, and says which sides it has.
    """
    sides = {
        name: layer_side(unet, name, latent_side)
        for name in unet.attn_processors
        if f".{kind}." in name
    }
    names = [name for name, at in sides.items() if at == side]
    if not names:
        known = ", ".join(f"{at}x{at}" for at in sorted(set(sides.values()), reverse=True))
        raise DidgenError(
            f"This UNet has no {side}x{side} attention layer at {latent_side}x{latent_side} "
            f"latents, only {known or 'none at all'}; use another image size."
        )
    return names


@contextmanager
def captured(
    unet: UNet2DConditionModel, latent_side: int, *, self_attention: bool = True
) -> Iterator[Maps]:
    """Put capture processors on the layers that are read; the old processors return at the end."""
    maps = Maps()
    before = dict(unet.attn_processors)
    chosen: dict[str, object] = dict.fromkeys(before, AttnProcessor2_0())
    for name in layers_at(unet, "attn2", CROSS_SIDE, latent_side):
        chosen[name] = CrossProcessor(maps)
    if self_attention:
        for name in layers_at(unet, "attn1", SELF_SIDE, latent_side):
            chosen[name] = SelfProcessor(maps)
    unet.set_attn_processor(chosen)
    try:
        yield maps
    finally:
        unet.set_attn_processor(before)
