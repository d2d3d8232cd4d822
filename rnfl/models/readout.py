"""Readout: frozen backbones → tokens after every block → a linear map → the profile.

What the map is, is solved for in :mod:`rnfl.training.readout`. **Ours**; the paper has no such
model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnfl.models.backbone import Backbone

CELLS = 8  # tokens are averaged to at most 8 by 8 cells


class Readout(nn.Module):
    """Predict RNFL profiles (µm) linearly from the tokens of frozen backbones.

    ``n_codes`` is how many numbers per eye the regression predicts.
    """

    def __init__(self, backbones: Sequence[Backbone], n_codes: int):
        super().__init__()
        self.backbones = nn.ModuleList(backbones).requires_grad_(False)
        for i, backbone in enumerate(backbones):
            # Narrower blocks, which convolutional networks begin with, leave the rest at zero.
            shape = backbone.depth, max(widths(backbone))
            self.register_buffer(f"mean_{i}", torch.zeros(shape))
            self.register_buffer(f"weights_{i}", torch.zeros(*shape, n_codes))
        self.register_buffer("level", torch.zeros(n_codes))
        self.register_buffer("decoder", torch.zeros(n_codes, 360))
        self.register_buffer("offset", torch.zeros(360))

    @property
    def backbone(self) -> Backbone:
        """The backbone with the largest input, whose size images are prepared for."""
        return max(self.backbones, key=lambda one: one.spec.input_size)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 1 or 3, H, W) in [0, 1] → profiles (B, 360) in µm."""
        total, n_blocks = 0, 0
        for i, backbone in enumerate(self.backbones):
            means, weights = getattr(self, f"mean_{i}"), getattr(self, f"weights_{i}")
            for block, mean, weight in zip(tokens(backbone, images), means, weights, strict=True):
                n = block.shape[1]
                total, n_blocks = total + (block - mean[:n]) @ weight[:n], n_blocks + 1
        return self.offset + (self.level + total / n_blocks) @ self.decoder


def tokens(backbone: Backbone, images: Tensor) -> list[Tensor]:
    """Return the tokens after each block, averaged over cells: (B, D * cells) each.

    The finer maps of a convolutional network are first averaged to the grid of its last one, so
    that a token is the same part of the eye after every block.
    """
    blocks = backbone.encoder.forward_intermediates(
        backbone.normalise(images), backbone.depth, intermediates_only=True, output_fmt="NCHW"
    )
    size, grid = _cell(backbone.grid), backbone.grid
    blocks = [
        block if block.shape[2:] == grid else F.adaptive_avg_pool2d(block, grid) for block in blocks
    ]
    if size > 1:
        blocks = [F.avg_pool2d(block, size, ceil_mode=True) for block in blocks]
    return [block.flatten(1) for block in blocks]


def widths(backbone: Backbone) -> list[int]:
    """Return how many numbers :func:`tokens` gives after each block."""
    rows, columns = (math.ceil(side / _cell(backbone.grid)) for side in backbone.grid)
    return [channels * rows * columns for channels in backbone.widths]


def _cell(grid: tuple[int, int]) -> int:
    """Return the side of a cell, in tokens."""
    return math.ceil(max(grid) / CELLS)
