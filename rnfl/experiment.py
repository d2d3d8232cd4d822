"""Run experiments: a configuration in, a finished folder out, computed at most once.

A finished run returns at once, without importing torch; an interrupted one resumes; two processes
that ask for the same run share the work, the second waiting for the first.
"""

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rnfl import metrics, provenance, runs, schema
from rnfl.paths import runs_root
from rnfl.prepare import Prepared
from rnfl.runs import RunConfig, RunResult, histories_of, predictions_of, runs_table

if TYPE_CHECKING:
    import torch

    from rnfl.model import RNFLRegressor
    from rnfl.train import Progress

__all__ = [
    "RunConfig",
    "RunResult",
    "histories_of",
    "load_model",
    "oracle_predictions",
    "predict_with",
    "predictions_of",
    "run",
    "runs_table",
    "template_predictions",
]


def run(config: RunConfig, report: Callable[[dict], None] | None = None) -> RunResult:
    """Train, predict the test split and publish the run, or return it if that is done.

    Parameters
    ----------
    config : RunConfig
    report : callable, optional
        Receives the history row of each epoch, in place of a progress bar.

    Returns
    -------
    RunResult
        Folder with config.json, provenance.json, history.csv, predictions.parquet,
        model.safetensors and summary.json; it appears only when complete.

    Raises
    ------
    ValueError
        If the dataset, backbone or protocol is unknown or the dataset is absent.
    FloatingPointError
        If training diverged; its checkpoints are kept.
    """
    prepared = runs.open_dataset(config.dataset)
    result = runs.find(config, prepared)
    if result is None:
        run_id = config.run_id(prepared)
        with _locked(runs.partial_folder(run_id)):
            result = runs.find(config, prepared) or _compute(config, prepared, run_id, report)
    for dataset in config.eval_on:
        predict_with(result, dataset)
    return result


def _compute(
    config: RunConfig, prepared: Prepared, run_id: str, report: Callable[[dict], None] | None
) -> RunResult:
    import torch

    from rnfl import batches, devices, predict, train

    device = devices.choose_device()
    batches.check_augmentation(config.augment)
    partial, folder = runs.partial_folder(run_id), runs_root() / run_id
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model = _build(config, config.pretrained).to(device)
    precision = devices.resolve_precision(config.precision, device, model.backbone.embed_dim)
    size = model.backbone.spec.input_size
    splits = {}
    for split in schema.SPLITS:
        if not len(rows := prepared.subset(split)):
            raise ValueError(f"dataset {prepared.name!r} has no {split} images")
        splits[split] = rows
    data = {s: batches.load(prepared, splits[s], size, device) for s in ("train", "val")}
    model.set_targets(data["train"].profiles)

    protocol = config.protocol
    progress = train.fit(model, data["train"], data["val"], protocol, config, partial, report)
    table = predict.predictions_table(model, prepared, splits["test"], run_id, device, precision)
    _publish(folder, run_id, config, prepared, model, progress, table, precision)
    shutil.rmtree(partial)
    return RunResult(folder, run_id, config)


def _publish(
    folder: Path,
    run_id: str,
    config: RunConfig,
    prepared: Prepared,
    model: "RNFLRegressor",
    progress: "Progress",
    predictions: pd.DataFrame,
    precision: str,
) -> None:
    from safetensors.torch import save as serialise

    from rnfl.devices import describe

    history = pd.DataFrame(progress.history)
    history.insert(0, "run_id", run_id)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    target, predicted = (schema.matrix(predictions, k) for k in ("target", "prediction"))
    summary = {
        "best_epoch": progress.best_row["epoch"],
        "best_val_mae": progress.best_row["val_mae"],
        "n_epochs": len(history),
        "stopped_early": len(history) < config.epochs,
        "test_mae": metrics.mae(predicted, target),
        "n_parameters": sum(p.numel() for p in model.parameters()),
        "n_trainable": trainable,
        "seconds": round(progress.seconds, 1),
    }
    device = next(model.parameters()).device
    record = provenance.record(
        describe(device), {"dataset": prepared.manifest["hash"], "code": runs.code_version()}
    )
    with provenance.publish_folder(folder) as aside:
        provenance.write_json(aside / "config.json", config.resolve(prepared))
        provenance.write_json(aside / "provenance.json", record | {"precision": precision})
        provenance.write_csv(aside / "history.csv", schema.validate(history, "history"))
        provenance.write_parquet(aside / "predictions.parquet", predictions)
        weights = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
        (aside / "model.safetensors").write_bytes(serialise(weights))
        provenance.write_json(aside / "summary.json", summary)


