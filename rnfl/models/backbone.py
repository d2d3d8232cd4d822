"""Backbones by name: a timm vision transformer with its input size, normalisation and stages."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from rnfl.models.checkpoints import files, loading
from rnfl.models.checkpoints.loading import LoadReport
from rnfl.models.encoder import create, spec_of
from rnfl.models.registry import BackboneSpec

BLOCK_BY_BLOCK = (VisionTransformer, Eva)


@dataclass(frozen=True)
class Stage:
    """One freezable piece of a backbone, in forward order."""

    name: str
    modules: tuple[nn.Module, ...]
    parameters: tuple[nn.Parameter, ...]


class Backbone(nn.Module):
    """A timm vision transformer that turns images in [0, 1] into a grid of patch tokens.

    ``encoder`` has ``patch_embed``, ``blocks``, ``norm`` and no classifier; ``report`` says what
    loading its weights did, None for random weights and those that timm downloads.

    Attributes
    ----------
    stages : list of Stage
        'patch_embed' (with position embedding and prefix tokens), 'block_0' …, 'norm';
        together they hold every parameter exactly once.
    grid : tuple of int
        Rows and columns of the token grid.
    """

    def __init__(self, spec: BackboneSpec, encoder: nn.Module, report: LoadReport | None = None):
        super().__init__()
        self.spec, self.encoder, self.report = spec, encoder, report
        self.embed_dim: int = encoder.embed_dim
        self.grid: tuple[int, int] = tuple(encoder.patch_embed.grid_size)
        self.stages = list(_stages(encoder))
        self.frozen: list[Stage] = []
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1), persistent=False)

    @property
    def depth(self) -> int:
        """Number of transformer blocks."""
        return len(self.encoder.blocks)

    def freeze(self, names: list[str]) -> None:
        """Freeze the named stages: no gradient, and evaluation mode for good.

        A frozen prefix records no autograd graph, since nothing in it asks for a gradient.
        """
        known = [stage.name for stage in self.stages]
        if unknown := sorted(set(names) - set(known)):
            raise ValueError(f"{self.spec.name} has no stages {unknown}; it has {known}")
        self.frozen = [stage for stage in self.stages if stage.name in names]
        for stage in self.stages:
            for parameter in stage.parameters:
                parameter.requires_grad_(stage.name not in names)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Backbone":
        """Set training mode everywhere but in the frozen stages."""
        super().train(mode)
        for stage in self.frozen:
            for module in stage.modules:
                module.eval()
        return self

    def normalise(self, images: Tensor) -> Tensor:
        """Images (B, 1 or 3, H, W) in [0, 1] → (B, 3, input_size, input_size), standardised."""
        images = resize(images, self.spec.input_size)
        return (images.expand(-1, 3, -1, -1) - self.mean) / self.std

    @property
    def n_prefix(self) -> int:
        """Number of blocks in the frozen prefix: 0 unless everything before them is frozen too.

        0 as well for architectures whose blocks cannot be run one by one.
        """
        names = {stage.name for stage in self.frozen}
        if "patch_embed" not in names or not isinstance(self.encoder, BLOCK_BY_BLOCK):
            return 0
        blocks = range(self.depth)
        return next((i for i in blocks if f"block_{i}" not in names), self.depth)

    def prefix(self, images: Tensor) -> Tensor:
        """All tokens (B, T, D) of images (B, 1 or 3, H, W) after the frozen prefix."""
        tokens, rotation = self._embed(self.normalise(images))
        return self._run(tokens, rotation, range(self.n_prefix))

    def forward(self, images: Tensor) -> Tensor:
        """Patch tokens as a map (B, D, rows, columns) of images (B, 1 or 3, H, W) in [0, 1].

        Or of what :meth:`prefix` made of the images (B, T, D).
        """
        if images.ndim == 4:
            tokens = self.encoder.forward_features(self.normalise(images))
        else:
            tokens = self._run(images, self._rotation(), range(self.n_prefix, self.depth))
            tokens = self.encoder.norm(tokens)
        tokens = tokens[:, self.encoder.num_prefix_tokens :]
        return tokens.transpose(1, 2).unflatten(2, self.grid)

    def _embed(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Tokens before the first block and, where positions rotate, the rotation."""
        embedded = self.encoder._pos_embed(self.encoder.patch_embed(images))
        if isinstance(self.encoder, Eva):
            tokens, rotation = embedded
        else:
            tokens, rotation = self.encoder.patch_drop(embedded), None
        return self.encoder.norm_pre(tokens), rotation

    def _rotation(self) -> Tensor | None:
        if not isinstance(self.encoder, Eva):
            return None
        with torch.no_grad():
            return self._embed(self.mean.new_zeros(1, 3, *2 * [self.spec.input_size]))[1]

    def _run(self, tokens: Tensor, rotation: Tensor | None, blocks: range) -> Tensor:
        mixed = getattr(self.encoder, "rope_mixed", False)
        for i in blocks:
            rope = {} if rotation is None else {"rope": rotation[i] if mixed else rotation}
            tokens = self.encoder.blocks[i](tokens, **rope)
        return tokens


def resize(images: Tensor, size: int) -> Tensor:
    """Resize float images (B, C, H, W) to ``size`` px: area mean by whole factors, else bilinear.

    Source: ours; both ways are anti-aliased.
    """
    height, width = images.shape[-2:]
    if height == width == size:
        return images
    if height == width and height % size == 0:
        return F.avg_pool2d(images, height // size)
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True)


def build(name: str, pretrained: bool = True) -> Backbone:
    """Build a backbone, with its weights unless ``pretrained`` is False.

    Raises
    ------
    ValueError
        If the name is unknown, the timm model is not a vision transformer, or the file of its
        weights is not this backbone's.
    FileNotFoundError, ConnectionError
        If the file of its weights is absent and cannot be downloaded; if weights of the hub are
        neither cached nor to be had.
    """
    spec = spec_of(name)
    file = files.weights_file(name) if pretrained else None
    if file is not None and not file.exists():
        raise FileNotFoundError(
            f"{file} is missing: weights of {spec.base!r} are part of the repository; restore "
            "them with 'git checkout rnfl/models/weights', make them with "
            "'rnfl notebook 10_pretraining', or use 'phantom_scratch'"
        )
    encoder = create(spec, download=pretrained and spec.weights == "hub")
    return Backbone(spec, encoder, loading.load_into(encoder, spec, file) if file else None)


def _stages(encoder: nn.Module) -> Iterator[Stage]:
    parts = dict(encoder.named_children())
    blocks, last = list(parts.pop("blocks")), [parts.pop("norm"), parts.pop("fc_norm", None)]
    last = [module for module in last if module is not None]
    later = {id(p) for module in (*blocks, *last) for p in module.parameters()}
    first = tuple(p for p in encoder.parameters() if id(p) not in later)
    yield Stage("patch_embed", tuple(parts.values()), first)
    for index, block in enumerate(blocks):
        yield Stage(f"block_{index}", (block,), tuple(block.parameters()))
    yield Stage("norm", tuple(last), tuple(p for module in last for p in module.parameters()))
