"""What finished runs predict of other images, and what brackets them: template and truth.

A run's prediction is computed once; a file in the run's folder keeps it, and ``kept.json`` there
its SHA-256.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from rnfl import datasets
from rnfl.core import metrics, schema
from rnfl.datasets.prepared import Prepared
from rnfl.runs import results
from rnfl.runs.results import RunResult
from rnfl.storage import errors, locks, provenance
from rnfl.storage.readers import read_parquet

KEPT = "kept.json"
TURNS = (-20, -10, 0, 10, 20)  # degrees, positive as θ grows (ours)
EYES = 200  # of the test eyes, the first ones: enough for ±0.03 of the response (ours)


def predict_with(result: RunResult, dataset: str, split: str | None = "test") -> pd.DataFrame:
    """Return what a trained model predicts of a prepared dataset of any modality.

    Parameters
    ----------
    split : {'train', 'val', 'test', None}
        None predicts all images.

    Returns
    -------
    DataFrame
        Predictions; targets are NaN where the dataset has no profiles.
    """
    result.expect("profile", "measure its masks with rnfl.segment_with")
    prepared = datasets.load(dataset)

    def compute(model, device, precision):
        from rnfl.training import predict

        rows = _rows(prepared, split)
        return predict.predictions_table(model, prepared, rows, result.run_id, device, precision)

    name = f"predictions-{prepared.name}-{split or 'all'}-{prepared.hash[:10]}.parquet"
    path = kept(result, name, compute)
    return schema.validate(read_parquet(path), "predictions", str(path))


def segment_with(result: RunResult, dataset: str, split: str | None = "test") -> pd.DataFrame:
    """Return how well a run's masks of disc and cup agree with those of a prepared dataset.

    Parameters
    ----------
    split : {'train', 'val', 'test', None}
        None takes all images.

    Returns
    -------
    DataFrame
        A segmentation table, see :func:`rnfl.training.segmentation.table`.

    Raises
    ------
    ValueError
        If the run predicts profiles, or the dataset has no masks to compare with.
    """
    result.expect("masks", "predict profiles with rnfl.predict_with")
    prepared = datasets.load(dataset)
    if prepared.masks is None:
        raise ValueError(
            f"dataset {dataset!r} has no masks to compare with; predicted ones are returned by "
            "rnfl.runs.predictions.predicted_masks"
        )

    def compute(model, device, precision):
        from rnfl.training import segmentation

        rows = _rows(prepared, split)
        found = segmentation.predicted(model, prepared, rows, device, precision)
        return segmentation.table(found, prepared, rows, result.run_id)

    name = f"segmentation-{prepared.name}-{split or 'all'}-{prepared.hash[:10]}.parquet"
    path = kept(result, name, compute)
    return schema.validate(read_parquet(path), "segmentation", str(path))


def predicted_masks(result: RunResult, dataset: str, rows: np.ndarray) -> np.ndarray:
    """Return the masks that a run predicts of rows of a prepared dataset, uint8 (n, 112, 112).

    The dataset may have no masks of its own; 0 is background, 1 rim, 2 cup. A ValueError says where
    the run predicts profiles.
    """
    result.expect("masks", "predict profiles with rnfl.predict_with")
    from rnfl.training import segmentation

    model, *how = _ready(result)
    return segmentation.predicted(model, datasets.load(dataset), np.asarray(rows), *how)


def turned_predictions(result: RunResult) -> pd.DataFrame:
    """Return what a run predicts of test images turned about the disc by each of :data:`TURNS`.

    Returns
    -------
    DataFrame
        A predictions table of the first :data:`EYES` test eyes with a column ``turn`` (degrees):
        a row per run, eye and turn. Targets are not turned. At 0° too the corners are filled
        (:func:`rnfl.imaging.pixels.turn`).
    """
    result.expect("profile", "masks have no response to turning here")
    prepared = results.divided(datasets.load(result.config.dataset), result.config.split)

    def compute(model, device, precision):
        import torch

        from rnfl.imaging.pixels import turn
        from rnfl.training import batches, predict

        rows = prepared.subset("test")[:EYES]
        target = np.asarray(prepared.profiles)[rows]
        tables = []
        for degrees in TURNS:
            images = np.stack([turn(np.asarray(prepared.images[row]), degrees) for row in rows])
            images = batches.at_size(images, model.backbone.spec.input_size)
            stack = batches.channels_first(images).to(device)
            data = batches.Batches(stack, torch.from_numpy(target.astype(np.float32)), device)
            prediction = predict.predict(model, data, precision).cpu().numpy()
            table = schema.predictions_frame(
                result.run_id, *_whose(prepared, rows), prediction, target
            )
            tables.append(table.assign(turn=degrees))
        return pd.concat(tables, ignore_index=True)

    name = f"turned-{prepared.name}-{prepared.hash[:10]}.parquet"
    return read_parquet(kept(result, name, compute))


def template_predictions(dataset: str, split: str | None = "test") -> pd.DataFrame:
    """Baseline 'template': the training split's mean profile, predicted for every eye."""
    prepared = datasets.load(dataset)
    rows = _rows(prepared, split)
    learnt = prepared.profiles[prepared.subset("train")]
    return _baseline("template", prepared, rows, metrics.template_predictions(learnt, len(rows)))


