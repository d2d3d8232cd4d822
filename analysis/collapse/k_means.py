"""k-means of profiles with gaps: the k profiles that suit a set of eyes best.

scikit-learn's knows no missing angles. The eyes are worked through a block at a time, because what
is made of all of them at once would not stay in a processor's cache.
"""

from __future__ import annotations

import numpy as np

from rnfl.core.metrics import template_profile
from rnfl.core.nanstats import BLOCK, mean

STARTS = 4  # k-means runs; the one with the least squared distance counts
STEPS = 100
#: A start has settled when no larger share of the eyes changes template (ours). With fewer than
#: 2,000 eyes that is none; with more, waiting for the last one takes ever more steps.
SETTLED = 1 / 2000
Block = tuple[np.ndarray, np.ndarray | None]


def _blocks(profiles: np.ndarray, shift: np.ndarray | float = 0.0) -> list[Block]:
    """Return profiles less a shift, 0 where missing, and what is measured, 1 or 0, None for all.

    A block at a time, so that what is made of one stays in a processor's cache.
    """
    profiles, found = np.asarray(profiles, float), []
    for start in range(0, len(profiles), BLOCK):
        x = profiles[start : start + BLOCK] - shift
        measured = np.isfinite(x)
        complete = measured.all()
        found.append(
            (x, None) if complete else (np.where(measured, x, 0.0), measured.astype(float))
        )
    return found


def _beyond_own(block: Block, templates: np.ndarray) -> np.ndarray:
    """Return squared distances (n, k) over the measured angles, less the profiles' own squares."""
    x, measured = block
    squares = templates**2
    # x is 0 where nothing was measured, so that the product needs no mask.
    return (squares.sum(axis=1) if measured is None else measured @ squares.T) - x @ (
        2 * templates
    ).T


def _squared(blocks: list[Block], templates: np.ndarray) -> np.ndarray:
    """Return the squared distance of each eye to its nearest template (n,)."""
    least = [np.einsum("ij,ij->i", b[0], b[0]) + _beyond_own(b, templates).min(1) for b in blocks]
    return np.maximum(np.concatenate(least), 0.0)


def _start(blocks: list[Block], k: int, rng: np.random.Generator) -> np.ndarray:
    """Choose k profiles far from each other (k-means++); gaps are 0, the mean profile."""
    n = sum(len(x) for x, _ in blocks)
    chosen, nearest = [int(rng.integers(n))], np.full(n, np.inf)
    while True:
        templates = np.stack([blocks[i // BLOCK][0][i % BLOCK] for i in chosen])
        if len(chosen) == k:
            return templates
        nearest = np.minimum(nearest, _squared(blocks, templates[-1:]))
        total = nearest.sum()
        even = np.full(n, 1 / n)
        chosen.append(int(rng.choice(n, p=nearest / total if total > 0 else even)))


def _assign(
    blocks: list[Block], templates: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the nearest template of each eye (n,); by template, sums and counts at each angle."""
    total, count, nearest = np.zeros_like(templates), np.zeros_like(templates), []
    for block in blocks:
        x, measured = block
        which = _beyond_own(block, templates).argmin(axis=1)
        belongs = (which == np.arange(len(templates))[:, None]).astype(float)
        total += belongs @ x
        count += belongs.sum(axis=1, keepdims=True) if measured is None else belongs @ measured
        nearest.append(which)
    return np.concatenate(nearest), total, count


def find_templates(profiles: np.ndarray, k: int, seed: int = 0) -> np.ndarray:
    """Return the k profiles (k, 360) with the least squared distance to the nearest one, µm.

    Lloyd's algorithm from k-means++ starts, over the measured angles; the same arguments give the
    same templates.

    Parameters
    ----------
    profiles : ndarray (n, 360), µm, NaN where missing
    k : int
    seed : int
        Of the starts.

    Raises
    ------
    ValueError
        Unless 1 <= k <= n.
    """
    n = len(profiles)
    if not 1 <= k <= n:
        raise ValueError(f"{k} templates of {n} profiles: expected 1 to {n}")
    shift = np.nan_to_num(template_profile(profiles))  # small numbers round less
    blocks = _blocks(profiles, shift)
    rng = np.random.default_rng(seed)
    best, least = np.zeros((k, len(shift))), np.inf
    for _ in range(STARTS):
        templates = _start(blocks, k, rng)
        nearest = np.full(n, -1)
        for _ in range(STEPS):
            moved, total, count = _assign(blocks, templates)
            if np.count_nonzero(moved != nearest) <= int(SETTLED * n):
                break
            nearest = moved
            templates = np.where(count > 0, total / np.maximum(count, 1), templates)
        inertia = _squared(blocks, templates).sum()
        if inertia < least:
            best, least = templates, inertia
    return best + shift


def distance_to_nearest(
    profiles: np.ndarray, templates: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return each eye's RMS distance (n,) in µm to its nearest template, and which that is (n,).

    NaN for an eye without a measured angle.

    Examples
    --------
    >>> distance, which = distance_to_nearest(np.full((1, 360), 73.0), np.array([[70.0], [90.0]])
    ...     * np.ones(360))
    >>> distance.round(6).tolist(), which.tolist()
    ([3.0], [0])
    """
    distance, which = [np.empty(0)], [np.empty(0, int)]
    for block in _blocks(profiles):
        x, measured = block
        nearest = _beyond_own(block, templates).argmin(axis=1)
        squared = (x - templates[nearest]) ** 2
        if measured is not None:
            squared = np.where(measured > 0, squared, np.nan)
        distance.append(np.sqrt(mean(squared, axis=1)))
        which.append(nearest)
    return np.concatenate(distance), np.concatenate(which)
