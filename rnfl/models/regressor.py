"""RNFLRegressor: backbone → thickness map → circle → head (paper, Methods)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnfl.core import geometry
from rnfl.models.backbone import Backbone

MAP_SIZE = 56


class RadialAggregator(nn.Module):
    """Sample a map bilinearly on a circle round its true centre, in TSNIT order.

    Upsampling the token grid and sampling the circle are both linear, so that together they are
    one matrix, computed once.

    Parameters
    ----------
    grid : tuple of int
        Rows and columns of the token grid, upsampled bilinearly to ``map_size`` px.
    radius_ratio : float
        Radius as a share of the map's shorter side (0.35 in the paper's code; its README says
        0.30).
    n_points : int
        Points on the circle, from 0° (temporal) on, half-open.
    """

    def __init__(
        self,
        grid: tuple[int, int],
        radius_ratio: float = geometry.RADIUS_RATIO,
        n_points: int = geometry.N_ANGLES,
        map_size: int = MAP_SIZE,
    ):
        super().__init__()
        if not 0 < radius_ratio < 0.5:
            raise ValueError(f"radius_ratio must lie in (0, 0.5), got {radius_ratio}")
        cells = grid[0] * grid[1]
        basis = torch.eye(cells).view(cells, 1, *grid)
        maps = F.interpolate(basis, (map_size, map_size), mode="bilinear")
        points = sample_circle(maps, radius_ratio, n_points).squeeze(1)
        self.register_buffer("weights", points, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token map (B, 1, rows, columns) → values on the circle (B, n_points)."""
        return tokens.flatten(1) @ self.weights.to(tokens.dtype)


def sample_circle(maps: Tensor, radius_ratio: float, n_points: int = 360) -> Tensor:
    """Sample maps (B, C, H, W) bilinearly on the circle: (B, C, n_points)."""
    height, width = maps.shape[-2:]
    x, y = geometry.centred_circle(height, width, radius_ratio, n_points)
    x = torch.as_tensor(x, dtype=maps.dtype) * 2 / (width - 1) - 1
    y = torch.as_tensor(y, dtype=maps.dtype) * 2 / (height - 1) - 1
    points = torch.stack([x, y], dim=-1).expand(len(maps), 1, n_points, 2)
    return F.grid_sample(maps, points, align_corners=True).squeeze(2)


class RNFLRegressor(nn.Module):
    """Predict RNFL profiles (µm) of ``n_points`` from images of right-eye orientation.

    The output is ``target_mean + target_sd * head``, so that the network works in units of the
    training labels (ours). Both scalars are buffers, saved with the weights. ``radius_ratio`` is
    that of the sampled circle to the image's side; ``head_hidden`` and ``dropout`` are the head's.
    """

    def __init__(
        self,
        backbone: Backbone,
        radius_ratio: float = geometry.RADIUS_RATIO,
        n_points: int = geometry.N_ANGLES,
        head_hidden: int = 512,
        dropout: float = 0.2,
    ):
        super().__init__()
        self.backbone = backbone
        self.projection = nn.Sequential(
            nn.Linear(backbone.embed_dim, 256),
            nn.GELU(),
            nn.Linear(256, 64),
            nn.GELU(),
            nn.Linear(64, 1),
        )
        self.circle = RadialAggregator(backbone.grid, radius_ratio, n_points)
        self.head = nn.Sequential(
            *_layer(n_points, head_hidden, dropout),
            *_layer(head_hidden, head_hidden, dropout),
            nn.Linear(head_hidden, n_points),
        )
        self.register_buffer("target_mean", torch.tensor(0.0))
        self.register_buffer("target_sd", torch.tensor(1.0))

    def set_targets(self, labels: Tensor) -> None:
        """Take the output's mean and SD (µm) from training labels (N, k), NaN = missing.

        Labels are profiles (N, 360), or quadrant means (N, 4) where there are no profiles.
        """
        values = labels[~labels.isnan()]
        if values.numel() < 2 or values.std() == 0:
            raise ValueError(f"{values.numel()} training labels do not vary: nothing to learn")
        self.target_mean.copy_(values.mean())
        self.target_sd.copy_(values.std())

    def set_level(self, labels: Tensor) -> None:
        """Shift the output of a trained model so that its mean (µm) is that of other labels.

        Its SD stays: that of profiles and that of quadrant means are not comparable, their means
        are.
        """
        self.target_mean.copy_(labels[~labels.isnan()].mean())

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 1 or 3, H, W) in [0, 1] → profiles (B, 360) in µm."""
        tokens = self.backbone(images)
        thickness = self.projection(tokens.movedim(1, -1)).movedim(-1, 1)
        return self.target_mean + self.target_sd * self.head(self.circle(thickness)).float()


def _layer(width_in: int, width_out: int, dropout: float) -> tuple[nn.Module, ...]:
    return nn.Linear(width_in, width_out), nn.LayerNorm(width_out), nn.ReLU(), nn.Dropout(dropout)
