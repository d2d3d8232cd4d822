"""Low-rank adapters as parametrisations of weight matrices, and parameters by their kind.

A parametrised ``weight`` is what it is wherever it is read: some of timm's transformers compute
``F.linear(x, self.qkv.weight, ...)``, past the layer, and an adapter that wraps the layer would
train nothing there. Merging is to keep the weight and to forget how it came about.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils import parametrize

from rnfl.models.backbone import Backbone

#: Where queries, keys and values have a layer each, they stand for the one that holds all three.
SEPARATE = {"attn.qkv": ("attn.q_proj", "attn.k_proj", "attn.v_proj")}


class LowRank(nn.Module):
    """Weight (m, n) → weight + alpha / rank · b @ a, with a (rank, n) and b (m, rank).

    At the start b is zero and the weight is what it was, to the bit. With ``directions`` (DoRA)
    the rows of the sum have norms of their own that are learnt, at the start those of the weight.
    """

    def __init__(self, weight: Tensor, rank: int, alpha: float, directions: bool):
        super().__init__()
        rows, columns = weight.shape
        self.scale = alpha / rank
        self.a = nn.Parameter(weight.new_empty(rank, columns))
        self.b = nn.Parameter(weight.new_zeros(rows, rank))
        self.norm = nn.Parameter(_row_norms(weight.detach())) if directions else None

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight to compute with, in the precision of the original.

        Outside autocast: a product rounded to bf16 would differ from the merged weight.
        """
        with torch.autocast(weight.device.type, enabled=False):
            changed = weight + self.scale * (self.b @ self.a)
            if self.norm is None:
                return changed
            # The norm is a constant to the gradient, as in the paper (section 4.3). A row of zeros
            # stays one.
            now = _row_norms(changed.detach()).clamp_min(torch.finfo(changed.dtype).tiny)
            return (self.norm / now)[:, None] * changed


def _row_norms(weight: Tensor) -> Tensor:
    return torch.linalg.vector_norm(weight, dim=1)


def attach(backbone: Backbone, adapter, blocks: float, seed: int = 0) -> None:
    """Put an adapter on the target layers of a share of the blocks, from the last one on.

    Layers that have one already are left alone.

    Parameters
    ----------
    adapter : Adapter
        See :class:`rnfl.training.protocols.Adapter`.
    seed : int
        Of ``a``, which starts as a linear layer's weight does.

    Raises
    ------
    ValueError
        If a block lacks a target: the adapter would train nothing there.
    """
    random = torch.Generator().manual_seed(seed)
    stages = [stage for stage in backbone.stages if stage.name.startswith("block_")]
    first = round((1 - blocks) * len(stages))
    for i, stage in enumerate(stages):
        layers = {
            name: layer
            for module in stage.modules
            for name, layer in module.named_modules()
            if isinstance(layer, nn.Linear)
        }
        for target in adapter.targets:
            names = _named(target, layers)
            if i >= first and not names:
                held = f"its linear layers are {sorted(layers)}" if layers else "nor any linear one"
                raise ValueError(
                    f"an adapter on {target!r} would train nothing: {stage.name} of backbone "
                    f"{backbone.spec.name!r} has no such layer; {held}"
                )
            for name in names:
                # Drawn for every block, so that a block's start does not depend on how many have
                # an adapter, and no two blocks start alike when more get one later.
                shape = tuple(layers[name].weight.shape)
                start = torch.empty(adapter.rank, shape[1])
                nn.init.kaiming_uniform_(start, a=5**0.5, generator=random)
                if i < first or parametrize.is_parametrized(layers[name], "weight"):
                    continue
                if adapter.rank > min(shape):
                    raise ValueError(
                        f"{name} of {backbone.spec.name!r} has a weight of {shape}: an adapter of "
                        f"rank {adapter.rank} is none"
                    )
                _register(layers[name], adapter, start)


def _register(layer: nn.Linear, adapter, start: Tensor) -> None:
    low = LowRank(layer.weight, adapter.rank, adapter.alpha, adapter.kind == "dora")
    low.a.data.copy_(start)
    parametrize.register_parametrization(layer, "weight", low)


def _named(target: str, layers: dict[str, nn.Linear]) -> tuple[str, ...]:
    """Return the layers that a target names in a block; none where it has no such layer."""
    for names in ((target,), SEPARATE.get(target, ())):
        if names and all(name in layers for name in names):
            return names
    return ()


def of(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    """Return the parameters of the adapters in modules."""
    inside = (m for module in modules for m in module.modules() if isinstance(m, LowRank))
    return [parameter for low in inside for parameter in low.parameters()]


def merge(model: nn.Module) -> None:
    """Replace every adapted weight by its value, in place; the adapters are gone."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


def biases(module: nn.Module) -> set[int]:
    """Return the ids of the parameters that are added to something: biases."""
    return {id(p) for name, p in module.named_parameters() if name.endswith("bias")}


def normalisation(module: nn.Module) -> set[int]:
    """Return the ids of the parameters of normalisation layers."""
    kinds = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, _NormBase)
    layers = [m for m in module.modules() if isinstance(m, kinds) or "Norm" in type(m).__name__]
    return {id(p) for layer in layers for p in layer.parameters(recurse=False)}
