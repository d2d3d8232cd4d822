"""Runs on disk: finished ones, by address or by name, and where unfinished ones keep theirs."""

import json
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from rnfl import datasets
from rnfl.core import schema, splits
from rnfl.datasets.prepared import Prepared
from rnfl.runs import address
from rnfl.storage.paths import runs_root
from rnfl.training.config import RunConfig
from rnfl.training.protocols import Protocol


@dataclass(frozen=True)
class RunResult:
    """A finished run: its folder and what is in it."""

    folder: Path
    run_id: str
    config: RunConfig

    @property
    def model_path(self) -> Path:
        """Weights of the best validation epoch (safetensors)."""
        return self.folder / "model.safetensors"

    @cached_property
    def resolved(self) -> dict:
        """The whole configuration, as the run recorded it (see :mod:`rnfl.runs.address`)."""
        return json.loads((self.folder / "config.json").read_text(encoding="utf-8"))

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Predictions of the test split."""
        return schema.validate(pd.read_parquet(self.folder / "predictions.parquet"), "predictions")

    @cached_property
    def history(self) -> pd.DataFrame:
        """Loss, validation MAE (µm) and learning rates of each epoch."""
        return pd.read_csv(self.folder / "history.csv")

    @cached_property
    def summary(self) -> dict:
        """Best epoch, number of epochs, speed."""
        return json.loads((self.folder / "summary.json").read_text(encoding="utf-8"))


def divided(prepared: Prepared, split: str) -> Prepared:
    """Return a dataset with the split of a run as its ``split`` column; its hash stays its own."""
    column = splits.divide(prepared.samples, split)
    return replace(prepared, samples=prepared.samples.assign(split=column))


def load_run(run: str | Path) -> RunResult:
    """Return a finished run, given by id or folder, with the configuration that it records.

    Raises
    ------
    ValueError
        If there is no such finished run.
    """
    folder = runs_root() / run
    if not (folder / "summary.json").is_file():
        raise ValueError(f"{folder} is no finished run: make it with 'rnfl train'")
    resolved = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    given = {f.name: resolved[f.name] for f in fields(RunConfig) if f.name in resolved}
    config = RunConfig(**given | {"protocol": Protocol(**given["protocol"])})
    return RunResult(folder, folder.name, config)


def find_run(config: RunConfig, prepared: Prepared | None = None) -> RunResult | None:
    """Return the finished run of a configuration, or None.

    ``prepared`` is the configuration's dataset, where it is open already.
    """
    prepared = prepared or datasets.load(config.dataset)
    return finished(address.run_id(config, prepared.hash), config)


def finished(run_id: str, config: RunConfig) -> RunResult | None:
    """Return the finished run of an address, or None."""
    folder = runs_root() / run_id
    return RunResult(folder, run_id, config) if (folder / "summary.json").exists() else None


def partial_folder(run_id: str) -> Path:
    """Where an unfinished run keeps its checkpoints."""
    return runs_root() / ".partial" / run_id
