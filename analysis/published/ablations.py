"""The paper's ablations: its freezing points with refits, and its weights of the Pearson term.

FairFedMed eyes; freezing with RETFound ViT-L/16. In µm nothing here compares with a phantom; the
change in percent of the unfrozen error does.
"""

from __future__ import annotations

import pandas as pd

from analysis import published
from analysis.freezing import NAN, linear, saturating, step
from analysis.published.audit.cells import LINE

LABEL = "published: FairFedMed"


def freezing_points() -> pd.DataFrame:
    """Return the published cells: edition, percent_frozen (%), mae (µm), change_percent.

    ``change_percent`` is the change of the MAE from nothing frozen, in % of it.
    """
    wide = _beside_start("freezing", "percent_frozen", "mae")
    wide["change_percent"] = 100 * (wide["mae"] - wide["mae_at_0"]) / wide["mae_at_0"]
    wide = wide.sort_values(["edition", "percent_frozen"], ascending=[False, True])
    chosen = ["source", "edition", "percent_frozen", "mae", "change_percent"]
    return wide[chosen].reset_index(drop=True)


def loss_points() -> pd.DataFrame:
    """Return the published weights of the Pearson term: source, edition, lambda_pearson, and the
    change of ``mae`` and ``sigma_flat`` from weight 0 in percent, as ``mae_change`` and
    ``sigma_change``.
    """
    wide = _beside_start("loss_complexity", "lambda_pearson", "mae", "sigma")
    for name in ("mae", "sigma"):
        wide[f"{name}_change"] = 100 * (wide[name] / wide[f"{name}_at_0"] - 1)
    chosen = ["source", "edition", "lambda_pearson", "mae_change", "sigma_change"]
    return wide.sort_values(["edition", "lambda_pearson"])[chosen].reset_index(drop=True)


def _beside_start(table: str, varied: str, *metrics: str) -> pd.DataFrame:
    """Return a table's metrics as columns, and each where nothing is varied as <metric>_at_0."""
    rows = published.load(table)
    rows = rows[rows["metric"].isin((varied, *metrics))]
    wide = rows.pivot_table(index=["edition", "protocol"], columns="metric", values="value")
    wide = wide.reset_index().rename_axis(columns=None).assign(source=LABEL)
    start = wide[wide[varied] == 0].set_index("edition")[list(metrics)]
    return wide.join(start.add_suffix("_at_0"), on="edition")


def freezing_lines(published_points: pd.DataFrame) -> pd.DataFrame:
    """Return what each edition's points give, one row per edition, beside what it states.

    Columns: edition, n, claimed_intercept and intercept (µm), claimed_per_10 and slope_per_10 (µm
    per 10 %, stated and refitted by OLS, with low and high), relative_per_10 and
    claimed_relative_per_10 (% of the unfrozen MAE), claimed_r_squared, and R² of the line, of the
    step (as many parameters) and of the saturating curve (one more).
    """
    stated = published.load("freezing")
    stated = stated[stated["metric"].isin(LINE)].set_index(["edition", "metric"])["value"]
    found = []
    for edition, mine in published_points.groupby("edition", sort=False):
        line = linear(mine)
        start = mine.loc[mine["percent_frozen"] == 0, "mae"].mean()
        intercept, claimed, fit = (stated.get((edition, name), NAN) for name in LINE)
        found.append({
            "edition": edition,
            "n": line.n,
            "claimed_intercept": intercept,
            "intercept": line.intercept,
            "claimed_per_10": claimed,
            "slope_per_10": line.slope_per_10,
            "low": line.low,
            "high": line.high,
            "claimed_relative_per_10": 100 * claimed / start,
            "relative_per_10": 100 * line.slope_per_10 / start,
            "claimed_r_squared": fit,
            "r_squared_line": line.r_squared,
            "r_squared_step": step(mine).r_squared,
            "r_squared_saturating": saturating(mine).r_squared,
        })  # fmt: skip
    return pd.DataFrame(found)
