"""From a configuration to a finished folder: a model is fitted, by gradient or by solving, predicts
the test split and is published."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save as serialise
from torch import Tensor, nn

from rnfl.core import schema, splits
from rnfl.datasets import normative
from rnfl.datasets.prepared import Prepared, check_unchanged, unchanged
from rnfl.models import adapters
from rnfl.models.encoder import spec_of
from rnfl.models.readout import Readout
from rnfl.runs import address, restore, results
from rnfl.storage import errors, provenance
from rnfl.storage.paths import runs_root
from rnfl.training import (
    batches,
    devices,
    distributed,
    finetuning,
    predict,
    protocols,
    readout,
    segmentation,
)
from rnfl.training.config import RunConfig
from rnfl.training.pretraining import masking
from rnfl.training.protocols import Averaged, Masked, Matched, Protocol, Solved
from rnfl.training.state import Progress

Report = Callable[[dict], None] | None
Rows = dict[str, np.ndarray]
Fitted = tuple[nn.Module, Progress, str]  # the last names what errors were measured on


@dataclass(frozen=True)
class Learnt:
    """A model that has learnt, how it went, from which division of the dataset, and its errors."""

    model: nn.Module
    progress: Progress
    prepared: Prepared
    table: pd.DataFrame | None  # of the test split; a start has none
    outcome: dict


def compute(config: RunConfig, prepared: Prepared, run_id: str, report: Report) -> None:
    """Fit, predict and publish a run, of which this process, or the first of several, has the lock.

    Parameters and errors are those of :func:`rnfl.runs.run.run`.
    """
    unfinished, folder = results.partial_folder(run_id), runs_root() / run_id
    with unchanged(prepared, f"what is trained so far is kept in {unfinished}"):
        learnt = learn(config, prepared, run_id, report)
    if not distributed.is_first():
        return
    kept = f"training is over and is kept in {unfinished}"
    if isinstance(config.protocol, Solved):
        kept = "a readout has no checkpoint and is solved again"
    with errors.writing(f"run {run_id}", folder.parent, kept):
        _publish(folder, run_id, config, learnt)
    shutil.rmtree(unfinished)


def learn(config: RunConfig, prepared: Prepared, run_id: str, report: Report) -> Learnt:
    """Fit a model and predict the test split."""
    prepared = results.divided(prepared, config.split, config.lesson)
    if isinstance(config.protocol, Masked):
        return _by_masking(config, prepared, run_id, report)
    needed = () if config.split == "all" else ("test",)
    rows = batches.rows_by_split(prepared, needed, config.task)
    device = devices.choose_device()
    if isinstance(config.protocol, Solved):
        rows = readout.learning_rows(prepared, rows)
        model, progress, target = _by_ridge(config, prepared, rows, device)
        split = prepared.samples["split"].replace("val", "train")  # as a readout takes them
        prepared = replace(prepared, samples=prepared.samples.assign(split=split))
    elif isinstance(config.protocol, Averaged | Matched):
        model, progress, target = _untrained(config, prepared, rows, device)
    else:
        folder = results.partial_folder(run_id)
        model, progress, target = _by_gradient(config, prepared, rows, device, folder, report)
    how = device, progress.precision["precision"]
    if config.task == "masks":
        found = segmentation.predicted(model, prepared, rows["test"], *how)
        table = segmentation.table(found, prepared, rows["test"], run_id)
        reported = segmentation.reported(table)
    else:
        table = predict.predictions_table(model, prepared, rows["test"], run_id, *how)
        reported = predict.reported_error(table, prepared, rows["test"])
    left_out = int((prepared.samples["split"] == "left_out").sum())
    outcome = {
        "val_target": target,
        **reported,
        **{f"n_{split}": len(rows[split]) for split in schema.SPLITS},
        "n_unlabelled": len(prepared) - sum(map(len, rows.values())) - left_out,
        **({"n_left_out": left_out} if config.lesson != splits.EVERYTHING else {}),
    }
    return Learnt(model, progress, prepared, table, outcome)


def _by_masking(config: RunConfig, prepared: Prepared, run_id: str, report: Report) -> Learnt:
    """Let a backbone learn from pictures alone, or go on where that was interrupted."""
    if distributed.size() > 1:
        raise ValueError(f"{config.slug}: masked autoencoding is of one process, not of torchrun")
    device, folder = devices.choose_device(), results.partial_folder(run_id)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model = restore.untrained(config, prepared).to(device)
    if config.start is None:
        known = config.pretrained and spec_of(config.backbone).weights is not None
        known = known and not model.whole
    else:
        known = results.load_run(config.start).config.task != "pictures"
    progress = masking.fit(model, prepared, config, device, folder, report, known)
    counts = {f"n_{name}": len(prepared.subset(name)) for name in ("train", "val")}
    outcome = {
        "target": "pictures",
        "val_target": "pictures",
        **counts,
        "n_test": 0,
        "n_unlabelled": 0,
    }
    return Learnt(model, progress, prepared, None, outcome)


def _by_gradient(
    config: RunConfig,
    prepared: Prepared,
    rows: Rows,
    device: torch.device,
    folder: Path,
    report: Report,
) -> Fitted:
    """Train by gradient, or go on where an interrupted training stopped."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model = restore.untrained(config, prepared).to(device)
    if config.protocol.loss.align:
        _check_pairs(config, prepared, rows)
    size = model.backbone.spec.input_size
    given = size, device, config.task
    train, val = (batches.load(prepared, rows[s], *given) for s in ("train", "val"))
    if config.output_scale == "standardised":
        fresh = config.start is None or results.load_run(config.start).config.task == "pictures"
        learn_scale = model.set_targets if fresh else model.set_level
        learn_scale(train.labels)
    check = partial(check_unchanged, prepared, f"what is trained so far is kept in {folder}")
    return model, finetuning.fit(model, train, val, config, folder, report, check), val.target


