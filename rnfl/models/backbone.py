"""Backbones by name: a timm network with its input size, normalisation and stages."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from timm.layers import apply_keep_indices_nlc
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rnfl.models.checkpoints import files, loading
from rnfl.models.checkpoints.loading import LoadReport
from rnfl.models.encoder import create, is_transformer, maps, spec_of
from rnfl.models.registry import BackboneSpec

BLOCK_BY_BLOCK = (VisionTransformer, Eva)


@dataclass(frozen=True)
class Stage:
    """One freezable piece of a backbone, in forward order."""

    name: str
    modules: tuple[nn.Module, ...]
    parameters: tuple[nn.Parameter, ...]


class Backbone(nn.Module):
    """A timm network that turns images in [0, 1] into a grid of tokens.

    ``encoder`` has no classifier; ``report`` says what loading its weights did, None for random
    weights and those that timm downloads. A vision transformer's tokens are its patches. Those of a
    convolutional network are the cells of its output, and a block is what leads from one
    resolution to the next (timm's ``feature_info``), such as a ResNet's four layers. The statistics
    of its batch normalisation stay the pretrained ones, whatever is trained: those of small batches
    are noise, and each micro-batch and process would have its own.

    Attributes
    ----------
    stages : list of Stage
        'patch_embed' (with position embedding and prefix tokens; of a convolutional network the
        stem), 'block_0' …, 'norm' (what comes after the last block); together they hold every
        parameter exactly once. Convolutional networks lack a stage that would hold none.
    grid : tuple of int
        Rows and columns of the token grid.
    widths : list of int
        Channels after each block.
    """

    def __init__(self, spec: BackboneSpec, encoder: nn.Module, report: LoadReport | None = None):
        super().__init__()
        self.spec, self.encoder, self.report = spec, encoder, report
        self.convolutional = not is_transformer(encoder)
        if self.convolutional:
            self.stages = list(_resolutions(encoder, spec.name))
            *shapes, (self.embed_dim, *grid) = maps(spec)
            self.widths = [channels for channels, *_ in shapes[-self.depth :]]
        else:
            self.stages = list(_stages(encoder))
            self.embed_dim: int = encoder.embed_dim
            grid, self.widths = encoder.patch_embed.grid_size, [self.embed_dim] * self.depth
        self.grid: tuple[int, int] = tuple(grid)
        self.frozen: list[Stage] = []
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1), persistent=False)

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return sum(stage.name.startswith("block_") for stage in self.stages)

    def let_move(self, parameters: Iterable[nn.Parameter]) -> None:
        """Let these parameters learn, and no others.

        A stage in which nothing does is frozen: it is in evaluation mode for good. A frozen prefix
        records no autograd graph, since nothing in it asks for a gradient.
        """
        moving = {id(parameter) for parameter in parameters}
        for parameter in self.parameters():
            parameter.requires_grad_(id(parameter) in moving)
        self.frozen = [
            stage
            for stage in self.stages
            # Of the modules too: adapters came after the stages.
            if not moving.intersection(map(id, _held(stage)))
        ]
        self.train(self.training)

    def train(self, mode: bool = True) -> "Backbone":
        """Set training mode everywhere but in frozen stages and a convnet's statistics."""
        super().train(mode)
        for module in self.encoder.modules() if self.convolutional else ():
            if isinstance(module, _BatchNorm):
                module.eval()
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
        tokens, rotation = self.embed(self.normalise(images))
        return self.run(tokens, rotation, range(self.n_prefix))

    def forward(self, images: Tensor) -> Tensor:
        """Tokens as a map (B, D, rows, columns) of images (B, 1 or 3, H, W) in [0, 1].

        Or of what :meth:`prefix` made of the images (B, T, D).
        """
        if self.convolutional:
            return self.encoder(self.normalise(images))
        if images.ndim == 4:
            tokens = self.encoder.forward_features(self.normalise(images))
        else:
            tokens = self.run(images, self._rotation(), range(self.n_prefix, self.depth))
            tokens = self.encoder.norm(tokens)
        tokens = tokens[:, self.encoder.num_prefix_tokens :]
        return tokens.transpose(1, 2).unflatten(2, self.grid)

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
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
            return self.embed(self.mean.new_zeros(1, 3, *2 * [self.spec.input_size]))[1]

    def visible(self, images: Tensor, kept: Tensor) -> Tensor:
        """Return what becomes of some patches if the others are not there, prefix tokens first.

        Parameters
        ----------
        images : Tensor (B, 1 or 3, H, W) in [0, 1]
        kept : int Tensor (B, K)
            Places of the patches that are there.

        Returns
        -------
        Tensor (B, prefix tokens + K, D), after the final norm

        Raises
        ------
        ValueError
            For an architecture whose blocks cannot be run one by one.
        """
        if not isinstance(self.encoder, BLOCK_BY_BLOCK):
            raise ValueError(
                f"backbone {self.spec.name!r} ({type(self.encoder).__name__}) cannot leave patches "
                "out: masked autoencoding is for vision transformers of timm's VisionTransformer "
                "and Eva"
            )
        tokens, rotation = self.embed(self.normalise(images))
        n = self.encoder.num_prefix_tokens
        first = torch.arange(n, device=kept.device).expand(len(kept), -1)
        places = torch.cat([first, n + kept], dim=1)[..., None]
        tokens = tokens.gather(1, places.expand(-1, -1, tokens.shape[2]))
        if rotation is not None:
            rotation = apply_keep_indices_nlc(tokens, rotation, kept)
            mixed = getattr(self.encoder, "rope_mixed", False)  # a rotation of its own per block
            rotation = rotation.transpose(0, 1) if mixed else rotation.unsqueeze(1)
        return self.encoder.norm(self.run(tokens, rotation, range(self.depth)))

    def run(self, tokens: Tensor, rotation: Tensor | None, blocks: range) -> Tensor:
        """Tokens (B, T, D) after some blocks; ``rotation`` is that of their positions."""
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
        If the name is unknown, the timm model is neither a vision transformer nor a convolutional
        network, or the file of its weights is not this backbone's.
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


def _held(stage: Stage) -> Iterator[nn.Parameter]:
    yield from stage.parameters
    for module in stage.modules:
        yield from module.parameters()


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


def _resolutions(encoder: nn.Module, name: str) -> Iterator[Stage]:
    """Yield the stages of a convolutional network: a block ends where a feature map is taken.

    The stem is what precedes the part of the network that the first map of a quarter of the image's
    side, or smaller, comes from; maps within the stem end no block.
    """
    modules = dict(encoder.named_modules())  # in forward order, parents before their parts
    names, tops = list(modules), list(dict(encoder.named_children()))
    infos = [(info["module"], info["reduction"]) for info in encoder.feature_info]
    if unknown := [path for path, _ in infos if path not in modules]:
        raise ValueError(f"backbone {name!r}: timm tells feature maps by no module: {unknown}")
    place = {path: tops.index(path.partition(".")[0]) if path else -1 for path in names}
    first = min(place[path] for path, reduction in infos if reduction >= 4)
    # A block's last module: the one that gives its map, or the last of that one's parts.
    ends = [
        max(i for i, one in enumerate(names) if f"{one}.".startswith(f"{path}."))
        for path, _ in infos
        if place[path] >= first
    ]
    kinds = ["patch_embed", *(f"block_{i}" for i in range(len(ends))), "norm"]
    parts: dict[str, list[nn.Module]] = {kind: [] for kind in kinds}
    for i, path in enumerate(names):
        stem = place[path] < first
        parts["patch_embed" if stem else kinds[1 + bisect_left(ends, i)]].append(modules[path])
    for kind, held in parts.items():
        own = tuple(p for module in held for p in module.parameters(recurse=False))
        # Containers may reach into the next block; those with numbers of their own do not.
        atoms = [m for m in held if not list(m.children()) or list(m.parameters(recurse=False))]
        if own:
            yield Stage(kind, tuple(m for m in atoms if m is not encoder), own)
