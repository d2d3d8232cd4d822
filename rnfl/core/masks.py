"""Masks of optic disc and cup: what their numbers mean, and how well two of them agree.

A mask is uint8 (112, 112), a prepared crop at half its size, in right-eye orientation: 0 is
background, 1 rim and 2 cup; the disc is rim and cup together. An eye that has no mask is 255
throughout. Measures are per eye, and NaN where the true mask cannot say.

Source: Dice (1945); the vertical cup-to-disc ratio is that of REFUGE (Orlando et al., 2020).
"""

from __future__ import annotations

import numpy as np

from rnfl.core.nanstats import divide, mean

SIDE = 112  # px, half a prepared crop
RIM, CUP, UNKNOWN = 1, 2, 255
CLASSES = 3  # background, rim and cup
#: Values of mask images, in the order background, rim, cup, by what is said of them.
CONVENTIONS = {
    "0 = background, 1 = rim, 2 = cup": (0, 1, 2),
    "255 = background, 128 = rim, 0 = cup (as in REFUGE)": (255, 128, 0),
    "0 = background, 128 = rim, 255 = cup": (0, 128, 255),
}


def from_levels(levels: np.ndarray) -> tuple[np.ndarray, str]:
    """Return a mask image of one of the :data:`CONVENTIONS` in our numbers, and which one it is.

    The rim must be there: 0 and 255 alone could be cup and background, or background and disc. Most
    of the border must be background, which tells REFUGE's numbers from their inverse.

    Parameters
    ----------
    levels : ndarray uint8 (H, W)

    Raises
    ------
    ValueError
        With the values found and those that are expected.

    Examples
    --------
    >>> mask = np.full((3, 4), 255, np.uint8)
    >>> mask[1, 1:3] = 128, 0
    >>> from_levels(mask)[0].tolist()
    [[0, 0, 0, 0], [0, 1, 2, 0], [0, 0, 0, 0]]
    """
    found = np.unique(levels).tolist()
    for said, values in CONVENTIONS.items():
        border = np.concatenate([levels[[0, -1]].ravel(), levels[:, [0, -1]].ravel()])
        outside = (border == values[0]).mean() > 0.5
        if set(found) <= set(values) and values[RIM] in found and outside:
            ours = np.zeros(256, np.uint8)
            ours[list(values)] = range(CLASSES)
            return ours[levels], said
    some = ", ".join(map(str, found[:8])) + (" ..." if len(found) > 8 else "")
    expected = ", or ".join(CONVENTIONS)
    raise ValueError(
        f"values {some}: expected {expected}; with rim, and mostly background at the border"
    )


def commonest(masks: np.ndarray) -> np.ndarray:
    """Return the one mask (S, S) that says of each pixel what most of masks (n, S, S) say.

    Examples
    --------
    >>> commonest(np.array([[[1, 2, 0]], [[0, 2, 0]], [[1, 1, 0]]])).tolist()
    [[1, 2, 0]]
    """
    whole = masks[known(masks)]
    return sum((whole >= least).mean(axis=0) > 0.5 for least in (RIM, CUP)).astype(np.uint8)


def known(masks: np.ndarray) -> np.ndarray:
    """Return which of masks (n, S, S) are masks at all, (n,)."""
    return (masks != UNKNOWN).all(axis=(1, 2))


def dice_disc(pred: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return the Dice coefficient of the disc of masks (n, S, S), per eye (n,).

    NaN where an eye has no true mask, or no disc in it.

    Examples
    --------
    >>> true = np.array([[[0, 1, 2]], [[0, 0, 0]]])
    >>> dice_disc(np.array([[[1, 1, 1]], [[0, 1, 0]]]), true)
    array([0.8, nan])
    """
    return _dice(pred, true, RIM)


def dice_cup(pred: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return the Dice coefficient of the cup of masks (n, S, S), per eye (n,).

    NaN where an eye has no true mask, or no cup in it.

    Examples
    --------
    >>> dice_cup(np.array([[[2, 2, 0]], [[2, 1, 0]]]), np.array([[[2, 1, 0]], [[1, 1, 0]]]))
    array([0.66666667,        nan])
    """
    return _dice(pred, true, CUP)


def _dice(pred: np.ndarray, true: np.ndarray, least: int) -> np.ndarray:
    pred, true, has_mask = _pair(pred, true)
    inside, truly = pred >= least, (true >= least) & has_mask[:, None, None]
    area = truly.sum(axis=(1, 2))
    total = np.where(area > 0, area + inside.sum(axis=(1, 2)), 0)
    return divide(2 * (inside & truly).sum(axis=(1, 2)), total)


def _pair(pred: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return both as arrays and which true ones are masks; a ValueError says what does not fit."""
    pred, true = np.asarray(pred), np.asarray(true)
    if pred.shape != true.shape or pred.ndim != 3:
        raise ValueError(f"masks {pred.shape}, true ones {true.shape}: expected one (n, S, S)")
    return pred, true, known(true)


def dice_error(pred: np.ndarray, true: np.ndarray) -> float:
    """Return 1 - the mean of the mean Dice of disc and cup: 0 is perfect.

    Of the disc alone where no eye has a cup; NaN where no eye has a mask.

    Examples
    --------
    >>> dice_error(np.array([[[0, 1, 2]]]), np.array([[[0, 1, 1]]]))
    0.0
    """
    found = np.array([mean(dice_disc(pred, true)), mean(dice_cup(pred, true))])
    return float(1 - mean(found))


def cup_to_disc(masks: np.ndarray) -> np.ndarray:
    """Return the vertical cup-to-disc ratio of masks (n, S, S): the ratio of heights, (n,).

    It is 0 without a cup, NaN without a disc or a mask.

    Examples
    --------
    >>> cup_to_disc(np.array([[[1], [2], [1], [0]], [[0], [0], [0], [0]]]).repeat(4, axis=2))
    array([0.33333333,        nan])
    """
    masks = np.asarray(masks)
    masks = np.where(known(masks)[:, None, None], masks, 0)
    return divide(_height(masks >= CUP), _height(masks >= RIM))


def _height(region: np.ndarray) -> np.ndarray:
    """Return from the first to the last row of regions (n, S, S) how many there are, (n,)."""
    rows = region.any(axis=2)
    extent = rows.shape[1] - rows.argmax(axis=1) - rows[:, ::-1].argmax(axis=1)
    return np.where(rows.any(axis=1), extent, 0)


def cup_to_disc_error(pred: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return the absolute error of the vertical cup-to-disc ratio of masks (n, S, S), (n,).

    NaN where an eye has no true mask or no cup in it; a prediction without a disc counts as 0.

    Examples
    --------
    >>> true = np.array([[[1], [2], [2], [1]]]).repeat(4, axis=2)
    >>> cup_to_disc_error(np.ones_like(true), true)
    array([0.5])
    """
    pred, true, _ = _pair(pred, true)
    truth = cup_to_disc(true)
    return np.abs(np.nan_to_num(cup_to_disc(pred)) - np.where(truth > 0, truth, np.nan))
