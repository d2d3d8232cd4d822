"""What ways of adapting to another camera gain: errors, where they come from, and which differ.

An error is level, response and rest: beside the mean absolute error stand the bias, the correlation
between eyes, and the share of the true spread that predictions keep. A way that has only moved a
mean changes the bias alone.
"""

from __future__ import annotations

import pandas as pd

from analysis.accuracy.performance import paired_comparisons, performance_table
from analysis.collapse import DEFINITIONS
from analysis.resampling import DEFAULT, Resampling
from analysis.resampling.conditions import BASELINES
from rnfl.core import metrics

_NAMES = ("mae", "pearson_between_eyes", "sigma_ratio")
SHOWN = {"bias": metrics.bias, **{name: DEFINITIONS[name] for name in _NAMES}}
CHEAP = "fourier+prior"  # what a dearer way must beat
AGAINST = ("none", CHEAP)


def statistics(
    predictions: pd.DataFrame,
    samples: pd.DataFrame,
    runs: pd.DataFrame,
    resampling: Resampling = DEFAULT,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the errors of every way on one target, by number of shots, and what sets them apart.

    Parameters
    ----------
    predictions, samples
        As in :func:`analysis.accuracy.performance.performance_table`, baselines included.
    runs : DataFrame
        Of :func:`rnfl.study.camera_shift.predictions`.

    Returns
    -------
    table : DataFrame
        Long: the metrics :data:`SHOWN` by way (``protocol``) and ``shots``.
    comparisons : DataFrame
        Each way minus the unadapted reader, and minus :data:`CHEAP`, on the same eyes at the same
        number of shots; a Holm family is a number of shots, a metric and one of the two.
    """
    ends = predictions[predictions["run_id"].isin(BASELINES)]
    tables, compared = [], []
    for shots, group in runs.groupby("shots"):
        own = pd.concat([predictions[predictions["run_id"].isin(group["run_id"])], ends])
        own_table = performance_table(own, samples, group, resampling, SHOWN)
        tables.append(own_table.assign(shots=shots))
        for one in AGAINST:
            given = own, group, (one,), ("mae",)
            # Each pair by its own SD: a draw changes some ways a lot and others not at all.
            pairs = paired_comparisons(*given, resampling=resampling)
            compared.append(pairs.assign(shots=shots))
    compared = [one for one in compared if len(one)]
    return pd.concat(tables, ignore_index=True), pd.concat(compared, ignore_index=True)
