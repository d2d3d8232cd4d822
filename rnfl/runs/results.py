"""Runs on disk: finished ones, by address, by name, and as tables; where the others are."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from rnfl import datasets
from rnfl.core import schema, splits
from rnfl.core.splits import EVERYTHING, Lesson
from rnfl.datasets.prepared import Prepared
from rnfl.runs import address
from rnfl.storage import provenance, readers
from rnfl.storage.paths import plain_name, runs_root
from rnfl.storage.provenance import sha256_json
from rnfl.training import protocols
from rnfl.training.config import INCIDENTAL, RunConfig

# The file of what a run predicts of the test split, by task.
TABLES = {"profile": "predictions.parquet", "masks": "segmentation.parquet"}
# The file of a run's folder that holds the SHA-256 of every other, sealed.
FILES = "files.json"
# What makes runs of one condition several.
OWN = ("seed", "split")


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
    def hashes(self) -> dict[str, str]:
        """SHA-256 of the run's files by name; empty for a run finished before they were kept."""
        return hashes_in(self.folder / FILES, self.remedy)

    @property
    def remedy(self) -> str:
        """What to do where one of its files is damaged."""
        return f"put the run back from a copy, or delete {self.folder} and train it again"

    def file(self, name: str) -> Path:
        """Return the path of one of its files, if that is what the run wrote."""
        path = self.folder / name
        provenance.refuse_damaged(path, self.hashes.get(name), self.remedy)
        return path

    def check(self) -> None:
        """Raise a ValueError that names the first of its files that is not what the run wrote."""
        for name in self.hashes:
            self.file(name)

    @cached_property
    def resolved(self) -> dict:
        """The whole configuration, as the run recorded it (see :mod:`rnfl.runs.address`)."""
        return self.read("config.json")

    def read(self, name: str) -> dict:
        """Return what one of its JSON files says."""
        return readers.read_json(self.file(name), self.remedy)

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Predictions of the test split, of a run on profiles."""
        self.expect("profile", "it has 'segmentation' in place of 'predictions'")
        return self.table(TABLES["profile"], "predictions")

    @cached_property
    def segmentation(self) -> pd.DataFrame:
        """How well its masks of the test split agree with the true ones, of a run on masks."""
        self.expect("masks", "it has 'predictions' in place of 'segmentation'")
        return self.table(TABLES["masks"], "segmentation")

    def table(self, name: str, kind: str) -> pd.DataFrame:
        """Return one of its parquet files, held against a table of the schema."""
        path = self.file(name)
        return schema.validate(readers.read_parquet(path, self.remedy), kind, str(path))

    def expect(self, task: str, instead: str) -> None:
        """Raise a ValueError that ends with what to do ``instead`` where it is of another task."""
        if self.config.task != task:
            words = {"profile": "profiles", "masks": "masks of disc and cup",
                     "pictures": "hidden parts of pictures"}  # fmt: skip
            if self.config.task == "pictures":
                instead = "it is a start, to train from (rnfl train --start)"
            raise ValueError(
                f"run {self.run_id} predicts {words[self.config.task]}, expected one that predicts "
                f"{words[task]}: {instead}"
            )

    @cached_property
    def history(self) -> pd.DataFrame:
        """Loss, validation error (MAE in µm; of masks 1 - mean Dice) and rates of each epoch."""
        return readers.read_csv(self.file("history.csv"), self.remedy)

    @cached_property
    def summary(self) -> dict:
        """Best epoch, number of epochs, speed."""
        return self.read("summary.json")


def hashes_in(path: Path, remedy: str) -> dict[str, str]:
    """Return the SHA-256 of files by name that a sealed JSON holds; none where it is not there."""
    if not path.exists():
        return {}
    held = readers.read_json(path, remedy)
    if not isinstance(held, dict) or not all(isinstance(one, str) for one in held.values()):
        raise ValueError(f"{path} is damaged: expected the SHA-256 of files by name: {remedy}")
    return held


def divided(prepared: Prepared, split: str, lesson: Lesson = EVERYTHING) -> Prepared:
    """Return a dataset with what a run uses each row for as ``split``; its hash stays its own.

    Rows to train or validate with that the run's lesson leaves out are ``left_out``.
    """
    column = splits.divide(prepared.samples, split).astype(object)
    if lesson != EVERYTHING:
        for name in ("train", "val"):
            rows = np.flatnonzero(column == name)
            taught = splits.taught(prepared.samples.iloc[rows], lesson)
            column.iloc[rows[~taught]] = "left_out"
    return replace(prepared, samples=prepared.samples.assign(split=column))


def load_run(run: str | Path) -> RunResult:
    """Return a finished run, given by id or folder, with the configuration that it records.

    Raises
    ------
    ValueError
        If there is no such finished run.
    """
    if not Path(run).is_absolute():
        plain_name(str(run), "run")
    folder = runs_root() / run
    if not (folder / "summary.json").is_file():
        raise ValueError(f"{folder} is no finished run: make it with 'rnfl train'")
    found = RunResult(folder, folder.name, None)
    said = found.resolved
    with readers.readable(folder / "config.json", "the configuration of a run", found.remedy):
        return replace(found, config=config_of(said))


def config_of(recorded: dict) -> RunConfig:
    """Return the configuration that a run recorded, by today's code or before it."""
    given = _settings(recorded)
    return RunConfig(**given | {"protocol": protocols.from_dict(given["protocol"])})


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


def runs_table(results: Iterable[RunResult]) -> pd.DataFrame:
    """One row per run: id, configuration, the protocol's own fields, and summary."""
    rows = []
    for result in results:
        config = {k: v for k, v in asdict(result.config).items() if k not in INCIDENTAL}
        config |= protocols.settings(result.config.protocol)
        rows.append({"run_id": result.run_id} | config | result.summary)
    return schema.validate(pd.DataFrame(rows), "runs")


def predictions_of(results: Iterable[RunResult]) -> pd.DataFrame:
    """Test predictions of several runs, one below the other."""
    return pd.concat([result.predictions for result in results], ignore_index=True)


def histories_of(results: Iterable[RunResult]) -> pd.DataFrame:
    """Histories of several runs with their backbone, protocol and seed; empty for none."""
    frames = [
        one.history.assign(
            backbone=one.config.backbone, protocol=one.config.protocol.name, seed=one.config.seed
        )
        for one in results
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def configs_of(results: Iterable[RunResult]) -> list[dict]:
    """Return the configurations of several runs, those that differ in seed and split alone as one.

    Each has ``config``: every field but those two, as the runs recorded them, defaults included;
    ``dataset_hash``; and ``runs``: seed and split by run id. From these and the weights of the
    backbones an address can be computed again.
    """
    found: dict[str, dict] = {}
    for result in results:
        record = result.resolved
        config = {k: v for k, v in _settings(record).items() if k not in OWN}
        one = {"config": config, "dataset_hash": record["dataset_hash"]}
        runs = found.setdefault(sha256_json(one), one | {"runs": {}})["runs"]
        runs[result.run_id] = {name: record[name] for name in OWN}
    return list(found.values())


def _settings(recorded: dict) -> dict:
    """Return of what a run recorded the fields of its configuration."""
    return {f.name: recorded[f.name] for f in fields(RunConfig) if f.name in recorded}
