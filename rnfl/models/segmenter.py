"""Segmenter: backbone → convolutional head → a map of background, rim and cup (ours)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnfl.core import masks
from rnfl.models.backbone import Backbone

SHAPE = (masks.CLASSES, masks.SIDE, masks.SIDE)


class Segmenter(nn.Module):
    """Predict masks of optic disc and cup from images of right-eye orientation.

    The tokens of the backbone are brought to twice and four times their grid, bilinearly, with a
    convolution before each and a linear map at the end. ``width`` are the channels of the first.

    Crops are centred on the disc, so that one mask for all eyes is already good: the output is
    ``prior + head``, where the buffer ``prior`` are the logarithms of how often each pixel of the
    training masks is background, rim and cup. The head starts at zero and learns the rest (ours).
    """

    def __init__(self, backbone: Backbone, width: int = 128):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Sequential(
            *_block(backbone.embed_dim, width),
            *_block(width, width // 2),
            nn.Conv2d(width // 2, masks.CLASSES, 1),
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


def _block(width_in: int, width_out: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(width_in, width_out, 3, padding=1)
    return convolution, nn.GroupNorm(1, width_out), nn.GELU(), nn.Upsample(None, 2, "bilinear")
