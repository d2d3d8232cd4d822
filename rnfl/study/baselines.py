"""Baselines that predict the four quadrant means, cross-validated by patient.

``constant`` predicts the training folds' means for every eye, ``pca_ridge`` is a linear model of
the disc crop's pixels. Both learn from the very dataset they are measured on, of which a network
transferred from elsewhere has seen no eye (though phantoms are calibrated to GRAPE's quadrants
and colours): they are what it is measured by, not its equals. A readout
learns from an eye and from its copy turned upside down, and so does ``pca_ridge``, by the same
regression with the same candidates for its penalty. **Ours**. What they give is a statistic of the
tables that show it: who changes it raises ``ANALYSIS_VERSION``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from rnfl.core import schema
from rnfl.core.geometry import flip_quadrants
from rnfl.core.splits import folds_by_patient
from rnfl.datasets.prepared import Prepared
from rnfl.training import ridge

FOLDS = 10
COMPONENTS = 80
SIDE = 48  # px of the crops that PCA sees


@dataclass(frozen=True)
class Fitted:
    """A baseline that has learnt: images (m, H, W[, 3]) to quadrants (m, 4) S, N, I, T, µm.

    ``error`` is the mean absolute error in a cross-validation by patient within the training eyes,
    µm, under the penalty that was chosen by it.
    """

    predict: Callable[[np.ndarray], np.ndarray]
    error: float

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self.predict(images)


# (images (n, H, W[, 3]), quadrants (n, 4) µm, patients (n,) of str), and the inner folds' seed
Fit = Callable[..., Fitted]


def constant(
    prepared: Prepared, k: int = FOLDS, seed: int = 0, inner_seed: int = 0
) -> pd.DataFrame:
    """Return each eye's quadrants predicted as the means of the eyes of other folds.

    Parameters
    ----------
    prepared : Prepared
        An eye's labels are ``rnfl_S`` ... ``rnfl_T`` of its row in samples where they were
        measured, else the quadrants of its profile. Eyes that lack one are predicted and not
        learnt from.
    k, seed, inner_seed : int
        Folds of patients, the seed of these, and that of those within the training eyes.

    Returns
    -------
    DataFrame
        Its :func:`rnfl.core.schema.quadrant_pairs`, with run_id 'constant', µm; ``fold`` that
        holds an eye, and ``inner_error`` (:class:`Fitted`) of what the other folds taught.

    Raises
    ------
    ValueError
        When there are fewer patients than folds, or too few with all quadrants in the other folds.
    """
    return _cross_validate("constant", prepared, prepared.images, fit_constant, k, seed, inner_seed)


def pca_ridge(
    prepared: Prepared, k: int = FOLDS, seed: int = 0, inner_seed: int = 0
) -> pd.DataFrame:
    """Return each eye's quadrants predicted from its crop by PCA and ridge regression.

    Crops are area-averaged to 48 by 48 px (half-width 0.19 of the photograph's width), every pixel
    and channel is standardised, and at most 80 principal components of the crops and of their
    mirrored copies are regressed on (:mod:`rnfl.training.ridge`); all is learnt from the training
    folds alone. Parameters, return value and errors are those of :func:`constant`; run_id is
    'pca_ridge'.
    """
    small = _small(prepared.images)
    return _cross_validate("pca_ridge", prepared, small, fit_pca_ridge, k, seed, inner_seed)


BY_NAME = {"constant": constant, "PCA + ridge": pca_ridge}


def fit_constant(
    images: np.ndarray, quadrants: np.ndarray, patients: np.ndarray, seed: int = 0
) -> Fitted:
    """Return a predictor of the training eyes' mean quadrants, whatever the image.

    Parameters
    ----------
    images : ndarray uint8 (n, H, W[, 3])
    quadrants : ndarray (n, 4), µm
        S, N, I, T.
    patients : ndarray (n,) of str
    seed : int
        Of the inner folds.
    """
    nothing = np.zeros((len(quadrants), 1))  # a regression on nothing is the mean
    solved = ridge.fit([nothing], quadrants, patients, seed=seed)
    return Fitted(lambda others: np.tile(solved.level, (len(others), 1)), solved.errors.min())


def fit_pca_ridge(
    images: np.ndarray, quadrants: np.ndarray, patients: np.ndarray, seed: int = 0
) -> Fitted:
    """Return the model of :func:`pca_ridge` fitted to all eyes; parameters as :func:`fit_constant`.

    It takes grey images for colour ones and the reverse, as a network does.
    """
    mode = "L" if np.ndim(images) == 3 else "RGB"
    upright, turned = _pixels(images, mode), _pixels(images[:, ::-1], mode)
    mean, sd = upright.mean(axis=0), upright.std(axis=0)
    sd = np.where(sd > 0, sd, 1)
    upright, turned = (upright - mean) / sd, (turned - mean) / sd
    both = np.concatenate([upright, turned - turned.mean(axis=0)])
    axes = np.linalg.svd(both, full_matrices=False)[2][:COMPONENTS].T
    copies = ([turned @ axes], flip_quadrants(quadrants))
    solved = ridge.fit([upright @ axes], quadrants, patients, copies, seed=seed)
    return Fitted(
        lambda others: solved.predict([(_pixels(others, mode) - mean) / sd @ axes]),
        solved.errors.min(),
    )


def _cross_validate(
    run_id: str, prepared: Prepared, images: np.ndarray, fit: Fit, k: int, seed: int, inner: int
) -> pd.DataFrame:
    """Return the quadrant frame of predictions by what ``fit`` learns from the other folds."""
    patients = prepared.samples["patient_id"].to_numpy()
    truth = schema.true_quadrants(prepared.samples, prepared.profiles)
    complete = np.isfinite(truth).all(axis=1)
    fold = folds_by_patient(patients, k, seed)
    predicted, error = np.empty_like(truth), np.empty(len(truth))
    for test in (fold == i for i in range(k)):
        train = ~test & complete
        if not train.any():
            raise ValueError(
                f"{prepared.folder}: of the {(~test).sum()} eyes of {k - 1} folds none has all "
                f"four quadrants to learn from"
            )
        learnt = fit(images[train], truth[train], patients[train], inner)
        predicted[test], error[test] = learnt(images[test]), learnt.error
    frame = schema.quadrant_pairs(prepared.samples.assign(run_id=run_id), predicted, truth)
    return frame.assign(fold=fold, inner_error=error)


def _small(images: np.ndarray, mode: str | None = None) -> np.ndarray:
    """Return images area-averaged to 48 by 48 px, in grey (mode 'L'), in colour ('RGB'), as is."""
    asked = [Image.fromarray(i).convert(mode) for i in images]
    return np.stack([np.asarray(i.resize((SIDE, SIDE), Image.Resampling.BOX)) for i in asked])


def _pixels(images: np.ndarray, mode: str) -> np.ndarray:
    return _small(images, mode).reshape(len(images), -1).astype(np.float32)