def _check_pairs(config: RunConfig, prepared: Prepared, rows: Rows) -> None:
    """Refuse to align pictures that are not the two views of an eye, one behind the other."""
    views = prepared.samples.reindex(columns=["patient_id", "laterality", "view"])
    for split in ("train", "val"):
        first, second = (views.iloc[rows[split][start::2]].to_numpy() for start in (0, 1))
        same = len(first) == len(second) and (first[:, :2] == second[:, :2]).all()
        if not (same and (first[:, 2] == 1).all() and (second[:, 2] == 2).all()):
            raise ValueError(
                f"{config.slug}: a loss that aligns pictures needs two of each eye, one behind the "
                "other: make them with rnfl.adaptation.ways.translated"
            )


def _by_ridge(config: RunConfig, prepared: Prepared, rows: Rows, device: torch.device) -> Fitted:
    """Solve for a readout of frozen backbones."""
    if distributed.size() > 1:
        raise ValueError(f"{config.slug}: a readout is solved for by one process, not by torchrun")
    clock = time.monotonic()
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        read = restore.backbones(config, prepared)
    size = max(backbone.spec.input_size for backbone in read)
    data = batches.load(prepared, rows["train"], size, device)
    patients = prepared.samples["patient_id"].iloc[rows["train"]]
    model, solved = readout.fit(read, data, patients, config.seed, config.protocol)
    progress = readout.progress(model, solved, data, time.monotonic() - clock)
    return model, progress, data.target


def _untrained(config: RunConfig, prepared: Prepared, rows: Rows, device: torch.device) -> Fitted:
    """Make a model of finished ones: their average, or one of another level."""
    if distributed.size() > 1:
        raise ValueError(f"{config.slug}: nothing is trained here: start it without torchrun")
    clock = time.monotonic()
    make = restore.averaged if isinstance(config.protocol, Averaged) else restore.matched
    model = make(config, prepared).to(device)
    size, width = model.backbone.spec.input_size, model.backbone.embed_dim
    given = size, device, config.task
    train, val = (batches.load(prepared, rows[s], *given) for s in ("train", "val"))
    asked = "fp32" if isinstance(model, Readout) else config.precision
    decided = devices.decide_precision(asked, device, width)
    errors_ = [finetuning.validation_error(model, s, decided["precision"]) for s in (train, val)]
    watched = finetuning.WATCHED[config.task]
    row = {"epoch": 0, "step": 0, "train_loss": errors_[0], watched: errors_[1]}
    row |= {"lr_encoder": 0.0, "lr_head": 0.0, "seconds": time.monotonic() - clock}
    how = {"seconds": row["seconds"], "precision": decided, "watched": watched}
    progress = Progress(epoch=1, history=[row], **how)
    return model, progress, val.target


def cost(
    model: nn.Module, progress: Progress, moving: tuple[int, int], tensors: dict[str, Tensor]
) -> dict:
    """Return what a run took, for its summary.

    Returns
    -------
    dict
        n_parameters and, in the phase with most of them, n_trainable and n_trainable_backbone;
        bytes_stored; peak_bytes of a training step's memory, and whether they are 'measured' (a
        GPU) or 'estimated'; seconds_per_epoch (median, without the first where there are more) and
        seconds_to_best.
    """
    history, trained = progress.history, any(moving)
    at = [0.0, *(row["seconds"] for row in history)]
    lengths = np.diff(at)[1 if len(history) > 1 else 0 :]
    measured = next(model.parameters()).device.type == "cuda"
    return {
        "n_parameters": sum(p.numel() for p in model.parameters()),
        "n_trainable_backbone": moving[0],
        "n_trainable": moving[1],
        "bytes_stored": sum(value.nbytes for value in tensors.values()),
        "peak_bytes": progress.peak_bytes or None,
        "peak_bytes_are": ("measured" if measured else "estimated") if trained else None,
        "seconds_per_epoch": round(float(np.median(lengths)), 2) if trained else None,
        "seconds_to_best": round(progress.best_row["seconds"], 1),
        "seconds": round(progress.seconds, 1),
        "device": devices.describe(next(model.parameters()).device),
    }


def _publish(folder: Path, run_id: str, config: RunConfig, learnt: Learnt) -> None:
    """Write a finished run, with its division of the dataset; it appears whole, or not at all."""
    model, progress, prepared = learnt.model, learnt.progress, learnt.prepared
    history = pd.DataFrame(progress.history)
    history.insert(0, "run_id", run_id)
    trained = isinstance(config.protocol, Protocol | Masked)
    moving = (0, 0)
    if isinstance(config.protocol, Protocol):
        moving = protocols.n_trainable(model, config.protocol)
    elif trained:
        moving = tuple(sum(p.numel() for p in m.parameters()) for m in (model.backbone, model))
    stored = restore.to_store(model, config)
    adapters.merge(model)
    spent = cost(model, progress, moving, stored.tensors)
    summary = {
        "best_epoch": progress.best_row["epoch"],
        f"best_{progress.watched}": progress.best_row[progress.watched],
        "n_epochs": len(history),
        "stopped_early": isinstance(config.protocol, Protocol) and len(history) < config.epochs,
        **learnt.outcome,
        **spent,
        "micro_batch": progress.micro_batch or None,
    }
    said = devices.describe(next(model.parameters()).device)
    inputs = {"dataset": prepared.hash, "code": provenance.code_hash()}
    # What became of the keys of the backbones' published files, in words.
    read = getattr(model, "backbones", [model.backbone])
    reports = [backbone.report for backbone in read if backbone.report is not None]
    record = provenance.record(said, inputs) | {
        "precision": progress.precision["precision"],
        "precision_decision": progress.precision,
        "backbone_weights": [line for report in reports for line in report.text.splitlines()],
    }
    with provenance.publish_folder(folder) as aside:
        provenance.write_json(aside / "config.json", address.resolved(config, prepared.hash))
        provenance.write_json(aside / "provenance.json", record)
        provenance.write_csv(aside / "history.csv", schema.validate(history, "history"))
        if learnt.table is not None:
            provenance.write_parquet(aside / results.TABLES[config.task], learnt.table)
        base = {restore.BASE: stored.base} if stored.base else None
        (aside / "model.safetensors").write_bytes(serialise(stored.tensors, base))
        provenance.write_json(aside / "training_set.json", normative.facts(prepared))
        if len(band := normative.training_band(prepared)):
            provenance.write_csv(aside / "reference.csv", band)
        provenance.write_json(aside / "summary.json", summary)
        hashes = {path.name: provenance.sha256_file(path) for path in sorted(aside.iterdir())}
        provenance.write_json(aside / results.FILES, provenance.sealed(hashes))
