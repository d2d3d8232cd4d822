"""Baselines that predict the four quadrant means, cross-validated by patient.

``constant`` predicts the training folds' means for every eye, ``pca_ridge`` is a linear model of
the disc crop's pixels. Both learn from the very dataset they are measured on, which a network
transferred from elsewhere does not: they are what it is measured by, not its equals. **Ours**.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from PIL import Image

from rnfl.core import schema
from rnfl.core.splits import folds_by_patient
from rnfl.datasets.prepared import Prepared

FOLDS = 10
INNER_FOLDS = 5
COMPONENTS = 80
SIDE = 48  # px of the crops that PCA sees
PENALTIES = np.logspace(-3, 3, 13)  # ridge penalties, in units of the mean squared singular value

Predictor = Callable[[np.ndarray], np.ndarray]


def constant(prepared: Prepared, k: int = FOLDS, seed: int = 0) -> pd.DataFrame:
    """Return each eye's quadrants predicted as the means of the eyes of other folds.

    Parameters
    ----------
    prepared : Prepared
        An eye's labels are ``rnfl_S`` ... ``rnfl_T`` of its row in samples where they were
        measured, else the quadrants of its profile. Eyes that lack one are predicted and not
        learnt from.
    k : int
        Folds of patients.
    seed : int
        Of the folds.

    Returns
    -------
    DataFrame
        Its :func:`rnfl.core.schema.quadrant_pairs`, with run_id 'constant', µm.

    Raises
    ------
    ValueError
        When there are fewer patients than folds, or none with all quadrants in the other folds.
    """
    return _cross_validate("constant", prepared, np.arange(len(prepared)), fit_constant, k, seed)


def pca_ridge(
    prepared: Prepared, k: int = FOLDS, seed: int = 0, components: int = COMPONENTS
) -> pd.DataFrame:
    """Return each eye's quadrants predicted from its crop by PCA and ridge regression.

    Crops are area-averaged to 48 by 48 px (half-width 0.19 of the photograph's width), every pixel
    and channel is standardised, and the ridge penalty is chosen by an inner cross-validation by
    patient; all three are learnt from the training folds alone. Parameters, return value and
    errors are those of :func:`constant`; run_id is 'pca_ridge'. ``components`` is an upper bound:
    a fold of n eyes has at most n - 1.
    """
    fit = partial(_choose, components=components, seed=seed)
    return _cross_validate("pca_ridge", prepared, _pixels(prepared.images), fit, k, seed)


def fit_constant(images: np.ndarray, quadrants: np.ndarray, patients: np.ndarray) -> Predictor:
    """Return a predictor of the training eyes' mean quadrants, whatever the image.

    Parameters
    ----------
    images : ndarray uint8 (n, H, W[, 3])
    quadrants : ndarray (n, 4), µm
        S, N, I, T.
    patients : ndarray (n,) of str
    """
    level = quadrants.mean(axis=0)
    return lambda others: np.tile(level, (len(others), 1))


def fit_pca_ridge(
    images: np.ndarray, quadrants: np.ndarray, patients: np.ndarray, seed: int = 0
) -> Predictor:
    """Return the model of :func:`pca_ridge` fitted to all eyes; parameters as there.

    It takes grey images for colour ones and the reverse, as a network does.
    """
    best = _choose(_pixels(images), quadrants, patients, COMPONENTS, seed)
    return lambda others: best(_pixels(others, "L" if np.ndim(images) == 3 else "RGB"))


def _cross_validate(
    run_id: str,
    prepared: Prepared,
    features: np.ndarray,
    fit: Callable[[np.ndarray, np.ndarray, np.ndarray], Predictor],
    k: int,
    seed: int,
) -> pd.DataFrame:
    """Return the quadrant frame of predictions by what ``fit`` learns from the other folds."""
    patients = prepared.samples["patient_id"].to_numpy()
    truth = schema.true_quadrants(prepared.samples, prepared.profiles)
    complete = np.isfinite(truth).all(axis=1)
    predicted = np.empty_like(truth)
    for others, test in _folds(patients, k, seed):
        train = others[complete[others]]
        if not len(train):
            raise ValueError(
                f"{prepared.folder}: of the {len(others)} eyes of {k - 1} folds none has all four "
                f"quadrants to learn from"
            )
        predicted[test] = fit(features[train], truth[train], patients[train])(features[test])
    return schema.quadrant_pairs(prepared.samples.assign(run_id=run_id), predicted, truth)


def _choose(
    pixels: np.ndarray, truth: np.ndarray, patients: np.ndarray, components: int, seed: int
) -> Predictor:
    """Return the predictor whose penalty errs least in a cross-validation by patient."""
    errors = np.zeros(len(PENALTIES))
    for fit, held in _folds(patients, min(INNER_FOLDS, len(set(patients))), seed):
        models = _fit(pixels[fit], truth[fit], components)
        errors += [np.abs(model(pixels[held]) - truth[held]).sum() for model in models]
    return _fit(pixels, truth, components)[int(np.argmin(errors))]


def _fit(pixels: np.ndarray, truth: np.ndarray, components: int) -> list[Predictor]:
    """Return one predictor (m, p) -> (m, 4) for each penalty."""
    mean, sd = pixels.mean(axis=0), pixels.std(axis=0)
    sd = np.where(sd > 0, sd, 1)
    u, s, vt = np.linalg.svd((pixels - mean) / sd, full_matrices=False)
    keep = min(components, len(pixels) - 1)
    u, s, vt = u[:, :keep], s[:keep], vt[:keep]
    level = truth.mean(axis=0)
    projected = u.T @ (truth - level)

    def predictor(penalty: float) -> Predictor:
        shrunk = (s / (s**2 + penalty * np.mean(s**2)))[:, None] * projected
        return lambda x: level + ((x - mean) / sd @ vt.T) @ shrunk

    return [predictor(penalty) for penalty in PENALTIES]


def _folds(patients: np.ndarray, k: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    fold = folds_by_patient(patients, k, seed)
    return [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(k)]


def _pixels(images: np.ndarray, mode: str | None = None) -> np.ndarray:
    """Return images (n, H, W[, 3]) area-averaged to 48 by 48 px and flattened, float32 (n, p).

    ``mode`` is 'L' for grey and 'RGB' for colour; by default images stay what they are.
    """
    asked = [Image.fromarray(i).convert(mode) for i in images]
    small = [i.resize((SIDE, SIDE), Image.Resampling.BOX) for i in asked]
    return np.stack([np.asarray(i, dtype=np.float32).ravel() for i in small])
