"""Model and images to profiles and the predictions table."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from rnfl.core import metrics, schema
from rnfl.core.geometry import N_ANGLES, quadrant_means
from rnfl.datasets.prepared import Prepared
from rnfl.training import batches
from rnfl.training.batches import Batches
from rnfl.training.devices import autocast
from rnfl.training.memory import halve_until_it_fits

BATCH_SIZE = 256


def predict(model: nn.Module, data: Batches, precision: str = "fp32") -> Tensor:
    """Predict profiles (N, 360) in µm of all images, in their order, in evaluation mode.

    Where memory runs out, fewer images are computed at once.
    """
    was_training = model.training
    model.eval()

    def at_most(size: int) -> Tensor:
        with torch.inference_mode(), autocast(data.device, precision):
            return torch.cat([model(images) for images, *_ in data.in_order(size)])

    profiles, _ = halve_until_it_fits(at_most, BATCH_SIZE, len(data), lambda *sizes: None)
    model.train(was_training)
    return profiles


def predictions_table(
    model: nn.Module,
    prepared: Prepared,
    rows: np.ndarray,
    run_id: str,
    device: torch.device,
    precision: str = "fp32",
) -> pd.DataFrame:
    """Predict rows of a prepared dataset, none or more, and return them as a predictions table.

    Raises
    ------
    FloatingPointError
        If a prediction is not finite.
    """
    samples = prepared.samples.iloc[rows]
    if not len(rows):
        nothing = np.empty((0, N_ANGLES))
        return schema.predictions_frame(run_id, [], [], nothing, nothing)
    data = batches.load(prepared, rows, model.backbone.spec.input_size, device)
    prediction = predict(model, data, precision).cpu().numpy()
    if not np.isfinite(prediction).all():
        bad = samples["eye_id"][~np.isfinite(prediction).all(axis=1)].tolist()
        raise FloatingPointError(
            f"run {run_id}: predictions of {len(bad)} eyes of {prepared.name} are not finite, "
            f"first {bad[:5]}"
        )
    target = np.asarray(prepared.profiles)[rows]
    return schema.predictions_frame(
        run_id, samples["eye_id"].tolist(), samples["patient_id"].tolist(), prediction, target
    )


def mean_quadrant_mae(prediction: np.ndarray, quadrants: np.ndarray) -> float:
    """Return the mean of the four quadrants' errors, µm; quadrants nobody measured do not count.

    Parameters
    ----------
    prediction : ndarray (n, 360), µm
        Predicted profiles.
    quadrants : ndarray (n, 4), µm, NaN where missing
        Measured means of S, N, I, T.
    """
    errors = metrics.quadrant_mae(quadrant_means(prediction), quadrants)
    return float(np.nanmean(errors)) if np.isfinite(errors).any() else np.nan


def mean_error(table: pd.DataFrame, prepared: Prepared, rows: np.ndarray) -> dict:
    """Return ``test_mae`` (µm) of a predictions table of ``rows`` and its ``target``.

    The target is 'profile', or 'quadrants' where no eye has a profile; both are None where there is
    nothing to compare with.
    """
    prediction, profiles = (schema.matrix(table, name) for name in ("prediction", "target"))
    if np.isfinite(profiles).any():
        return {"target": "profile", "test_mae": metrics.mae(prediction, profiles)}
    quadrants = batches.measured_quadrants(prepared, rows)
    if quadrants is None:
        return {"target": None, "test_mae": None}
    return {"target": "quadrants", "test_mae": mean_quadrant_mae(prediction, quadrants)}
