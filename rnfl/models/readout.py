"""Readout: frozen backbones → tokens after every block → a linear map → the profile.

What the map is, is solved for in :mod:`rnfl.training.readout`. **Ours**; the paper has no such
model.

A readout may look at several *fields* of an eye: fixed parts of the picture, from about half of its
width to all of it, a little shifted and turned (:func:`places`). It averages its readings of them,
which is the reading of the averaged tokens, as the map is linear.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnfl.models.backbone import Backbone

CELLS = 8  # tokens are averaged to at most 8 by 8 cells
# Of fields, chosen on 127 eyes of GRAPE (ours):
SHARES = 0.55, 1.0  # of the picture's width
SHIFT = 0.10  # of its width, to either side
TURN = 8.0  # degrees, to either side


class Readout(nn.Module):
    """Predict RNFL profiles (µm) linearly from the tokens of frozen backbones.

    ``n_codes`` is how many numbers per eye the regression predicts, ``n_fields`` from how many
    fields it does; 1 is the picture itself.
    """

    def __init__(self, backbones: Sequence[Backbone], n_codes: int, n_fields: int = 1):
        super().__init__()
        self.n_fields = n_fields
        if n_fields > 1:  # kept with the weights, which are of these
            self.register_buffer("places", places(n_fields))
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
        shown, total, n_blocks = images, 0, 0
        if self.n_fields > 1:
            shown = fields(images, self.places)
        for i, backbone in enumerate(self.backbones):
            means, weights = getattr(self, f"mean_{i}"), getattr(self, f"weights_{i}")
            for block, mean, weight in zip(tokens(backbone, shown), means, weights, strict=True):
                n = block.shape[1]
                total, n_blocks = total + (block - mean[:n]) @ weight[:n], n_blocks + 1
        if self.n_fields > 1:
            total = total.unflatten(0, (-1, self.n_fields)).mean(dim=1)
        return self.offset + (self.level + total / n_blocks) @ self.decoder


def places(n: int) -> Tensor:
    """Return the places of fields (n, 2, 3): affine maps for :func:`fields`, always the same.

    Widths, shifts and turns are spread evenly, by an additive recurrence in four dimensions
    (Roberts, 2018), which unlike drawn numbers depends on no library.
    """
    root = 1.0
    for _ in range(64):
        root = (1 + root) ** (1 / 5)  # of x^5 = x + 1
    even = (0.5 + torch.arange(1, n + 1)[:, None] * root ** -torch.arange(1.0, 5.0).double()) % 1
    share = SHARES[0] + (SHARES[1] - SHARES[0]) * even[:, 0]
    x, y = 2 * SHIFT * (2 * even[:, 1:3] - 1).T  # in half widths of the picture
    angle = torch.deg2rad(TURN * (2 * even[:, 3] - 1))
    across, along = share * torch.cos(angle), share * torch.sin(angle)
    return torch.stack([across, -along, x, along, across, y], dim=1).view(n, 2, 3).float()


def fields(images: Tensor, places: Tensor) -> Tensor:
    """Return the fields of images (B, C, H, W) at ``places`` (n, 2, 3), as (B * n, C, H, W).

    Those of an image follow each other. Beyond its border an image is reflected.
    """
    height, width = images.shape[2:]
    x, y = ((2 * torch.arange(m, device=images.device) + 1) / m - 1 for m in (width, height))
    x, y = x.expand(height, width), y[:, None].expand(height, width)
    at = torch.stack([x, y, torch.ones_like(x)], dim=-1) @ places.mT[:, None]  # (n, H, W, 2)
    # One below the other they are sampled at once, in operations that ONNX has.
    at = at.flatten(0, 1).expand(len(images), -1, -1, -1)
    seen = F.grid_sample(images, at, padding_mode="reflection", align_corners=False)
    seen = seen.unflatten(2, (len(places), height)).transpose(1, 2).flatten(0, 1)
    # The order of memory in which convolutions on a CPU take half the time.
    return seen.contiguous(memory_format=torch.channels_last)


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
