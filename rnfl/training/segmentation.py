"""Masks of optic disc and cup: the loss they are learnt by, and the table of what was predicted.

The loss is cross-entropy + the mean soft Dice loss of disc and cup, which counts an eye with a
small cup as much as one with a large one (Milletari et al., 2016; together as in nnU-Net).
"""

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnfl.core import masks, schema
from rnfl.core.nanstats import mean
from rnfl.datasets.prepared import Prepared
from rnfl.training import batches, predict

MEASURES = ("dice_disc", "dice_cup", "cdr_error")


def loss(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over eyes of cross-entropy + (soft Dice loss of disc + that of cup) / 2.

    Parameters
    ----------
    logits : float Tensor (B, 3, S, S)
    target : uint8 Tensor (B, S, S)
        Whole masks: no eye without one.
    """
    share, target = logits.softmax(1), target.long()
    total = F.cross_entropy(logits, target)
    for least in (masks.RIM, masks.CUP):
        inside, truly = share[:, least:].sum(1), (target >= least).float()
        common, sizes = (inside * truly).sum((1, 2)), (inside + truly).sum((1, 2))
        # A pixel more on both sides: an eye without a cup loses nothing where none is predicted.
        total = total + (1 - (2 * common + 1) / (sizes + 1)).mean() / 2
    return total


def predicted(
    model: nn.Module,
    prepared: Prepared,
    rows: np.ndarray,
    device: torch.device,
    precision: str = "fp32",
) -> np.ndarray:
    """Return the masks that a segmenter predicts of rows of a dataset, uint8 (n, 112, 112).

    A prediction that is not finite is a FloatingPointError.
    """
    if not len(rows):
        return np.empty((0, masks.SIDE, masks.SIDE), np.uint8)
    data = batches.load(prepared, rows, model.backbone.spec.input_size, device, "masks")
    found = predict.predict(model, data, precision).cpu().numpy()
    if not predict.is_whole(found):
        bad = prepared.samples["eye_id"].iloc[rows][~masks.known(found)].tolist()
        raise FloatingPointError(
            f"masks predicted of {len(bad)} eyes of {prepared.name} are not finite, first {bad[:5]}"
        )
    return found


def table(pred: np.ndarray, prepared: Prepared, rows: np.ndarray, run_id: str) -> pd.DataFrame:
    """Return a segmentation table: how well predicted masks (n, 112, 112) agree with true ones.

    Returns
    -------
    DataFrame
        run_id, eye_id, patient_id, dice_disc, dice_cup; cdr, cdr_true and cdr_error, of the
        vertical cup-to-disc ratio. What has no truth is NaN, see :mod:`rnfl.core.masks`.
    """
    samples, true = prepared.samples.iloc[rows], batches.masks_of(prepared, rows)
    columns = {
        "run_id": [run_id] * len(rows),
        "eye_id": samples["eye_id"].tolist(),
        "patient_id": samples["patient_id"].tolist(),
        "dice_disc": masks.dice_disc(pred, true),
        "dice_cup": masks.dice_cup(pred, true),
        "cdr": masks.cup_to_disc(pred),
        "cdr_true": masks.cup_to_disc(true),
        "cdr_error": masks.cup_to_disc_error(pred, true),
    }
    return schema.validate(pd.DataFrame(columns), "segmentation", run_id)


def reported(frame: pd.DataFrame) -> dict:
    """Return what a summary says of a segmentation table: means over eyes, None without truth."""
    means = {f"test_{name}": float(mean(frame[name].to_numpy())) for name in MEASURES}
    means = {name: None if np.isnan(value) else value for name, value in means.items()}
    return {"target": "masks", **means}
