"""Whether redrawn pictures read better, and what became of the defects planted in them.

The kill rule: diffusion has earned its price where a fixed reader errs less on what it draws than
on what a network gives at once (``mean``), and than a reader trained on the pictures as they are
(``own``). It stays dead while neither a draw nor an average of several is shown to do both.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.accuracy.performance import paired_comparisons, performance_table
from analysis.resampling import DEFAULT, Resampling
from analysis.resampling.bootstrap import mean_interval
from rnfl.core import metrics

SHOWN = {"mae": metrics.mae, "bias": metrics.bias}
MEASURED = ("erased", "invented", "read", "psnr")
DEAR = ("diffusion", "weighted")  # what names of ways by diffusion begin with
AGAINST = ("mean", "own")


def statistics(
    predictions: pd.DataFrame, defects: pd.DataFrame, resampling: Resampling = DEFAULT
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return errors and fates of defects by task and way, and what sets errors apart.

    Parameters
    ----------
    predictions, defects : DataFrame
        Of :func:`rnfl.study.translation.measured`.

    Returns
    -------
    table : DataFrame
        Long: task, way, metric (MAE and bias in µm, and :data:`MEASURED`), estimate, low, high, n.
    comparisons : DataFrame
        Each way minus those of :data:`AGAINST` on the same eyes, with ``task`` and ``way``; a Holm
        family is a task and one of the two.
    """
    tables, compared = [], []
    for task, rows in predictions.groupby("task", sort=False):
        runs = rows[["run_id", "way"]].drop_duplicates().rename(columns={"way": "protocol"})
        runs = runs.assign(backbone="fixed reader", seed=0)
        eyes = rows[["eye_id", "patient_id"]].drop_duplicates()
        own = rows.drop(columns=["task", "way"])
        errors = performance_table(own, eyes, runs, resampling, SHOWN)
        told = ["metric", "estimate", "low", "high", "n"]
        tables.append(errors.rename(columns={"protocol": "way"})[["way", *told]].assign(task=task))
        for one in AGAINST:
            pairs = paired_comparisons(own, runs, (one,), ("mae",), resampling=resampling)
            compared.append(pairs.rename(columns={"protocol": "way"}).assign(task=task))
    for (task, way), rows in defects.groupby(["task", "way"], sort=False):
        for metric in MEASURED:
            values = rows[metric]
            interval = np.array(mean_interval(values, rows["patient_id"], resampling))
            if metric == "erased":  # a share
                interval = interval.clip(0, 1)
            found = dict(zip(("estimate", "low", "high"), interval, strict=True))
            told = {"task": task, "way": way, "metric": metric, "n": int(values.notna().sum())}
            tables.append(pd.DataFrame([told | found]))
    return pd.concat(tables, ignore_index=True), pd.concat(compared, ignore_index=True)


def is_dear(way: str) -> bool:
    """Return whether a way is by diffusion."""
    return way.startswith(DEAR)
