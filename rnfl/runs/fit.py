"""From a configuration and the rows of a dataset to a fitted model: by gradient, or by solving."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from rnfl.datasets.prepared import Prepared, check_unchanged
from rnfl.runs import restore
from rnfl.training import batches, devices, distributed, finetuning, readout
from rnfl.training.config import RunConfig
from rnfl.training.state import Progress


@dataclass(frozen=True)
class Fitted:
    """A model that has learnt, how it went, and what its errors were measured on."""

    model: nn.Module
    progress: Progress
    target: str

    @property
    def precision(self) -> str:
        """In which precision it was fitted, and predicts."""
        return self.progress.precision["precision"]


def by_gradient(
    config: RunConfig,
    prepared: Prepared,
    rows: dict[str, np.ndarray],
    folder: Path,
    report: Callable[[dict], None] | None,
) -> Fitted:
    """Train by gradient, or go on where an interrupted training stopped."""
    device = devices.choose_device()
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model = restore.untrained(config, prepared).to(device)
    size = model.backbone.spec.input_size
    data = {s: batches.load(prepared, rows[s], size, device) for s in ("train", "val")}
    if config.start is None:
        model.set_targets(data["train"].labels)
    else:
        model.set_level(data["train"].labels)
    check = partial(check_unchanged, prepared, f"what is trained so far is kept in {folder}")
    progress = finetuning.fit(model, *data.values(), config, folder, report, check)
    return Fitted(model, progress, data["val"].target)


def by_ridge(config: RunConfig, prepared: Prepared, rows: dict[str, np.ndarray]) -> Fitted:
    """Solve for a readout of frozen backbones."""
    if distributed.size() > 1:
        raise ValueError(f"{config.slug}: a readout is solved for by one process, not by torchrun")
    clock = time.monotonic()
    device = devices.choose_device()
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        read = restore.backbones(config, prepared)
    size = max(backbone.spec.input_size for backbone in read)
    data = batches.load(prepared, rows["train"], size, device)
    patients = prepared.samples["patient_id"].iloc[rows["train"]]
    model, solved = readout.fit(read, data, patients, config.seed)
    progress = readout.progress(model, solved, data, time.monotonic() - clock)
    progress.precision = {"precision": "fp32", "because": "a readout is solved for in fp32"}
    return Fitted(model, progress, data.target)
