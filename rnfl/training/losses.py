"""Losses on profiles and quadrant means in µm: pure functions that ignore missing (NaN) targets."""

import numpy as np
import torch
from torch import Tensor

from rnfl.core.geometry import QUADRANTS

# Profile (360,) @ AVERAGES = its quadrant means S, N, I, T.
AVERAGES = torch.tensor(np.stack([m / m.sum() for m in QUADRANTS.values()], 1)).float()


def l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error (µm) over the valid entries of profiles (B, 360) or quadrants (B, 4)."""
    valid = ~target.isnan()
    error = (prediction - torch.where(valid, target, prediction.detach())).abs()
    return error.sum() / valid.sum().clamp(min=1)


def pearson(prediction: Tensor, target: Tensor, eps: float = 1e-6) -> Tensor:
    """Mean over eyes of 1 - r between the predicted and the true profile of an eye.

    A flat profile has no correlation and counts as r = 0; an eye with fewer than two valid
    angles is left out.
    """
    valid = ~target.isnan()
    count = valid.sum(1, keepdim=True)
    x = _centred(prediction, valid, count)
    y = _centred(torch.where(valid, target, 0.0), valid, count)
    # eps under the root keeps the gradient finite for a flat profile.
    r = (x * y).sum(1) / ((x.square().sum(1) + eps) * (y.square().sum(1) + eps)).sqrt()
    counted = count.squeeze(1) >= 2
    return ((1 - r) * counted).sum() / counted.sum().clamp(min=1)


def gradient_l1(prediction: Tensor, target: Tensor) -> Tensor:
    """L1 (µm/degree) between the circular derivatives ∇T(θ) = T(θ) - T(θ-1)."""
    return l1(prediction - prediction.roll(1, 1), target - target.roll(1, 1))


def quadrant_l1(prediction: Tensor, quadrants: Tensor) -> Tensor:
    """L1 (µm) between the quadrant means of predicted profiles (B, 360) and measured ones (B, 4).

    Any shape with these means is as good as any other: a network that learns from nothing else has
    its shape within a quadrant from where it started.
    """
    return l1(prediction @ AVERAGES.to(prediction, non_blocking=True), quadrants)


def supervised(
    prediction: Tensor,
    profiles: Tensor,
    quadrants: Tensor | None,
    lambda_pearson: float = 0.0,
    lambda_gradient: float = 0.0,
) -> Tensor:
    """``combined`` for eyes with a profile, ``quadrant_l1`` for the others; each eye counts once.

    ``quadrants`` (B, 4) are NaN for eyes with a profile, None where no eye has them in its place.
    """
    on_profiles = combined(prediction, profiles, lambda_pearson, lambda_gradient)
    if quadrants is None:
        return on_profiles
    with_profile, with_quadrants = ((~t.isnan()).any(1).sum() for t in (profiles, quadrants))
    total = with_profile * on_profiles + with_quadrants * quadrant_l1(prediction, quadrants)
    return total / (with_profile + with_quadrants).clamp(min=1)


def combined(
    prediction: Tensor, target: Tensor, lambda_pearson: float = 0.0, lambda_gradient: float = 0.0
) -> Tensor:
    """L1 + λp·(1 - Pearson) + λg·L1(∇T): the loss of every protocol (paper, Methods)."""
    loss = l1(prediction, target)
    if lambda_pearson:
        loss = loss + lambda_pearson * pearson(prediction, target)
    if lambda_gradient:
        loss = loss + lambda_gradient * gradient_l1(prediction, target)
    return loss


def _centred(values: Tensor, valid: Tensor, count: Tensor) -> Tensor:
    values = values * valid
    mean = values.sum(1, keepdim=True) / count.clamp(min=1)
    return (values - mean) * valid