def load_model(result: RunResult) -> "RNFLRegressor":
    """Build the model of a finished run with its trained weights, in evaluation mode."""
    from safetensors.torch import load_file

    model = _build(result.config, pretrained=False)
    model.load_state_dict(load_file(result.model_path), strict=True)
    return model.eval()


def _build(config: RunConfig, pretrained: bool) -> "RNFLRegressor":
    from rnfl.backbones import build
    from rnfl.model import RNFLRegressor

    return RNFLRegressor(build(config.backbone, pretrained), config.radius_ratio)


def predict_with(
    result: RunResult,
    dataset: str,
    split: str | None = "test",
    device: "torch.device | None" = None,
) -> pd.DataFrame:
    """Predict another dataset with a trained model; a file in the run's folder keeps the answer.

    Parameters
    ----------
    result : RunResult
    dataset : str
        Prepared dataset of any modality.
    split : {'train', 'val', 'test', None}
        None predicts all images.

    Returns
    -------
    DataFrame
        Predictions; targets are NaN where the dataset has no profiles.
    """
    prepared = runs.open_dataset(dataset)
    name = f"predictions-{prepared.name}-{split or 'all'}-{prepared.manifest['hash'][:10]}.parquet"
    path = result.folder / name
    if not path.exists():
        from rnfl import devices, predict

        device = device or devices.choose_device()
        model = load_model(result).to(device)
        precision = devices.resolve_precision(
            result.config.precision, device, model.backbone.embed_dim
        )
        table = predict.predictions_table(
            model, prepared, _rows(prepared, split), result.run_id, device, precision
        )
        provenance.write_parquet(path, table)
    return schema.validate(pd.read_parquet(path), "predictions", str(path))


def template_predictions(dataset: str, split: str | None = "test") -> pd.DataFrame:
    """Baseline 'template': the training split's mean profile, predicted for every eye."""
    prepared = runs.open_dataset(dataset)
    template = metrics.template_profile(prepared.profiles[prepared.subset("train")])
    rows = _rows(prepared, split)
    return _baseline("template", prepared, rows, np.tile(template, (len(rows), 1)))


def oracle_predictions(dataset: str, split: str | None = "test") -> pd.DataFrame:
    """Floor 'oracle': the phantom's profile before measurement noise.

    Raises
    ------
    ValueError
        If the dataset does not know the truth.
    """
    prepared = runs.open_dataset(dataset)
    if prepared.profiles_true is None:
        raise ValueError(f"dataset {dataset!r} has no noise-free profiles: only phantoms have")
    rows = _rows(prepared, split)
    return _baseline("oracle", prepared, rows, prepared.profiles_true[rows])


def _baseline(name: str, prepared: Prepared, rows: np.ndarray, profiles) -> pd.DataFrame:
    samples = prepared.samples.iloc[rows]
    eyes, patients = samples["eye_id"].tolist(), samples["patient_id"].tolist()
    return schema.predictions_frame(name, eyes, patients, profiles, prepared.profiles[rows])


def _rows(prepared: Prepared, split: str | None) -> np.ndarray:
    return np.arange(len(prepared)) if split is None else prepared.subset(split)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of an unfinished run; the system frees it when the process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f"{folder.name}.lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
