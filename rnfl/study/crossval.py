"""Cross-validation by patient: one run per fold, and what each eye's own fold predicts for it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from rnfl import datasets
from rnfl.core import schema, splits
from rnfl.runs.results import RunResult, predictions_of
from rnfl.study.baselines import FOLDS
from rnfl.study.grid import run_grid
from rnfl.training.config import RunConfig
from rnfl.training.protocols import Solved


def fold_configs(config: RunConfig, k: int = FOLDS, seed: int = 0) -> list[RunConfig]:
    """Return a run for each of ``k`` folds, the same folds as those of the baselines."""
    return [replace(config, split=splits.fold_name(fold, k, seed)) for fold in range(k)]


def out_of_fold(
    configs: Mapping[str, RunConfig],
    k: int = FOLDS,
    seeds: Sequence[int] = (0,),
    engine: str = "auto",
) -> dict[str, pd.DataFrame]:
    """Train the folds that are not finished and return each eye's prediction by its own fold.

    Parameters
    ----------
    configs : mapping of method to RunConfig
        Of one dataset. Their ``split`` is replaced; the folds of all are one grid.
    k : int
        Folds of patients, at least 3: one tests, the next validates, the others train.
    seeds : sequence of int
        Of the folds; a network's own seed is that of its configuration.
    engine : {'auto', 'serial', 'local', 'dask'}
        See :func:`rnfl.study.grid.run_grid`.

    Returns
    -------
    dict of str to DataFrame
        By method, a quadrant frame (:func:`rnfl.core.schema.quadrant_frame`, µm) of all eyes in
        the order of the dataset, once for each fold seed; ``run_id`` is
        ``<slug>-<k>-folds-s<seed>``. ``fold`` holds an eye; ``inner_error`` is the mean absolute
        error (µm, of quadrants) in the cross-validation within the eyes its readout learnt from,
        and NaN for networks, which validate otherwise.

    Raises
    ------
    ValueError
        With methods of several datasets or none, fewer than 3 folds, more folds than patients,
        or what a run refuses.
    RuntimeError
        When runs failed, after all were tried.
    """
    of = sorted({config.dataset for config in configs.values()})
    if len(of) != 1:
        raise ValueError(f"methods {list(configs)}: expected one dataset for all, got {of}")
    samples = datasets.load(of[0]).samples
    parts = [(name, seed) for name in configs for seed in seeds]
    folds = [one for name, seed in parts for one in fold_configs(configs[name], k, seed)]
    results = iter(run_grid(folds, engine))
    frames: dict[str, list[pd.DataFrame]] = {name: [] for name in configs}
    for name, seed in parts:
        made = [next(results) for _ in range(k)]
        table = predictions_of(made)
        sizes = [len(one.predictions) for one in made]
        errors = [_inner_error(one) for one in made]
        inner = {"fold": np.repeat(range(k), sizes), "inner_error": np.repeat(errors, sizes)}
        inner = pd.DataFrame(inner, index=table["eye_id"])
        table["run_id"] = f"{replace(configs[name], split='own').slug}-{k}-folds-s{seed}"
        table = table.set_index("eye_id").loc[samples["eye_id"]].reset_index()
        frames[name].append(schema.quadrant_frame(table, samples).join(inner, on="eye_id"))
    return {name: pd.concat(each, ignore_index=True) for name, each in frames.items()}


def _inner_error(result: RunResult) -> float:
    """Return what ``inner_error`` is for the eyes that a run was tested on."""
    if not isinstance(result.config.protocol, Solved):
        return np.nan
    row = result.history.iloc[0]
    if "val_quadrant_mae" in row:
        return row["val_quadrant_mae"]
    if result.summary["val_target"] == "quadrants":  # then the two are one number
        return row["val_mae"]
    raise ValueError(
        f"{result.folder}: its history has no val_quadrant_mae, by which methods are chosen; "
        f"remove the folder, and it is solved again"
    )
