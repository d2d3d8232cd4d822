"""Run experiments: a configuration in, a finished folder out, computed at most once.

A finished run returns at once, without importing torch; an interrupted one resumes; of processes
that ask for the same run one computes it, and the others wait, are told for whom, and take over
should it die.
"""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from rnfl import datasets
from rnfl.core import schema
from rnfl.datasets import normative
from rnfl.datasets.prepared import Prepared, unchanged
from rnfl.runs import address, results
from rnfl.runs.results import RunResult
from rnfl.runs.template_oracle import rows_of
from rnfl.storage import errors, locks, provenance
from rnfl.storage.paths import runs_root
from rnfl.training.config import RunConfig

if TYPE_CHECKING:
    import torch

    from rnfl.runs.fit import Fitted


def run(config: RunConfig, report: Callable[[dict], None] | None = None) -> RunResult:
    """Train, predict the test split and publish the run, or return it if that is done.

    Parameters
    ----------
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
        If the dataset, backbone or protocol is unknown, the dataset is absent or has nothing to
        learn from, or ``start`` has another backbone or has seen eyes to be tested on. Also if the
        dataset is deleted or replaced during the run; checkpoints are kept.
    FloatingPointError
        If training diverged; its checkpoints are kept.
    OSError
        If something cannot be written, such as on a full disk; what is written so far is kept.
    KeyboardInterrupt, SystemExit
        If SIGINT or SIGTERM came; a checkpoint is written before.
    """
    prepared = datasets.load(config.dataset)
    run_id = address.run_id(config, prepared.hash)
    if results.finished(run_id, config) is None:
        _compute_once(config, prepared, run_id, report)
    locks.remove_remains(results.partial_folder(run_id))
    result = results.finished(run_id, config)
    for dataset in config.eval_on:
        predict_with(result, dataset)
    return result


def _compute_once(
    config: RunConfig, prepared: Prepared, run_id: str, report: Callable[[dict], None] | None
) -> None:
    """Compute a run under its lock; of processes that train together, the first one holds it."""
    from rnfl.training import distributed

    if distributed.is_first():
        alone = distributed.size() == 1  # else the others are waiting for this process
        with locks.locked(results.partial_folder(run_id), waiting=alone):
            unfinished = results.finished(run_id, config) is None
            if distributed.agreed(unfinished):
                _compute(config, prepared, run_id, report)
    elif distributed.agreed(None):
        _compute(config, prepared, run_id, report)
    distributed.wait()


def _compute(
    config: RunConfig, prepared: Prepared, run_id: str, report: Callable[[dict], None] | None
) -> None:
    from rnfl.training import distributed

    partial, folder = results.partial_folder(run_id), runs_root() / run_id
    locks.clear_aside(folder)
    with unchanged(prepared, f"what is trained so far is kept in {partial}"):
        prepared, fitted, table, outcome = _learn(config, prepared, run_id, report)
    if not distributed.is_first():
        return
    try:
        _publish(folder, run_id, config, prepared, fitted, table, outcome)
    except OSError as error:
        kept = f"training is over and is kept in {partial}"
        if config.protocol.solver == "ridge":
            kept = "a readout has no checkpoint and is solved again"
        raise errors.unwritten(f"run {run_id}", folder.parent, error, kept) from error
    shutil.rmtree(partial)


def _learn(
    config: RunConfig, prepared: Prepared, run_id: str, report: Callable[[dict], None] | None
) -> tuple[Prepared, "Fitted", pd.DataFrame, dict]:
    """Fit a model and predict; return the divided dataset, the model, its predictions, errors."""
    from rnfl.runs import fit
    from rnfl.training import batches, predict, readout

    prepared = results.divided(prepared, config.split)
    rows = batches.rows_by_split(prepared, () if config.split == "all" else ("test",))
    if config.protocol.solver == "ridge":
        rows = readout.learning_rows(prepared, rows)
        fitted = fit.by_ridge(config, prepared, rows)
        prepared = _without_validation(prepared)
    else:
        fitted = fit.by_gradient(config, prepared, rows, results.partial_folder(run_id), report)
    device = next(fitted.model.parameters()).device
    table = predict.predictions_table(
        fitted.model, prepared, rows["test"], run_id, device, fitted.precision
    )
    outcome = {
        "val_target": fitted.target,
        **predict.reported_error(table, prepared, rows["test"]),
        **{f"n_{split}": len(rows[split]) for split in schema.SPLITS},
        "n_unlabelled": len(prepared) - sum(map(len, rows.values())),
    }
    return prepared, fitted, table, outcome


