"""Packaged weights in a byte each: int8 matrices with one scale per output row.

A matrix of weights W (rows, ...) is written as round(W / s) with s = max |row| / 127 for every
row, so that no weight moves by more than half a step of its own row; all else (biases, norms,
positions, the class token) stays float16. What is loaded is ``q * s`` in float32, the same on every
machine. The file says in its metadata that it is packed; one that does not is read as it is.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

KEY, PACKING = "rnfl_packing", "int8 matrices, one float32 scale per output row; float16 otherwise"
SCALE = ".scale"  # behind the name of a matrix: the steps of its rows (rows,)


def pack(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Pack an encoder's weights.

    Examples
    --------
    >>> packed = pack({"a.weight": torch.tensor([[1.27, -0.5], [0.0, 0.0]])})
    >>> packed["a.weight"].tolist(), packed["a.weight.scale"].shape
    ([[127, -50], [0, 0]], torch.Size([2]))
    """
    packed = {}
    for key, value in weights.items():
        value = value.detach().cpu().float()
        if not (key.endswith(".weight") and value.ndim > 1):
            packed[key] = value.half().contiguous()
            continue
        scale = value.flatten(1).abs().amax(1) / 127
        steps = value / _over(scale.clamp(min=torch.finfo(torch.float32).tiny), value)
        packed[key], packed[key + SCALE] = steps.round().to(torch.int8).contiguous(), scale
    return packed


def unpack(packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a packed file: matrices in float32, all else as it lies there.

    Raises
    ------
    ValueError
        If an int8 matrix has no scales.
    """
    weights = {}
    for key, value in packed.items():
        if value.dtype == torch.int8:
            if key + SCALE not in packed:
                raise ValueError(f"packed matrix {key} has no {key + SCALE} in the file")
            value = value.float() * _over(packed[key + SCALE], value)
        if key.removesuffix(SCALE) == key or key.removesuffix(SCALE) not in packed:
            weights[key] = value
    return weights


def _over(scale: Tensor, value: Tensor) -> Tensor:
    """Scales (rows,) in a shape that multiplies the rows of a matrix (rows, ...)."""
    return scale.view(-1, *[1] * (value.ndim - 1))
