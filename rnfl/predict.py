"""Model and images to profiles and the predictions table."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from rnfl import batches, schema
from rnfl.batches import Batches
from rnfl.devices import autocast
from rnfl.prepare import Prepared

BATCH_SIZE = 256


def predict(model: nn.Module, data: Batches, precision: str = "fp32") -> Tensor:
    """Predict profiles (N, 360) in µm of all images, in their order, in evaluation mode."""
    was_training = model.training
    model.eval()
    with torch.inference_mode(), autocast(data.device, precision):
        profiles = torch.cat([model(images) for images, _ in data.in_order(BATCH_SIZE)])
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
    """Predict rows of a prepared dataset and return them as a predictions table.

    Raises
    ------
    FloatingPointError
        If a prediction is not finite.
    """
    data = batches.load(prepared, rows, model.backbone.spec.input_size, device)
    prediction = predict(model, data, precision).cpu().numpy()
    samples = prepared.samples.iloc[rows]
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
