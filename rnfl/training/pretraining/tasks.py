"""What the small encoders learn in pretraining: three tasks and their augmentation."""

import hashlib
from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from rnfl.models.backbone import Backbone
from rnfl.training.augmentation import jitter

HEAD = 32  # numbers of a head of attention in published decoders


class Task(nn.Module):
    """An encoder with what it is pretrained by.

    Attributes
    ----------
    target : Tensor or None
        One row per image, moved with the module.
    cell : int or None
        Pixels per side of a target's cell where the target is a map, else None.
    metric : str
        Name of the held-out score.
    """

    metric = ""
    cell: int | None = None

    def __init__(self, backbone: Backbone):
        super().__init__()
        self.backbone = backbone
        self.settings: dict = {}
        self.register_buffer("target", None, persistent=False)

    def loss(self, images: Tensor, target: Tensor | None, random: torch.Generator) -> Tensor:
        """Loss of images (B, C, S, S) in [0, 1], a scalar."""
        raise NotImplementedError

    def score(self, images: Tensor, target: Tensor | None, random: torch.Generator) -> Tensor:
        """Held-out score of images, a scalar; higher is better."""
        raise NotImplementedError

    def data_hash(self, images: Tensor) -> str:
        """SHA-256 of images and targets."""
        digest = hashlib.sha256(images.cpu().contiguous().numpy())
        if self.target is not None:
            digest.update(self.target.cpu().contiguous().numpy())
        return digest.hexdigest()


class Classification(Task):
    """Cross-entropy on labels, one linear layer each, over the mean patch token."""

    metric = "mean accuracy"

    def __init__(self, backbone: Backbone, targets: Mapping[str, np.ndarray] | None, n: int):
        super().__init__(backbone)
        if not isinstance(targets, Mapping) or not targets:
            raise ValueError("'cls' needs targets: a mapping of label name to integers (N,)")
        for label, values in targets.items():
            values = np.asarray(values)
            if values.shape != (n,) or values.dtype.kind not in "iu" or values.min() < -1:
                raise ValueError(
                    f"label {label!r} must be {n} integers ≥ -1 (-1 = missing), "
                    f"got {values.dtype} {values.shape}"
                )
        columns = np.stack([np.asarray(values) for values in targets.values()], axis=1)
        self.target = torch.from_numpy(columns.astype(np.int64))
        self.classes = [int(k) for k in columns.max(axis=0) + 1]
        self.settings = {"labels": dict(zip(targets, self.classes, strict=True))}
        self.heads = nn.Linear(backbone.embed_dim, sum(self.classes))

    def _logits(self, images: Tensor) -> list[Tensor]:
        pooled = self.backbone(images).mean(dim=(2, 3))
        return list(self.heads(pooled).float().split(self.classes, dim=1))

    def loss(self, images, target, random):
        losses = [
            F.cross_entropy(logits, column, ignore_index=-1, reduction="sum")
            / (column >= 0).sum().clamp(min=1)
            for logits, column in zip(self._logits(images), target.unbind(1), strict=True)
        ]
        return sum(losses) / len(losses)

    def score(self, images, target, random):
        right = [
            ((logits.argmax(1) == column) & (column >= 0)).sum() / (column >= 0).sum().clamp(min=1)
            for logits, column in zip(self._logits(images), target.unbind(1), strict=True)
        ]
        return sum(right) / len(right)