def oracle_predictions(dataset: str, split: str | None = "test") -> pd.DataFrame:
    """Label-noise floor 'oracle': the phantom's profile before measurement noise.

    Raises
    ------
    ValueError
        If the dataset does not know the truth.
    """
    prepared = datasets.load(dataset)
    if prepared.profiles_true is None:
        raise ValueError(f"dataset {dataset!r} has no noise-free profiles: only phantoms have")
    rows = _rows(prepared, split)
    return _baseline("oracle", prepared, rows, prepared.profiles_true[rows])


def _baseline(name: str, prepared: Prepared, rows: np.ndarray, profiles) -> pd.DataFrame:
    whose, target = _whose(prepared, rows), prepared.profiles[rows]
    return schema.predictions_frame(name, *whose, profiles, target)


def _rows(prepared: Prepared, split: str | None) -> np.ndarray:
    return np.arange(len(prepared)) if split is None else prepared.subset(split)


def _whose(prepared: Prepared, rows: np.ndarray) -> tuple[list[str], list[str]]:
    samples = prepared.samples.iloc[rows]
    return samples["eye_id"].tolist(), samples["patient_id"].tolist()


def kept(result: RunResult, name: str, compute: Callable[..., pd.DataFrame]) -> Path:
    """Return a file in a run's folder, written once: what ``compute`` makes of the run's model."""
    path, record = result.folder / name, result.folder / KEPT
    if path.exists():
        remedy = f"delete {path} and {KEPT} beside it, and ask again: it is predicted again"
        expected = results.hashes_in(record, remedy).get(name)
        provenance.refuse_damaged(path, expected, remedy)
        return path
    with locks.locked(results.partial_folder(result.run_id)):
        if path.exists():  # by whom this process waited for
            return path
        table = compute(*_ready(result))
        whole = f"the run itself is whole in {result.folder}"
        with errors.writing(path.name, path.parent, whole):
            provenance.write_parquet(path, table)
            hashes = results.hashes_in(record, f"delete {record}")
            hashes[name] = provenance.sha256_file(path)
            provenance.write_json(record, provenance.sealed(hashes))
    return path


def _ready(result: RunResult) -> tuple:
    """Return a run's model, the device it is on, and the precision to predict in."""
    from rnfl.models.readout import Readout
    from rnfl.runs import restore
    from rnfl.training import devices

    device = devices.choose_device()
    model = restore.load_model(result).to(device)
    asked = "fp32" if isinstance(model, Readout) else result.config.precision
    return model, device, devices.resolve_precision(asked, device, model.backbone.embed_dim)
