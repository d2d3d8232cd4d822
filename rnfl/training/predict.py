"""Model and images to profiles or masks, and the predictions table."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from rnfl.core import masks, metrics, schema
from rnfl.core.geometry import N_ANGLES, QUADRANTS, quadrant_means
from rnfl.datasets.prepared import Prepared
from rnfl.training import batches
from rnfl.training.batches import Batches
from rnfl.training.devices import autocast
from rnfl.training.memory import halve_until_it_fits

BATCH_SIZE = 256


def predict(model: nn.Module, data: Batches, precision: str = "fp32") -> Tensor:
    """Predict profiles (N, 360) in µm of all images, in their order, in evaluation mode.

    Of a segmenter they are masks uint8 (N, 112, 112), 255 where its output is not finite. Where
    memory runs out, fewer images are computed at once.
    """
    was_training = model.training
    model.eval()

    def at_most(size: int) -> Tensor:
        with torch.inference_mode(), autocast(data.device, precision):
            return torch.cat([_decided(model(images)) for images, *_ in data.in_order(size)])

    at_once = max(1, BATCH_SIZE // getattr(model, "n_fields", 1))  # a field is an image of its own
    profiles, _ = halve_until_it_fits(at_most, at_once, len(data), lambda *sizes: None)
    model.train(was_training)
    return profiles


def _decided(output: Tensor) -> Tensor:
    """Return profiles as they are; of logits (B, 3, S, S) the likeliest class of each pixel."""
    if output.ndim < 4:
        return output
    likeliest = output.argmax(1).to(torch.uint8)
    return likeliest.masked_fill_(~output.isfinite().all(1), masks.UNKNOWN)


def is_whole(prediction: np.ndarray) -> bool:
    """Whether every profile, or mask, that was predicted is finite."""
    known = masks.known(prediction) if prediction.ndim == 3 else np.isfinite(prediction)
    return bool(known.all())


def predictions_table(
    model: nn.Module,
    prepared: Prepared,
    rows: np.ndarray,
    run_id: str,
    device: torch.device,
    precision: str = "fp32",
) -> pd.DataFrame:
    """Predict rows of a prepared dataset, none or more, and return them as a predictions table.

    A prediction that is not finite is a FloatingPointError.
    """
    samples, prediction = prepared.samples.iloc[rows], np.empty((0, N_ANGLES))
    if len(rows):
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


def mean_error(prediction: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean absolute error over valid labels, µm, as the training loss has it.

    Each measured angle or quadrant counts once, so an eye counts by what was measured of it.
    Published errors give eyes the same weight instead (:mod:`rnfl.core.metrics`).

    Parameters
    ----------
    prediction : ndarray (n, 360), µm
        Or masks (n, 112, 112), whose error is 1 - mean Dice.
    labels : ndarray (n, 360) or (n, 4), µm, NaN where missing
        Profiles, or quadrant means S, N, I, T; or masks.
    """
    if labels.ndim == 3:
        return masks.dice_error(prediction, labels)
    if labels.shape[1] == len(QUADRANTS):
        errors, axis = metrics.quadrant_mae(quadrant_means(prediction), labels), 0
    else:
        errors, axis = metrics.mae_per_eye(prediction, labels), 1
    measured = np.isfinite(labels).mean(axis=axis)
    return float(np.average(np.nan_to_num(errors), weights=measured)) if measured.any() else np.nan


def reported_error(table: pd.DataFrame, prepared: Prepared, rows: np.ndarray) -> dict:
    """Return ``test_mae`` (µm) of a predictions table of ``rows`` and its ``target``.

    The target is 'profile', or 'quadrants' where no eye has a profile: then the error is the mean
    of the four quadrants' errors. Both are None where there is nothing to compare with.
    """
    prediction, profiles = (schema.matrix(table, name) for name in ("prediction", "target"))
    if np.isfinite(profiles).any():
        return {"target": "profile", "test_mae": metrics.mae(prediction, profiles)}
    quadrants = batches.measured_quadrants(prepared, rows)
    if quadrants is None:
        return {"target": None, "test_mae": None}
    errors = metrics.quadrant_mae(quadrant_means(prediction), quadrants)
    return {"target": "quadrants", "test_mae": float(np.nanmean(errors))}