def _without_validation(prepared: Prepared) -> Prepared:
    """Return a dataset whose validation eyes are training eyes, as a readout takes them."""
    split = prepared.samples["split"].replace("val", "train")
    return replace(prepared, samples=prepared.samples.assign(split=split))


def _publish(
    folder: Path,
    run_id: str,
    config: RunConfig,
    prepared: Prepared,
    fitted: "Fitted",
    predictions: pd.DataFrame,
    outcome: dict,
) -> None:
    """Write a finished run, with its division of the dataset; it appears whole, or not at all."""
    from safetensors.torch import save as serialise

    from rnfl.training.devices import describe

    model, progress = fitted.model, fitted.progress
    history = pd.DataFrame(progress.history)
    history.insert(0, "run_id", run_id)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    summary = {
        "best_epoch": progress.best_row["epoch"],
        "best_val_mae": progress.best_row["val_mae"],
        "n_epochs": len(history),
        "stopped_early": config.protocol.solver == "gradient" and len(history) < config.epochs,
        **outcome,
        "n_parameters": sum(p.numel() for p in model.parameters()),
        "n_trainable": trainable,
        "micro_batch": progress.micro_batch or None,
        "seconds": round(progress.seconds, 1),
    }
    device = next(model.parameters()).device
    inputs = {"dataset": prepared.hash, "code": provenance.code_hash()}
    record = provenance.record(describe(device), inputs) | {
        "precision": fitted.precision,
        "precision_decision": progress.precision,
        "backbone_weights": _weights_said(model),
    }
    with provenance.publish_folder(folder) as aside:
        provenance.write_json(aside / "config.json", address.resolved(config, prepared.hash))
        provenance.write_json(aside / "provenance.json", record)
        provenance.write_csv(aside / "history.csv", schema.validate(history, "history"))
        provenance.write_parquet(aside / "predictions.parquet", predictions)
        weights = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
        (aside / "model.safetensors").write_bytes(serialise(weights))
        provenance.write_json(aside / "training_set.json", normative.facts(prepared))
        if len(band := normative.training_band(prepared)):
            provenance.write_csv(aside / "reference.csv", band)
        provenance.write_json(aside / "summary.json", summary)


def _weights_said(model: "torch.nn.Module") -> list[str]:
    """Return what became of the keys of the backbones' published files, in words."""
    read = getattr(model, "backbones", [model.backbone])
    reports = [backbone.report for backbone in read if backbone.report is not None]
    return [line for report in reports for line in report.text.splitlines()]


def predict_with(
    result: RunResult,
    dataset: str,
    split: str | None = "test",
    device: "torch.device | None" = None,
) -> pd.DataFrame:
    """Predict another dataset with a trained model; a file in the run's folder keeps the answer.

    Parameters
    ----------
    dataset : str
        Prepared dataset of any modality.
    split : {'train', 'val', 'test', None}
        None predicts all images.

    Returns
    -------
    DataFrame
        Predictions; targets are NaN where the dataset has no profiles.
    """
    prepared = datasets.load(dataset)
    name = f"predictions-{prepared.name}-{split or 'all'}-{prepared.manifest['hash'][:10]}.parquet"
    path = result.folder / name
    if not path.exists():
        with locks.locked(results.partial_folder(result.run_id)):
            if not path.exists():
                _predict(result, prepared, split, device, path)
    return schema.validate(pd.read_parquet(path), "predictions", str(path))


def _predict(
    result: RunResult,
    prepared: Prepared,
    split: str | None,
    device: "torch.device | None",
    path: Path,
) -> None:
    from rnfl.runs import restore
    from rnfl.training import devices, predict

    locks.clear_aside(path)
    device = device or devices.choose_device()
    model = restore.load_model(result).to(device)
    asked = "fp32" if result.config.protocol.solver == "ridge" else result.config.precision
    precision = devices.resolve_precision(asked, device, model.backbone.embed_dim)
    rows = rows_of(prepared, split)
    table = predict.predictions_table(model, prepared, rows, result.run_id, device, precision)
    try:
        provenance.write_parquet(path, table)
    except OSError as error:
        kept = f"the run itself is whole in {result.folder}"
        raise errors.unwritten(path.name, path.parent, error, kept) from error