class Depth(Task):
    """Squared error on a standardised height map, 4 x 4 cells per token from one linear layer."""

    metric = "R2 of the height map"
    cells = 4

    def __init__(self, backbone: Backbone, targets: np.ndarray | None, n: int):
        super().__init__(backbone)
        size = backbone.spec.input_size
        shape = None if targets is None else np.shape(targets)
        if shape != (n, size, size):
            raise ValueError(f"'depth' needs targets of shape {(n, size, size)}, got {shape}")
        self.cell = size // (backbone.grid[0] * self.cells)
        maps = [
            F.avg_pool2d(torch.as_tensor(chunk).float().unsqueeze(1), self.cell).squeeze(1)
            for chunk in np.array_split(np.asarray(targets), max(1, n // 512))
        ]
        maps = torch.cat(maps)
        # Rounded, so that the recipe does not depend on how many threads added them up.
        mean, deviation = (round(float(x), 6) for x in (maps.double().mean(), maps.double().std()))
        self.target = (maps - mean) / deviation
        self.settings = {"cells_per_token": self.cells, "mean": mean, "sd": deviation}
        self.head = nn.Conv2d(backbone.embed_dim, self.cells**2, kernel_size=1)

    def _maps(self, images: Tensor) -> Tensor:
        return F.pixel_shuffle(self.head(self.backbone(images)).float(), self.cells).squeeze(1)

    def loss(self, images, target, random):
        return F.mse_loss(self._maps(images), target)

    def score(self, images, target, random):
        return 1 - F.mse_loss(self._maps(images), target) / target.var(correction=0)


class MaskedAutoencoder(Task):
    """Reconstruct the pixels of the 75 % of patches that the encoder does not see.

    Pixels are normalised per patch (He et al., 2022); the encoder runs on visible tokens only. With
    ``channels`` 1 they are grey: colour is mostly redundant with brightness here. The decoder is
    small; with ``published`` it is built as that of He et al.: it has the class token too, biases,
    and the width and depth of the published weights, which it begins with.
    """

    metric = "R2 of masked patches"
    mask_ratio, width, depth = 0.75, 64, 2

    def __init__(
        self,
        backbone: Backbone,
        targets: None = None,
        n: int | None = None,
        channels: int = 1,
        published: Mapping[str, Tensor] | None = None,
    ):
        super().__init__(backbone)
        if targets is not None:
            raise ValueError("'mae' learns from the images alone: targets must be None")
        self.channels, self.whole, heads, how = channels, published is not None, 4, {}
        if published is not None:
            self.width = len(published["embed.bias"])
            self.depth = sum(name.endswith(".norm1.weight") for name in published)
            heads = self.width // HEAD
            how = {"qkv_bias": True, "norm_layer": partial(nn.LayerNorm, eps=1e-6)}
        tokens = backbone.grid[0] * backbone.grid[1]
        self.patch = backbone.spec.input_size // backbone.grid[0]
        self.embed = nn.Linear(backbone.embed_dim, self.width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, self.width))
        places = torch.randn(1, tokens + self.whole, self.width)
        self.position = nn.Parameter(places * 0.02)
        blocks = (Block(self.width, num_heads=heads, **how) for _ in range(self.depth))
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(self.width, eps=1e-6 if self.whole else 1e-5)
        self.pixels = nn.Linear(self.width, channels * self.patch**2)
        self.settings = {
            "mask_ratio": self.mask_ratio, "decoder_dim": self.width, "decoder_depth": self.depth
        }  # fmt: skip
        if published is not None:
            # Nothing is missing but the backbone, and nothing is left.
            missing = set(self.load_state_dict(published, strict=False).missing_keys)
            if gone := {name for name in missing if not name.startswith("backbone.")}:
                raise ValueError(f"a decoder lacks {sorted(gone)}: expected that of a masked AE")

    def decode(self, encoded: Tensor, order: Tensor) -> Tensor:
        """Predict every patch (B, L, pixels) from the encoded ones; ``order`` has those first."""
        embedded, n = self.embed(encoded), self.backbone.encoder.num_prefix_tokens
        tokens = embedded[:, n:]
        hidden = self.mask_token.to(tokens.dtype).expand(
            len(tokens), order.shape[1] - tokens.shape[1], -1
        )
        place = order.argsort(1)[..., None].expand(-1, -1, self.width)
        tokens = torch.cat([tokens, hidden], dim=1).gather(1, place)
        if self.whole:
            tokens = torch.cat([embedded[:, :1], tokens], dim=1)
        return self.pixels(self.norm(self.blocks(tokens + self.position)))[:, int(self.whole) :]

    def loss(self, images, target, random):
        batch, length = len(images), self.position.shape[1] - self.whole
        order = torch.rand(batch, length, generator=random).argsort(1).to(images.device)
        visible = order[:, : round(length * (1 - self.mask_ratio))]
        predicted = self.decode(self.backbone.visible(images, visible), order).float()
        # In colour as the backbone is shown it, so that channels weigh as in published training.
        grey = self.channels == 1
        shown = images.mean(1, keepdim=True) if grey else self.backbone.normalise(images)
        true = F.pixel_unshuffle(shown, self.patch).flatten(2).mT
        true = (true - true.mean(-1, keepdim=True)) / (true.var(-1, keepdim=True) + 1e-6).sqrt()
        error = (predicted - true).square().mean(-1)
        return error.scatter(1, visible, 0.0).sum() / (batch * (length - visible.shape[1]))

    def score(self, images, target, random):
        return 1 - self.loss(images, target, random)


TASKS: dict[str, type[Task]] = {
    "cls": Classification,
    "depth": Depth,
    "mae": MaskedAutoencoder,
}


def augment(
    images: Tensor,
    targets: Tensor | None,
    index: Tensor,
    cell: int | None,
    random: torch.Generator,
    shift: int = 8,
    intensity: float = 0.2,
) -> tuple[Tensor, Tensor | None]:
    """Take images by index, flipped, shifted and with brightness and contrast changed.

    Parameters
    ----------
    images : uint8 Tensor (N, S, S) or (N, S, S, 3)
    targets : Tensor (N, ...) or None
    index : int64 Tensor (B,)
    cell : int or None
        Pixels per cell of target maps (N, S / cell, S / cell), which move with the image; None
        for targets that do not depend on position.
    shift : int
        Largest shift (px); the border is repeated.
    intensity : float
        Largest relative change of brightness and contrast.

    Returns
    -------
    Tensor, float (B, 1 or 3, S, S) in [0, 1]
    Tensor (B, ...) or None
    """
    batch, unit = len(index), cell or 1
    moves = torch.randint(-(shift // unit), shift // unit + 1, (2, batch), generator=random)
    flips = torch.rand(batch, generator=random) < 0.5
    moves, flips = moves.to(images.device), flips.to(images.device)
    taken = to_float(_take(images, index, moves * unit, flips))
    taken = jitter(taken, random, intensity)
    if targets is None:
        return taken, None
    return taken, targets[index] if cell is None else _take(targets, index, moves, flips)


def to_float(images: Tensor) -> Tensor:
    """Images uint8 (B, S, S[, 3]) → float (B, 1 or 3, S, S) in [0, 1]."""
    images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
    return images.float().div_(255)


def _take(maps: Tensor, index: Tensor, moves: Tensor, flips: Tensor) -> Tensor:
    size = maps.shape[1]
    line = torch.arange(size, device=maps.device)
    rows, columns = ((line + move[:, None]).clamp_(0, size - 1) for move in moves)
    columns = torch.where(flips[:, None], columns.flip(1), columns)
    return maps[index[:, None, None], rows[:, :, None], columns[:, None, :]]
