"""Ridge regression on several sets of features of few eyes, averaged, with one penalty for all.

Each set of features (a *block*) has its own ridge regression; predictions are averaged over blocks,
and one penalty, relative to a block's mean squared feature norm, is chosen for all of them by
cross-validation by patient. Everything is computed from inner products between eyes, once; only
those are kept in double precision, features are read some columns at a time (:func:`bytes_needed`).

Mirrored copies of the eyes may be added: turned upside down, superior becomes inferior, so that a
mirrored eye with mirrored labels is another example of the same anatomy. Originals and copies are
centred each by their own mean, so only what distinguishes eyes is learnt from the copies. **Ours**.

Blocks may weigh differently, and each label may have a penalty of its own (:func:`fit`, ``own``).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rnfl.core.splits import folds_by_patient

PENALTIES = np.logspace(-2, 2, 13)  # in units of a block's mean squared norm
OWN = np.append(np.logspace(-2, 3, 16), np.inf)  # of one label each; the last is the constant
INNER_FOLDS = 5
COLUMNS = 4096  # features of all eyes that are in double precision at a time
MATRICES = 8  # of the size of a Gram matrix that solving takes, eigh's own workspace included


@dataclass(frozen=True)
class Ridge:
    """A fitted regression: ``level + mean over blocks of (x - mean) @ weights``.

    ``errors`` (penalties,) are mean absolute errors in the inner cross-validation with one penalty
    for all labels, in the unit of what was measured; ``held_out`` (n, k) is each training eye's
    label as the other inner folds predict it under the penalty chosen, or those chosen, and
    ``error`` the mean absolute error of these. ``fitted`` (n, k) are the training eyes' labels as
    the regression itself, which has seen them, predicts them.
    """

    level: np.ndarray  # (k,), the mean label
    means: list[np.ndarray]  # (d,), the mean feature of each block, originals only
    weights: list[np.ndarray]  # (d, k)
    penalty: float | np.ndarray  # of all labels, or (k,)
    errors: np.ndarray
    held_out: np.ndarray
    error: float
    fitted: np.ndarray

    def predict(self, blocks: Sequence[np.ndarray]) -> np.ndarray:
        """Return labels (m, k) of features, each block (m, d)."""
        parts = zip(blocks, self.means, self.weights, strict=True)
        return self.level + np.mean([(x - mean) @ w for x, mean, w in parts], axis=0)


def fit(
    blocks: Sequence[np.ndarray],
    labels: np.ndarray,
    patients: np.ndarray,
    mirrored: tuple[Sequence[np.ndarray], np.ndarray] | None = None,
    penalties: np.ndarray = PENALTIES,
    seed: int = 0,
    measured: tuple[Callable[[np.ndarray], np.ndarray], np.ndarray] | None = None,
    own: bool = False,
    shares: Sequence[float] | None = None,
) -> Ridge:
    """Fit a ridge regression with the penalty that cross-validates best.

    Parameters
    ----------
    blocks : sequence of ndarray (n, d)
        Features of ``n`` eyes; blocks may differ in ``d``.
    labels : ndarray (n, k)
    patients : ndarray (n,) of str
        Whose eye it is: inner folds, which ``seed`` divides, never share a patient.
    mirrored : (blocks, labels), optional
        The same eyes upside down, in the same order.
    measured : (callable, ndarray (n, m)), optional
        What errors are measured on: a function from predicted labels (..., k) to (..., m), and the
        truth; by default the labels themselves.
    own : bool
        Whether each label has the penalty that is best for itself. Where that measures worse than
        the constant, every penalty is infinite: so it is never worse within these eyes, as long as
        ``penalties`` hold infinity (:data:`OWN`).
    shares : sequence of float, optional
        What each block weighs in the average; together 1. None = all the same.

    Raises
    ------
    ValueError
        When a label is missing, shapes disagree, or there are fewer than two patients.
    """
    labels, n = np.asarray(labels, dtype=float), len(labels)
    if not np.isfinite(labels).all() or any(len(x) != n for x in blocks):
        raise ValueError(
            f"ridge: expected finite labels of {[len(x) for x in blocks]} eyes, got {n}"
        )
    k = min(INNER_FOLDS, len(set(patients)))
    if k < 2:
        raise ValueError(
            f"ridge: {n} eyes of {k} patients to learn from: expected 2 patients or more, because "
            f"the penalty is chosen by cross-validation by patient"
        )
    copies, turned = mirrored if mirrored else ([x[:0] for x in blocks], labels[:0])
    features = list(zip(blocks, copies, strict=True))
    grams = [_gram(x, y) for x, y in features]
    both = np.concatenate([labels, turned])

    # Their mean is 1, so that equal shares change no bit.
    weigh = [1.0] * len(blocks) if shares is None else [len(blocks) * one for one in shares]

    decode, truth = measured or (np.asarray, labels)
    fold = folds_by_patient(list(patients), k, seed)
    errors, held_out = np.zeros(len(penalties)), np.empty((len(penalties), *labels.shape))
    for i in range(k):
        train, held = np.flatnonzero(fold != i), np.flatnonzero(fold == i)
        held_out[:, held] = predicted = _predict(grams, weigh, both, n, train, held, penalties)
        errors += np.abs(decode(predicted) - truth[held]).sum(axis=(1, 2))
    errors /= truth.size
    best = np.argmin(errors)
    penalty, chosen, error = float(penalties[best]), held_out[best], float(errors[best])
    if own:
        best = np.abs(held_out - labels).mean(axis=1).argmin(axis=0)  # (k,)
        chosen = np.take_along_axis(held_out, best[None, None], axis=0)[0]
        error = float(np.abs(decode(chosen) - truth).mean())
        constant = np.flatnonzero(np.isinf(penalties))
        if len(constant) and errors[constant[0]] < error:
            best[:] = constant[0]
            chosen, error = held_out[constant[0]], float(errors[constant[0]])
        penalty = penalties[best]

    means, weights, fitted = [], [], np.zeros_like(labels)
    centre = _centring(n, len(both), np.arange(n))
    for (x, y), gram, weight in zip(features, grams, weigh, strict=True):
        dual, scale = _dual(centre @ gram @ centre.T, centre @ both, penalty)
        if own:  # of each label, the weights under its own penalty
            dual = np.stack([dual[j, :, j] for j in range(len(dual))], axis=1)
        of_rows = weight * (centre.T @ dual / scale)
        fitted += centre[:n] @ (gram @ of_rows) / len(grams)
        means.append(x.mean(axis=0))
        parts = [(part.T @ of_rows).astype(np.float32) for part in _parts(x, y)]
        weights.append(np.concatenate(parts))
    level = labels.mean(axis=0)
    return Ridge(level, means, weights, penalty, errors, chosen, error, level + fitted)


def bytes_needed(n: int, widths: Sequence[int], k: int) -> int:
    """Return the memory that :func:`fit` takes at its peak, features as float32 included.

    For ``n`` eyes and as many mirrored copies, blocks of ``widths`` features, and ``k`` labels.
    """
    rows = 2 * n
    features, weights = 4 * rows * sum(widths), 4 * (k + 1) * sum(widths)
    square = 8 * rows**2  # one Gram matrix
    solving = MATRICES * square + 8 * rows * k * len(OWN)
    reading = square + 2 * 8 * rows * min(COLUMNS, max(widths))
    return features + weights + len(widths) * square + max(solving, reading)


def _parts(x: np.ndarray, y: np.ndarray) -> Iterator[np.ndarray]:
    """Yield some columns of originals and mirrored copies, one below the other, as float64."""
    for start in range(0, x.shape[1], COLUMNS):
        columns = slice(start, start + COLUMNS)
        yield np.concatenate([x[:, columns], y[:, columns]], dtype=float)


def _gram(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the inner products between all rows, originals first."""
    gram = np.zeros((len(x) + len(y),) * 2)
    for part in _parts(x, y):
        gram += part @ part.T
    return gram


