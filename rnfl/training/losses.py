"""Losses on profiles and quadrant means in µm: pure functions that ignore missing (NaN) targets.

The mean loss of a batch is the sum over its valid entries, divided once by how many there are. A
part of a batch, be it a micro-batch or what one of several processes computes, cannot know that
number: it is told by ``counts``, so that an angle weighs the same in whichever part it falls.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rnfl.core.geometry import QUADRANTS
from rnfl.storage import plugins

# Profile (360,) @ AVERAGES = its quadrant means S, N, I, T.
AVERAGES = torch.tensor(np.stack([m / m.sum() for m in QUADRANTS.values()], 1)).float()


class Counts(NamedTuple):
    """What the sums of a batch are divided by, each a Tensor ()."""

    angles: Tensor
    differences: Tensor  # from one valid angle to the next
    shapes: Tensor  # eyes with a correlation: two valid angles or more
    quadrants: Tensor
    with_profile: Tensor  # eyes
    with_quadrants: Tensor


def count_valid(profiles: Tensor, quadrants: Tensor | None = None) -> Counts:
    """Count what is valid in profiles (B, 360) and quadrants (B, 4)."""
    valid = ~profiles.isnan()
    measured = valid[:, :0] if quadrants is None else ~quadrants.isnan()
    differences, shapes = (valid & valid.roll(1, 1)).sum(), (valid.sum(1) >= 2).sum()
    eyes = (labels.any(1).sum() for labels in (valid, measured))
    return Counts(valid.sum(), differences, shapes, measured.sum(), *eyes)


def l1(prediction: Tensor, target: Tensor, n: Tensor | None = None) -> Tensor:
    """Mean absolute error (µm) over the valid entries of profiles (B, 360) or quadrants (B, 4).

    Here and below ``n`` is what to divide by, where it is not the number of what is valid.
    """
    valid = ~target.isnan()
    error = (prediction - torch.where(valid, target, prediction.detach())).abs()
    return _divided(error.sum(), valid.sum() if n is None else n)


def pearson(
    prediction: Tensor, target: Tensor, n: Tensor | None = None, eps: float = 1e-6
) -> Tensor:
    """Mean over eyes of 1 - r between the predicted and the true profile of an eye.

    A flat profile has no correlation and counts as r = 0; an eye with fewer than two valid angles
    is left out.
    """
    valid = ~target.isnan()
    count = valid.sum(1, keepdim=True)
    x = _centred(prediction, valid, count)
    y = _centred(torch.where(valid, target, 0.0), valid, count)
    # eps under the root keeps the gradient finite for a flat profile.
    r = (x * y).sum(1) / ((x.square().sum(1) + eps) * (y.square().sum(1) + eps)).sqrt()
    counted = count.squeeze(1) >= 2
    return _divided(((1 - r) * counted).sum(), counted.sum() if n is None else n)


def gradient_l1(prediction: Tensor, target: Tensor, n: Tensor | None = None) -> Tensor:
    """L1 (µm/degree) between the circular derivatives ∇T(θ) = T(θ) - T(θ-1)."""
    return l1(prediction - prediction.roll(1, 1), target - target.roll(1, 1), n)


def quadrant_l1(prediction: Tensor, quadrants: Tensor, n: Tensor | None = None) -> Tensor:
    """L1 (µm) between the quadrant means of predicted profiles (B, 360) and measured ones (B, 4).

    Any shape with these means is as good as any other: a network that learns from nothing else has
    its shape within a quadrant from where it started.
    """
    return l1(prediction @ AVERAGES.to(prediction, non_blocking=True), quadrants, n)


def supervised(
    prediction: Tensor,
    profiles: Tensor,
    quadrants: Tensor | None,
    lambda_pearson: float = 0.0,
    lambda_gradient: float = 0.0,
    counts: Counts | None = None,
    terms: Iterable[tuple[str, float]] = (),
) -> Tensor:
    """``combined`` for eyes with a profile, ``quadrant_l1`` for the others, averaged over eyes.

    ``quadrants`` (B, 4) are NaN for eyes with a profile, None where no eye has them in its place.
    """
    counts = counts or count_valid(profiles, quadrants)
    on_profiles = combined(prediction, profiles, lambda_pearson, lambda_gradient, counts, terms)
    if quadrants is None:
        return on_profiles
    on_quadrants = quadrant_l1(prediction, quadrants, counts.quadrants)
    total = counts.with_profile * on_profiles + counts.with_quadrants * on_quadrants
    return _divided(total, counts.with_profile + counts.with_quadrants)


def combined(
    prediction: Tensor,
    target: Tensor,
    lambda_pearson: float = 0.0,
    lambda_gradient: float = 0.0,
    counts: Counts | None = None,
    terms: Iterable[tuple[str, float]] = (),
) -> Tensor:
    """L1 + λp·(1 - Pearson) + λg·L1(∇T): the loss of every protocol (paper, Methods).

    ``terms`` are names and weights of further ones, each a function of an installed package
    (:mod:`rnfl.storage.plugins`): (prediction, target) → a value per eye (B,), 0 where a profile
    has no valid angle; they are averaged over eyes with a profile.
    """
    counts = counts or count_valid(target)
    loss = l1(prediction, target, counts.angles)
    if lambda_pearson:
        loss = loss + lambda_pearson * pearson(prediction, target, counts.shapes)
    if lambda_gradient:
        loss = loss + lambda_gradient * gradient_l1(prediction, target, counts.differences)
    for name, weight in terms:
        values = plugins.find("losses", name)(prediction, target)
        if values.shape != prediction.shape[:1]:
            raise ValueError(
                f"term {name!r} of the loss returned {tuple(values.shape)} for "
                f"{len(prediction)} eyes: expected a value per eye, ({len(prediction)},)"
            )
        loss = loss + weight * _divided(values.sum(), counts.with_profile)
    return loss


def unaligned(tokens: Sequence[Tensor]) -> Tensor:
    """1 - mean cosine over channels between the tokens of the two pictures of each eye.

    Parameters
    ----------
    tokens : sequence of Tensor (2 B, T, D) or (2 B, D, rows, columns)
        After several blocks; the pictures of an eye lie one behind the other.

    Examples
    --------
    >>> float(unaligned([torch.tensor([[[1.0, 0.0]], [[2.0, 0.0]]])]))
    0.0
    """
    found = []
    for one in tokens:
        first, second = one.float().unflatten(0, (-1, 2)).unbind(1)
        channels = 1 if one.ndim == 4 else -1
        found.append(F.cosine_similarity(first, second, dim=channels).mean())
    return 1 - torch.stack(found).mean()


def _divided(total: Tensor, n: Tensor) -> Tensor:
    return total / torch.where(n > 0, n, 1)


def _centred(values: Tensor, valid: Tensor, count: Tensor) -> Tensor:
    values = values * valid
    mean = values.sum(1, keepdim=True) / count.clamp(min=1)
    return (values - mean) * valid
