"""Cross-validation by patient: one run per fold, and what each eye's own fold predicts for it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from rnfl import datasets
from rnfl.core import schema, splits
from rnfl.runs.results import RunResult, predictions_of
from rnfl.study.baselines import FOLDS
from rnfl.study.grid import run_grid
from rnfl.training.config import RunConfig


def fold_configs(config: RunConfig, k: int = FOLDS, seed: int = 0) -> list[RunConfig]:
    """Return a run for each of ``k`` folds, the same folds as those of the baselines."""
    return [replace(config, split=splits.fold_name(fold, k, seed)) for fold in range(k)]


def out_of_fold(
    config: RunConfig, k: int = FOLDS, seeds: Sequence[int] = (0,), engine: str = "auto"
) -> dict[int, pd.DataFrame]:
    """Train the folds that are not finished and return each eye's prediction by its own fold.

    Parameters
    ----------
    config : RunConfig
        Its ``split`` is replaced.
    k : int
        Folds of patients, at least 3: one tests, the next validates, the others train.
    seeds : sequence of int
        Of the folds; the networks' own seed is that of ``config``.
    engine : {'auto', 'serial', 'local', 'dask'}
        See :func:`rnfl.study.grid.run_grid`.

    Returns
    -------
    dict of int to DataFrame
        By fold seed, a quadrant frame (:func:`rnfl.core.schema.quadrant_frame`, µm) of all eyes in
        the order of the dataset; ``run_id`` is ``<slug>-<k>-folds-s<seed>``. ``fold`` holds an
        eye; ``inner_error`` is the mean absolute error (µm, of quadrants) in the cross-validation
        within the eyes its readout learnt from, and NaN for networks, which validate otherwise.

    Raises
    ------
    ValueError
        With fewer than 3 folds, more folds than patients, or what a run refuses.
    RuntimeError
        When runs failed, after all were tried.
    """
    samples = datasets.load(config.dataset).samples
    configs = {seed: fold_configs(config, k, seed) for seed in seeds}
    results = iter(run_grid([one for folds in configs.values() for one in folds], engine))
    frames = {}
    for seed, folds in configs.items():
        made = [next(results) for _ in folds]
        table = predictions_of(made)
        sizes = [len(one.predictions) for one in made]
        errors = [_inner_error(one) for one in made]
        inner = {"fold": np.repeat(range(k), sizes), "inner_error": np.repeat(errors, sizes)}
        inner = pd.DataFrame(inner, index=table["eye_id"])
        table["run_id"] = f"{replace(config, split='own').slug}-{k}-folds-s{seed}"
        table = table.set_index("eye_id").loc[samples["eye_id"]].reset_index()
        frames[seed] = schema.quadrant_frame(table, samples).join(inner, on="eye_id")
    return frames


def _inner_error(result: RunResult) -> float:
    """Return what ``inner_error`` is for the eyes that a run was tested on."""
    if result.config.protocol.solver != "ridge":
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
