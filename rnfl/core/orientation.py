"""Whether profiles are in the order temporal, superior, nasal, inferior; warnings where they look
mirrored or turned.

The mean profile of a few eyes has two humps, whose peaks lie temporal of 90° and 270°. It is
compared, by correlation over angles, with a reference in every turn and mirrored in every turn.
Superior and inferior are alike in a mean, so an order and the same one upside down are not told
apart. Nor is a mirror image from disease, which takes the temporal flanks of the humps first: only
eyes of 75 µm and more are asked about it. The limits are **ours**, chosen on half of 2,000 phantom
eyes and of LEI-SFD's first visits, whose sectors were joined smoothly. `benchmarks/false_alarms.py`
counts on the other half, for 5, 10, 30 and 100 eyes: cohorts in the right order are warned of in at
most 0.8 % of draws, quadrants in at most 1.6 % (30 severe phantom eyes); of 5 healthy phantom eyes
57 % are seen to be mirrored, of 100 all are, of moderate and severe ones hardly any. So no warning
says little of the order of a few eyes, or of eyes with advanced glaucoma.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd

from rnfl.core.geometry import ANGLES, LATERALITIES, N_ANGLES, QUADRANTS, mirror_profile
from rnfl.core.metrics import correlation_of_each_eye, template_profile
from rnfl.core.nanstats import mean
from rnfl.storage.tables import listed


def _hump(peak: float) -> np.ndarray:
    return np.exp(6 * (np.cos(np.deg2rad(ANGLES - peak)) - 1))


#: A mean profile of glaucomatous eyes, µm (360,): a circle and two humps (**ours**), fitted to the
#: means of six sectors that LEI-SFD has at its first visit (162 eyes; T 61.7, TS 105.4, NS 87.3,
#: N 64.0, NI 86.3, TI 104.9), which it meets within 0.3 µm.
REFERENCE = 57.9 - 5.6 * np.cos(np.deg2rad(ANGLES)) + 59.8 * _hump(74.5) + 58.7 * _hump(285.5)
REFERENCE.flags.writeable = False

THICK = 75.0  # µm, mean of an eye that is asked whether it is mirrored
MIRRORED = 4, 0.92, 0.15  # eyes, correlation with the mirror image, and by how much it is better
TURNED = 3, 0.80, 0.40  # the same for other turns
NEAR = 15  # degrees that a mean may be turned by itself
EXCHANGED = 4, 8.0  # eyes, and µm by which two quadrants exceed those that should be thickest
PAIRED = 10, 0.30, 0.20  # eyes, correlation of deviations from the mean, by how much it is better
MIN_EYES = 5  # of each side, to compare left with right eyes


@cache
def _source() -> np.ndarray:
    """Return which angle of the reference lies at each angle: (mirrored, turn, angle)."""
    direct = (ANGLES - ANGLES[:, None]) % N_ANGLES
    return np.stack([direct, (180 - direct) % N_ANGLES])


def order_of(mirrored: int, turn: int) -> str:
    """Return in words how profiles lie that are mirrored or not and then turned, degrees.

    Examples
    --------
    >>> order_of(0, 2), order_of(1, 0), order_of(0, 268)
    ('T, S, N, I', 'N, S, T, I', 'S, N, I, T')
    >>> order_of(1, 45)
    'N, S, T, I turned by 45°'
    """
    quarter = round(turn / 90) * 90 % N_ANGLES
    whole = abs((turn - quarter + 180) % N_ANGLES - 180) <= NEAR
    lies = _source()[mirrored, quarter if whole else 0, ::90]
    return ", ".join("TSNI"[a // 90] for a in lies) + ("" if whole else f" turned by {turn}°")


def correlations(profile: np.ndarray, reference: np.ndarray = REFERENCE) -> np.ndarray:
    """Return the correlation of a profile with a reference (360,), as it is and mirrored, turned.

    In the result (2, 360) row 1 is mirrored first (θ to 180° - θ); column ``k`` is turned by k°.
    """
    turned = np.where(np.isfinite(reference), reference, np.nanmean(reference))[_source()]
    turned = turned - turned.mean(axis=-1, keepdims=True)
    own = np.where(np.isfinite(profile), profile - np.nanmean(profile), 0.0)
    norm = np.sqrt((own @ own) * (turned**2).sum(axis=-1))
    return np.divide(turned @ own, norm, out=np.zeros_like(norm), where=norm > 0)


def doubt_order(
    profiles: np.ndarray,
    what: str,
    reference: np.ndarray = REFERENCE,
    name: str = "a reference",
    thick: float = THICK,
) -> list[str]:
    """Return a warning, if any, that profiles look mirrored or turned.

    Parameters
    ----------
    profiles : ndarray (n, 360), µm, NaN where missing
    what : str
        What the profiles are, for the message, and ``name`` what the reference is.
    reference : ndarray (360,), µm
        In the right order.
    thick : float
        Mean of an eye, µm, from which on it is asked whether it is mirrored.
    """
    profiles = np.asarray(profiles, dtype=float)
    profiles = profiles[np.isfinite(profiles).any(axis=1)]
    means = mean(profiles, axis=1)
    away = np.minimum(ANGLES, N_ANGLES - ANGLES)  # how far a turn is from none
    other = np.minimum(np.abs(ANGLES - 180), NEAR + 1)  # and from upside down
    same = np.stack([away, other]) <= NEAR  # a turn by 180° mirrored is upside down
    for rows, (least, alike, better), looks in (
        (slice(None), TURNED, ~same & ~same[::-1]),
        (means >= thick, MIRRORED, same[::-1]),
    ):
        chosen = profiles[rows]
        if len(chosen) < least:
            continue
        found = correlations(template_profile(chosen), reference)
        own, best = found[same].max(), np.where(looks, found, -1).max()
        if best >= max(alike, own + better, found.max() - 1e-9):
            mirrored, turn = np.unravel_index(np.where(looks, found, -1).argmax(), found.shape)
            pair = (mirrored, turn), (1 - mirrored, (turn + 180) % N_ANGLES)
            orders = [order_of(*one) for one in sorted(pair, key=lambda one: away[one[1]])]
            return [
                f"WARNING: {what} look mirrored or turned: their mean correlates {own:.2f} with "
                f"{name}, and {best:.2f} when it stands in the order {orders[0]} (or {orders[1]}, "
                f"which a mean does not tell apart; {len(chosen)} eyes). Expected T, S, N, I in "
                "both eyes: 0° temporal, 90° superior, 180° nasal, 270° inferior."
            ]
    return []


def doubt_quadrants(quadrants: np.ndarray, what: str) -> list[str]:
    """Return a warning, if any, that quadrant means (n, 4), S N I T, µm, look exchanged.

    Superior and inferior are the two thickest in the mean of eyes of 75 µm and more. That nasal
    and temporal were exchanged, or superior and inferior, their means do not tell.
    """
    quadrants = np.asarray(quadrants, dtype=float)
    quadrants = quadrants[np.isfinite(quadrants).all(axis=1)]
    quadrants = quadrants[quadrants.mean(axis=1) >= THICK]
    if len(quadrants) < EXCHANGED[0]:
        return []
    found = dict(zip(QUADRANTS, quadrants.mean(axis=0), strict=True))
    ranked = sorted(found, key=found.get, reverse=True)
    if {*ranked[:2]} == {"S", "I"} or found[ranked[1]] - found[ranked[2]] < EXCHANGED[1]:
        return []
    said = listed((f"{name} {value:.0f}" for name, value in found.items()), 4)
    thickest = " and ".join(name for name in QUADRANTS if name in ranked[:2])
    return [
        f"WARNING: {what} look exchanged or turned: on average {said} µm, so that {thickest} are "
        f"the thickest, where S and I should be ({len(quadrants)} eyes of {THICK:g} µm and more)."
    ]


def doubt_pairs(prediction: np.ndarray, target: np.ndarray, what: str) -> list[str]:
    """Return a warning, if any, that predictions and truth (n, 360) stand in different orders.

    First their means are compared, then how single eyes deviate from them, which also tells
    superior from inferior.
    """
    known = np.isfinite(target).any(axis=1)
    if not known.any():
        return []
    against = f"{what}, against the ground truth,"
    mean_target = template_profile(target[known])
    told = doubt_order(prediction[known], against, mean_target, "the truth's", thick=0.0)
    if told or known.sum() < PAIRED[0]:
        return told
    ours, theirs = (side[known] - template_profile(side[known]) for side in (prediction, target))
    theirs = np.where(np.isfinite(theirs), theirs, 0.0)
    ours = ours - mean(ours, axis=1)[:, None]  # its level tells nothing of an order
    orders = [(mirrored, turn) for mirrored in (0, 1) for turn in (0, 90, 180, 270)]
    moved = [theirs[:, _source()[order]].ravel() for order in orders]
    if not ours.any() or not theirs.any():
        return []
    found = [float(np.corrcoef(ours.ravel(), one)[0, 1]) for one in moved]
    best = int(np.argmax(found))
    if found[best] < max(PAIRED[1], found[0] + PAIRED[2]):
        return []
    return [
        f"WARNING: {against} look mirrored or turned: how eyes deviate from the mean correlates "
        f"{found[0]:.2f} as they stand, and {found[best]:.2f} with the truth in the order "
        f"{order_of(*orders[best])}. Both must be T, S, N, I."
    ]


def doubt_left_eyes(profiles: np.ndarray, laterality: pd.Series, what: str) -> list[str]:
    """Return a warning, if any, that left eyes look as if they were not mirrored.

    Profiles are in right-eye orientation, so the mean left eye resembles the mean right eye; one
    that resembles its mirror image more probably has nasal and temporal exchanged. Nothing is said
    below 5 eyes of either side.
    """
    sides = [profiles[(laterality == side).to_numpy()] for side in LATERALITIES]
    if min(map(len, sides)) < MIN_EYES:
        return []
    right, left = map(template_profile, sides)
    pairs = np.stack([right, mirror_profile(right)]), np.stack([left, left])
    known = np.isfinite(pairs).all(axis=(0, 1))
    same, mirrored = correlation_of_each_eye(pairs[0][:, known], pairs[1][:, known])
    if not mirrored > same:
        return []
    return [
        f"WARNING: {what}: left eyes look unmirrored (their mean profile correlates {same:.3f} "
        f"with the right eyes' and {mirrored:.3f} with its mirror image). Profiles must be in "
        "right-eye orientation: 0° temporal, 180° nasal for both."
    ]


def doubts(samples: pd.DataFrame, profiles: np.ndarray) -> list[str]:
    """Return the warnings on the labels of a dataset: its profiles, else its quadrants."""
    if np.isfinite(profiles).any():
        left = doubt_left_eyes(profiles, samples["laterality"], "profiles")
        return doubt_order(profiles, "profiles") + left
    names = [f"rnfl_{name}" for name in QUADRANTS]
    if set(names) <= set(samples):
        return doubt_quadrants(samples[names].to_numpy(dtype=float), "S, N, I and T")
    return []