def _centring(n: int, total: int, train: np.ndarray) -> np.ndarray:
    """Return the matrix that takes all rows to the training rows less the mean of their kind.

    Rows 0 to n - 1 are originals, the rest (if any) their mirrored copies in the same order.
    """
    kinds = [train, train + n] if total > n else [train]
    return np.concatenate([_less_mean(kind, kind, total) for kind in kinds])


def _less_mean(rows: np.ndarray, train: np.ndarray, total: int) -> np.ndarray:
    """Return the matrix that takes all rows to some of them, less the mean of the training rows."""
    matrix = np.zeros((len(rows), total))
    matrix[np.arange(len(rows)), rows] = 1
    matrix[:, train] -= 1 / len(train)
    return matrix


def _dual(
    gram: np.ndarray, labels: np.ndarray, penalty: float | np.ndarray
) -> tuple[np.ndarray, float]:
    """Return the dual weights (…, rows, k) for each penalty, and the gram's mean diagonal."""
    scale = np.trace(gram) / len(gram) or 1.0  # 0: features that are the same for every eye
    values, vectors = np.linalg.eigh(gram / scale)
    shrunk = 1 / (np.maximum(values, 0) + np.asarray(penalty)[..., None])
    return vectors @ (shrunk[..., None] * (vectors.T @ labels)), scale


def _predict(
    grams: Sequence[np.ndarray],
    weigh: Sequence[float],
    labels: np.ndarray,
    n: int,
    train: np.ndarray,
    held: np.ndarray,
    penalties: np.ndarray,
) -> np.ndarray:
    """Return the held-out eyes' labels (penalties, held, k) from training on the others."""
    centre = _centring(n, len(labels), train)
    shifted = _less_mean(held, train, len(labels))
    total = np.zeros((len(penalties), len(held), labels.shape[1]))
    for gram, weight in zip(grams, weigh, strict=True):
        dual, scale = _dual(centre @ gram @ centre.T, centre @ labels, penalties)
        total += weight * ((shifted @ gram @ centre.T / scale) @ dual)
    return labels[train].mean(axis=0) + total / len(grams)
