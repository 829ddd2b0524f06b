"""XBound-Former: a transformer that models boundaries across scales (Wang et al., IEEE TMI 2023).

Written from the paper's description: a trunk of PVTv2, three learners of boundaries upon its maps,
boundary maps and masks of several scales supervised in training, 30.6 M parameters. Choices that
this leaves open stand as notes below.
"""

from collections.abc import Mapping
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d, Mlp
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from didgen.downstream.networks.segmenter_outputs import Outputs

TRUNK = "pvt_v2_b2"


class XBoundFormer(nn.Module):
    """XBound-Former: (B, 3, S, S) to logits (B, 1, S, S); in training `Outputs`.

    `encoder`, the trunk, is a network of timm that gives maps at 1/4, 1/8, 1/16 and 1/32 of the
    image's scale; `loading` are arguments for it, such as those that give it weights.

    Note: the learners work at the three coarse scales, all at one width; the finest map, at which
    tokens are many, is for the decoder alone.
    """

    def __init__(
        self,
        encoder: str = TRUNK,
        width: int = 256,
        heads: int = 8,
        embeddings: int = 16,
        loading: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        trunk: Any = timm.create_model(encoder, features_only=True, **(loading or {}))
        fine, *coarse = trunk.feature_info.channels()
        self.encoder = trunk
        self.narrow = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in coarse)
        self.implicit = nn.ModuleList(ImplicitLearner(width, heads) for _ in coarse)
        self.explicit = nn.ModuleList(ExplicitLearner(width, heads, embeddings) for _ in coarse)
        self.across = nn.ModuleList(CrossScaleLearner(width, heads) for _ in coarse)
        self.heads = nn.ModuleList(nn.Conv2d(width, 1, 1) for _ in coarse)
        self.decoder = Decoder(fine, width, len(coarse))

    def forward(self, images: Tensor) -> Tensor | Outputs:
        size = images.shape[-2:]
        fine, *coarse = self.encoder(images)
        aware, bounds = zip(
            *(
                learner(narrow(map_))
                for map_, narrow, learner in zip(coarse, self.narrow, self.implicit, strict=True)
            ),
            strict=True,
        )
        embedded = [
            learner(map_, bound)
            for map_, bound, learner in zip(aware, bounds, self.explicit, strict=True)
        ]
        guided = [
            learner(map_, torch.cat([*embedded[max(0, i - 1) : i], *embedded[i + 1 : i + 2]], 1))
            for i, (map_, learner) in enumerate(zip(aware, self.across, strict=True))
        ]
        mask = _enlarged(self.decoder(fine, guided), size)
        if not self.training:
            return mask
        deep = [_enlarged(head(map_), size) for map_, head in zip(guided, self.heads, strict=True)]
        return Outputs((mask, *deep), bounds)


class ImplicitLearner(nn.Module):
    """im-Bound, the implicit boundary learner: attention drawn to where the boundary runs.

    (B, C, H, W) to the same, and logits (B, 1, H, W) of a boundary map. A transformer block relates
    all points; the predicted map then adds once more what lies on the boundary, so that the global
    context is kept.

    Note: the paper draws attention to chosen points, those where the boundary varies most; here the
    map stands for all of it, which asks for no choice.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.block = Block(width, heads, qkv_bias=True)
        self.bound = nn.Sequential(nn.Conv2d(width, width // 4, 1), nn.GELU())
        self.logit = nn.Conv2d(width // 4, 1, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        related = _map(self.block(_tokens(features)), features)
        bound = self.logit(self.bound(related))
        return related * (1 + bound.sigmoid()), bound


class ExplicitLearner(nn.Module):
    """ex-Bound, the explicit boundary learner: what a scale knows of the boundary, as embeddings.

    (B, C, H, W) and boundary logits (B, 1, H, W) to embeddings (B, N, C). Learned queries attend
    to the points, each point weighed by its chance of lying on the boundary.

    Note: there are 16 embeddings, and ln p added to the attention's logits weighs a point by p.
    """

    def __init__(self, width: int, heads: int, embeddings: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(1, embeddings, width) * 0.02)
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, features: Tensor, bound: Tensor) -> Tensor:
        points = self.norm(_tokens(features))
        queries = self.queries.expand(len(points), -1, -1)
        chance = F.logsigmoid(bound.float()).flatten(2).to(points.dtype)
        bias = chance.expand(-1, queries.shape[1], -1)
        bias = bias.repeat_interleave(self.attention.num_heads, 0)
        found, _ = self.attention(queries, points, points, attn_mask=bias, need_weights=False)
        return queries + found


class CrossScaleLearner(nn.Module):
    """X-Bound, the cross-scale boundary learner: a scale guided by its neighbours' boundaries.

    (B, C, H, W) and embeddings (B, N, C) of the neighbouring scales to (B, C, H, W). The points
    attend to the embeddings; a perceptron follows, both with a residual.

    Note: neighbours are the next finer and the next coarser scale.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, features: Tensor, embeddings: Tensor) -> Tensor:
        points, keys = _tokens(features), self.norms[1](embeddings)
        found, _ = self.attention(self.norms[0](points), keys, keys, need_weights=False)
        points = points + found
        return _map(points + self.mlp(self.norms[2](points)), features)


class Decoder(nn.Module):
    """The decoder: guided maps from coarse to fine, with the trunk's finest, to logits at 1/4.

    Note: a coarser map is enlarged and added to the next, and a 1 x 1 convolution mixes the sum.
    """

    def __init__(self, fine: int, width: int, levels: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(fine, width, 1)
        self.mix = nn.ModuleList(
            nn.Sequential(LayerNorm2d(width), nn.Conv2d(width, width, 1), nn.GELU())
            for _ in range(levels)
        )
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, fine: Tensor, guided: list[Tensor]) -> Tensor:
        maps = [self.narrow(fine), *guided]
        deep = maps.pop()
        for mix in self.mix:
            skip = maps.pop()
            deep = mix(skip + _enlarged(deep, skip.shape[-2:]))
        return self.head(deep)


def _tokens(features: Tensor) -> Tensor:
    """(B, C, H, W) to (B, H W, C)."""
    return features.flatten(2).transpose(1, 2)


def _map(tokens: Tensor, like: Tensor) -> Tensor:
    """(B, H W, C) to (B, C, H, W), the shape of `like`."""
    return tokens.transpose(1, 2).reshape(like.shape)


def _enlarged(features: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(features, size=tuple(size), mode="bilinear")
