"""What a finished run predicts of its test images when these are turned about the disc."""

from pathlib import Path

import numpy as np
import pandas as pd

from rnfl import datasets
from rnfl.core import schema
from rnfl.datasets.prepared import Prepared
from rnfl.runs import results
from rnfl.runs.results import RunResult
from rnfl.storage import locks, provenance

TURNS = (-20, -10, 0, 10, 20)  # degrees, positive as θ grows (ours)
EYES = 200  # of the test eyes, the first ones: enough for ±0.03 of the response (ours)


def turned_predictions(result: RunResult) -> pd.DataFrame:
    """Predict test images turned by each of :data:`TURNS`; a file in the run's folder keeps it.

    Returns
    -------
    DataFrame
        A predictions table of the first :data:`EYES` test eyes with a column ``turn`` (degrees):
        a row per run, eye and turn. Targets are not turned. At 0° too the corners are filled
        (:func:`rnfl.imaging.pixels.turn`).
    """
    prepared = results.divided(datasets.load(result.config.dataset), result.config.split)
    path = result.folder / f"turned-{prepared.name}-{prepared.hash[:10]}.parquet"
    if not path.exists():
        with locks.locked(results.partial_folder(result.run_id)):
            if not path.exists():
                _predict(result, prepared, path)
    return pd.read_parquet(path)


def _predict(result: RunResult, prepared: Prepared, path: Path) -> None:
    import torch

    from rnfl.imaging.pixels import turn
    from rnfl.runs import restore
    from rnfl.training import batches, devices, predict

    locks.clear_aside(path)
    device = devices.choose_device()
    model = restore.load_model(result).to(device)
    asked = "fp32" if result.config.protocol.solver == "ridge" else result.config.precision
    precision = devices.resolve_precision(asked, device, model.backbone.embed_dim)
    rows = prepared.subset("test")[:EYES]
    samples, target = prepared.samples.iloc[rows], np.asarray(prepared.profiles)[rows]
    tables = []
    for degrees in TURNS:
        images = np.stack([turn(np.asarray(prepared.images[row]), degrees) for row in rows])
        images = batches.at_size(images, model.backbone.spec.input_size)
        stack = batches.channels_first(images).to(device)
        data = batches.Batches(stack, torch.from_numpy(target.astype(np.float32)), device)
        prediction = predict.predict(model, data, precision).cpu().numpy()
        ids = samples["eye_id"].tolist(), samples["patient_id"].tolist()
        table = schema.predictions_frame(result.run_id, *ids, prediction, target)
        tables.append(table.assign(turn=degrees))
    provenance.write_parquet(path, pd.concat(tables, ignore_index=True))
