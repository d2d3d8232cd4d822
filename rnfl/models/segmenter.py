"""Segmenter: backbone → convolutional head → a map of background, rim and cup (ours)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnfl.core import masks
from rnfl.models.backbone import Backbone

CELLS = 4  # of each token, to either side
SHAPE = (masks.CLASSES, masks.SIDE, masks.SIDE)


class Segmenter(nn.Module):
    """Predict masks of optic disc and cup from images of right-eye orientation.

    Each token says what lies in 4 × 4 cells of its own, as a token knows more than its middle
    (:data:`CELLS`); convolutions see across tokens, and their map is brought to the masks' size
    bilinearly. ``width`` are its channels.

    Crops are centred on the disc, so that one mask for all eyes is already good: the output is
    ``prior + head``, where the buffer ``prior`` are the logarithms of how often each pixel of the
    training masks is background, rim and cup. The head starts at zero and learns the rest (ours).
    """

    def __init__(self, backbone: Backbone, width: int = 64):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Sequential(
            nn.Conv2d(backbone.embed_dim, width * CELLS**2, 1),
            nn.PixelShuffle(CELLS),
            nn.GroupNorm(1, width),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(1, width),
            nn.GELU(),
            nn.Conv2d(width, masks.CLASSES, 1),
        )
        nn.init.zeros_(self.head[-1].weight)
        nn.init.zeros_(self.head[-1].bias)
        self.register_buffer("prior", torch.zeros(SHAPE))

    def set_targets(self, labels: Tensor) -> None:
        """Take the prior from training masks (N, 112, 112), each class counted once more."""
        counts = torch.stack([(labels == k).sum(0) for k in range(masks.CLASSES)]) + 1
        self.prior.copy_((counts / counts.sum(0)).log())

    def set_level(self, labels: Tensor) -> None:
        """Leave the prior of a trained model as it is: its head has learnt what it lacks."""

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 1 or 3, H, W) in [0, 1] → logits (B, 3, 112, 112)."""
        logits = self.head(self.backbone(images)).float()
        return self.prior + F.interpolate(logits, SHAPE[1:], mode="bilinear")
