"""DCSAU-Net: a U-Net of split attention (Xu, Ma, Na and Duan, Comput. Biol. Med. 154, 2023).

Written from the paper's description: the shape of the net, its two kinds of block and its 2.60 M
parameters. Choices that this leaves open stand as notes below.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (64, 128, 256, 512, 512)
"""Channels of the levels of the encoder, from the full image's scale to a sixteenth of it."""

BLOCKS = (2, 2, 2, 1)
"""CSA blocks of the levels below the first, which has the PFC block."""


class DCSAUNet(nn.Module):
    """DCSAU-Net: (B, 3, H, W) to logits (B, 1, H, W); H and W are 16 or more.

    Note: the numbers of blocks, of which a level of the decoder has one, make the paper's number
    of parameters with these widths. Maps are enlarged to the size of the encoder's, so that sides
    need not be multiples of 16.
    """

    def __init__(self) -> None:
        super().__init__()
        self.primary = PrimaryFeatures(3, WIDTHS[0])
        self.encoder = nn.ModuleList(
            nn.Sequential(
                nn.MaxPool2d(2),
                CompactSplitAttention(above, width),
                *(CompactSplitAttention(width, width) for _ in range(blocks - 1)),
            )
            for (above, width), blocks in zip(pairwise(WIDTHS), BLOCKS, strict=True)
        )
        skips, width = WIDTHS[-2::-1], WIDTHS[-1]
        self.decoder = nn.ModuleList()
        for skip in skips:
            narrow = max(WIDTHS[0], skip // 2)
            self.decoder.append(CompactSplitAttention(width + skip, narrow))
            width = narrow
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        maps = [self.primary(images)]
        for level in self.encoder:
            maps.append(level(maps[-1]))
        deep = maps.pop()
        for level in self.decoder:
            skip = maps.pop()
            deep = F.interpolate(deep, size=skip.shape[-2:], mode="bilinear")
            deep = level(torch.cat([skip, deep], 1))
        return self.head(deep)


class PrimaryFeatures(nn.Module):
    """Primary feature conservation, PFC: the first block, a depth-wise separable 7 x 7 convolution.

    A 3 x 3 convolution widens the image; the depth-wise one, with a residual, then sees far at
    little cost, and a 1 x 1 convolution mixes the channels.

    Note: each convolution is followed by batch normalisation and ReLU.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.widen = convolution(channels, width, 3)
        self.far = convolution(width, width, 7, groups=width)
        self.mix = convolution(width, width, 1)

    def forward(self, images: Tensor) -> Tensor:
        wide = self.widen(images)
        return self.mix(wide + self.far(wide))


class CompactSplitAttention(nn.Module):
    """The compact split-attention block, CSA: (B, C, H, W) to (B, width, H, W).

    Two groups of features see a different number of convolutions: the first one, the second also
    the first's result, hence two. Their sum, pooled over the image, says by a softmax over the
    groups how much of each a channel takes. A residual runs around it all.

    Note: groups are a quarter of the block's width each, a bottleneck as in ResNeSt, and the
    attention's hidden layer is a quarter of a group, 16 or more; the residual is a 1 x 1
    convolution where the number of channels changes.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        group = width // 4
        hidden = max(16, group // 4)
        self.split = convolution(channels, 2 * group, 1)
        self.first = convolution(group, group, 3)
        self.second = convolution(group, group, 3)
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(group, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, 2 * group, 1),
        )
        self.join = nn.Sequential(nn.Conv2d(group, width, 1, bias=False), nn.BatchNorm2d(width))
        self.residual = (
            nn.Identity()
            if channels == width
            else nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width))
        )

    def forward(self, features: Tensor) -> Tensor:
        one, two = self.split(features).chunk(2, 1)
        one = self.first(one)
        two = self.second(one + two)
        # (B, 2, C, 1, 1), of which both groups' shares of a channel are 1 in sum.
        first, second = self.attention(one + two).unflatten(1, (2, -1)).softmax(1).unbind(1)
        return F.relu(self.join(first * one + second * two) + self.residual(features))


def convolution(channels: int, width: int, kernel: int, groups: int = 1) -> nn.Sequential:
    """A convolution that keeps the size, with batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )
