"""The folder of a finished run: what is written into it, and how."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from rnfl.core import schema
from rnfl.datasets import normative
from rnfl.datasets.prepared import Prepared
from rnfl.runs import address
from rnfl.storage import provenance
from rnfl.training.config import RunConfig

if TYPE_CHECKING:
    from torch import nn

    from rnfl.runs.fit import Fitted


def publish(
    folder: Path,
    run_id: str,
    config: RunConfig,
    prepared: Prepared,
    fitted: Fitted,
    predictions: pd.DataFrame,
    outcome: dict,
) -> None:
    """Write a finished run; its folder appears whole, or not at all.

    Parameters
    ----------
    folder : Path
        It becomes ``RunResult.folder``.
    run_id : str
    config : RunConfig
    prepared : Prepared
        With the division of the run.
    fitted : Fitted
    predictions : DataFrame
        Of the test split.
    outcome : dict
        Errors and counts, for the summary.

    Raises
    ------
    OSError
        If something cannot be written.
    """
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
    record = provenance.record(
        describe(device),
        {"dataset": prepared.hash, "code": provenance.code_hash()},
    )
    record |= {
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


def _weights_said(model: nn.Module) -> list[str]:
    """Return what became of the keys of the backbones' published files, in words."""
    read = getattr(model, "backbones", [model.backbone])
    reports = [backbone.report for backbone in read if backbone.report is not None]
    return [line for report in reports for line in report.text.splitlines()]
