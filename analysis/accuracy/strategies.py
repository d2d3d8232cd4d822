"""Strategies of adaptation: their errors, their differences from full fine-tuning, their cost.

The differences over seeds have one SD for all strategies: with a handful of seeds, each knows its
own roughly. That assumes that strategies vary alike; the interval of one that varies three times as
much as the others covers some 75 % instead of 95 % (seeds alone, simulated), so that the SD of each
stands beside it. A Holm family is a dataset, a metric and a question: does a strategy differ from
full fine-tuning, and does it beat the template?
"""

from __future__ import annotations

import pandas as pd

from analysis.accuracy.ablation import SHOWN
from analysis.accuracy.performance import paired_comparisons, performance_table
from analysis.collapse import DEFINITIONS
from analysis.resampling import DEFAULT, Resampling
from analysis.resampling.comparisons import holm
from analysis.resampling.conditions import BASELINES

FULL = "aggressive"
COSTS = (
    *("n_parameters", "n_trainable_backbone", "n_trainable", "bytes_stored", "peak_bytes"),
    *("seconds_per_epoch", "seconds_to_best"),
)


def statistics(
    predictions: pd.DataFrame,
    samples: pd.DataFrame,
    runs: pd.DataFrame,
    resampling: Resampling = DEFAULT,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the errors of strategies on one dataset, and what sets each apart.

    ``predictions``, ``samples`` and ``runs`` are those of
    :func:`analysis.accuracy.performance.performance_table`.

    Returns
    -------
    table : DataFrame
        Long: the metrics of :data:`analysis.accuracy.ablation.SHOWN` of each strategy and of the
        baselines.
    comparisons : DataFrame
        Each strategy minus full fine-tuning, and minus the template, on the same eyes.
    """
    shown = {name: DEFINITIONS[name] for name in SHOWN}
    table = performance_table(predictions, samples, runs, resampling, shown)
    compared = [
        paired_comparisons(
            predictions, runs, (one,), ("mae", "sigma_between"), resampling=resampling, pool=True
        )
        for one in (FULL, "template")
    ]
    return table, pd.concat([one for one in compared if len(one)], ignore_index=True)


def errors(
    predictions: pd.DataFrame,
    samples: pd.DataFrame,
    runs: pd.DataFrame,
    resampling: Resampling = DEFAULT,
) -> pd.DataFrame:
    """Return MAE and correlations alone, as :func:`statistics` does."""
    shown = {name: DEFINITIONS[name] for name in ("mae", "pearson_between_eyes", "pearson_per_eye")}
    return performance_table(predictions, samples, runs, resampling, shown)


def costs(runs: pd.DataFrame) -> pd.DataFrame:
    """Return what each strategy costs, one row per backbone and protocol.

    Parameters
    ----------
    runs : DataFrame
        Of :func:`rnfl.runs.results.runs_table`.

    Returns
    -------
    DataFrame
        backbone, protocol and the medians over runs of :data:`COSTS` (bytes, seconds), the share
        of the backbone that learns (``share_backbone``) and of all (``share``), whether peak memory
        is measured or estimated, and the device.
    """
    rows = []
    for (backbone, protocol), group in runs.groupby(["backbone", "protocol"], sort=False):
        median = group.reindex(columns=COSTS).astype(float).median()
        said = {name: _one_of(group, name) for name in ("peak_bytes_are", "device")}
        rows.append({"backbone": backbone, "protocol": protocol, **median, **said})
    table = pd.DataFrame(rows)
    head = table["n_trainable"] - table["n_trainable_backbone"]
    inside = table["n_parameters"] - head.where(table["n_trainable"] > 0)
    solved = table["n_trainable"] == 0  # a linear map, nothing of the backbone
    return table.assign(
        share_backbone=(table["n_trainable_backbone"] / inside).where(~solved, 0.0),
        share=table["n_trainable"] / table["n_parameters"],
    )


def _one_of(group: pd.DataFrame, name: str) -> str | None:
    found = sorted(set(group[name].dropna())) if name in group else []
    return " and ".join(found) or None


def scale_effect(
    predictions: pd.DataFrame, cells: pd.DataFrame, resampling: Resampling = DEFAULT
) -> pd.DataFrame:
    """Compare raw with standardised output at the same protocol and length, on the same eyes.

    Parameters
    ----------
    predictions : DataFrame
    cells : DataFrame
        Of :func:`rnfl.study.strategies.scaled_table`.

    Returns
    -------
    DataFrame
        As :func:`analysis.accuracy.performance.paired_comparisons`, raw minus standardised;
        ``strategy`` and ``epochs`` in place of the protocol. Seeds have one SD within a length:
        runs that are near collapse vary otherwise. Holm's correction covers all of a metric.
    """
    named = cells.rename(columns={"protocol": "strategy"}).assign(protocol=cells["scale"])
    trained = predictions[~predictions["run_id"].isin(BASELINES)]
    by = ("backbone", "strategy", "epochs", "protocol")
    metrics = ("mae", "sigma_between")
    tables = []
    for _, group in named.groupby("epochs"):
        mine = trained[trained["run_id"].isin(group["run_id"])]
        given = mine, group, ("standardised",), metrics, by, resampling
        tables.append(paired_comparisons(*given, pool=True))
    table = pd.concat(tables, ignore_index=True).drop(columns="protocol")
    return table.assign(p_holm=table.groupby("metric")["p"].transform(holm))


def named_cells(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of the factorial with protocol, scale and length in one name."""
    name = cells["protocol"] + ", " + cells["scale"] + ", " + cells["epochs"].astype(str)
    return cells.assign(strategy=cells["protocol"], protocol=name)
