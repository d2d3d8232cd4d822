"""How well masks of disc and cup agree with true ones, with intervals over patients."""

import pandas as pd

from analysis.resampling.bootstrap import DEFAULT, Resampling, mean_interval
from rnfl.core import schema

METRICS = ("dice_disc", "dice_cup", "cdr_error")


def segmentation_table(found: pd.DataFrame, resampling: Resampling = DEFAULT) -> pd.DataFrame:
    """Return the means over eyes of a segmentation table, with patient-clustered intervals.

    Parameters
    ----------
    found : DataFrame
        Of one run, with ``patient_id`` and the columns of :data:`METRICS`, NaN where missing.

    Returns
    -------
    DataFrame
        A statistic: ``metric, attribute, group, estimate, low, high, n``; n are eyes.

    Examples
    --------
    >>> eyes = pd.DataFrame({"patient_id": ["a", "a", "b"], "dice_disc": [0.9, 0.9, 0.9]})
    >>> eyes = eyes.assign(dice_cup=[0.8, 0.8, None], cdr_error=None)
    >>> segmentation_table(eyes, Resampling(n_boot=50))[["metric", "estimate", "n"]].values.tolist()
    [['dice_disc', 0.9, 3], ['dice_cup', 0.8, 2], ['cdr_error', nan, 0]]
    """
    rows = []
    for metric in METRICS:
        values = found[metric].astype(float)
        means = mean_interval(values, found["patient_id"], resampling)
        estimates = dict(zip(("estimate", "low", "high"), means, strict=True))
        rows.append({"metric": metric, "attribute": None, "group": None} | estimates)
        rows[-1]["n"] = int(values.notna().sum())
    return schema.validate(pd.DataFrame(rows), "statistic")


def by_way(found: pd.DataFrame, resampling: Resampling = DEFAULT) -> pd.DataFrame:
    """Return :func:`segmentation_table` of each ``way`` of a table, with that column first."""
    tables = [
        segmentation_table(rows, resampling).assign(way=way)
        for way, rows in found.groupby("way", sort=False)
    ]
    return pd.concat(tables, ignore_index=True)
