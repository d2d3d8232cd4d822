"""Run experiments: a configuration in, a finished folder out, computed at most once.

A finished run returns at once, without importing torch; an interrupted one resumes; two processes
that ask for the same run share the work, the second waiting for the first.
"""

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from rnfl import provenance, reference, runs, schema
from rnfl.brackets import oracle_predictions, rows_of, template_predictions
from rnfl.paths import runs_root
from rnfl.prepare import Prepared
from rnfl.run_tables import histories_of, predictions_of, runs_table
from rnfl.runs import RunConfig, RunResult
from rnfl.versions import code_version

if TYPE_CHECKING:
    import torch
    from torch import nn

    from rnfl.fitting import Fitted

__all__ = [
    "RunConfig",
    "RunResult",
    "histories_of",
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
        If the dataset, backbone or protocol is unknown, the dataset is absent or has nothing to
        learn from, or ``start`` has another backbone or has seen eyes to be tested on.
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
    from rnfl import batches, fitting, predict, readout

    batches.check_augmentation(config.augment)
    partial, folder = runs.partial_folder(run_id), runs_root() / run_id
    prepared = runs.divided(prepared, config.split)
    rows = batches.rows_by_split(prepared, () if config.split == "all" else ("test",))
    if config.protocol.solver == "ridge":
        rows = readout.learning_rows(prepared, rows)
        fitted = fitting.solve(config, prepared, rows)
        prepared = _without_validation(prepared)
    else:
        fitted = fitting.train(config, prepared, rows, partial, report)
    device = next(fitted.model.parameters()).device
    table = predict.predictions_table(
        fitted.model, prepared, rows["test"], run_id, device, fitted.precision
    )
    outcome = {
        "val_target": fitted.target,
        **predict.mean_error(table, prepared, rows["test"]),
        **{f"n_{split}": len(rows[split]) for split in schema.SPLITS},
        "n_unlabelled": len(prepared) - sum(map(len, rows.values())),
    }
    _publish(folder, run_id, config, prepared, fitted, table, outcome)
    shutil.rmtree(partial)
    return RunResult(folder, run_id, config)


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
    from safetensors.torch import save as serialise

    from rnfl.devices import describe

    model, progress = fitted.model, fitted.progress
    history = pd.DataFrame(progress.history)
    history.insert(0, "run_id", run_id)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    summary = {
        "best_epoch": progress.best_row["epoch"],
        "best_val_mae": progress.best_row["val_mae"],
        "n_epochs": len(history),
        "stopped_early": len(history) < config.epochs,
        **outcome,
        "n_parameters": sum(p.numel() for p in model.parameters()),
        "n_trainable": trainable,
        "seconds": round(progress.seconds, 1),
    }
    device = next(model.parameters()).device
    record = provenance.record(
        describe(device),
        {"dataset": prepared.manifest["hash"], "code": code_version(config.protocol.solver)},
    )
    record |= {"precision": fitted.precision, "backbone_weights": _weights_said(model)}
    with provenance.publish_folder(folder) as aside:
        provenance.write_json(aside / "config.json", config.resolve(prepared))
        provenance.write_json(aside / "provenance.json", record)
        provenance.write_csv(aside / "history.csv", schema.validate(history, "history"))
        provenance.write_parquet(aside / "predictions.parquet", predictions)
        weights = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
        (aside / "model.safetensors").write_bytes(serialise(weights))
        provenance.write_json(aside / "training_set.json", reference.facts(prepared))
        if len(band := reference.training_band(prepared)):
            provenance.write_csv(aside / "reference.csv", band)
        provenance.write_json(aside / "summary.json", summary)


def _weights_said(model: "nn.Module") -> list[str]:
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
        from rnfl import devices, models, predict

        device = device or devices.choose_device()
        model = models.load(result).to(device)
        asked = "fp32" if result.config.protocol.solver == "ridge" else result.config.precision
        precision = devices.resolve_precision(asked, device, model.backbone.embed_dim)
        table = predict.predictions_table(
            model, prepared, rows_of(prepared, split), result.run_id, device, precision
        )
        provenance.write_parquet(path, table)
    return schema.validate(pd.read_parquet(path), "predictions", str(path))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of an unfinished run; the system frees it when the process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f"{folder.name}.lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
