"""Errors as pictures get worse: per condition, their mean over severities, and between arms.

The curve over severity is summed up by its mean over the severities that were measured, the clean
pictures among them; one eye under all of them is resampled as the one eye that it is.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from analysis.accuracy.performance import paired_comparisons, performance_table
from analysis.collapse import DEFINITIONS
from analysis.resampling import DEFAULT, Resampling
from analysis.resampling.comparisons import holm

CLEAN, MEAN = "clean", "mean over severities"
USUAL = "intensity"  # the arm that others are compared with
METRICS = ("mae", "sigma_between")


def severity(condition: str) -> float | None:
    """Return how far all that spoils a picture has gone in a condition; None for another kind.

    Examples
    --------
    >>> severity("clean"), severity("severity0.8"), severity("blur0.8")
    (0.0, 0.8, None)
    """
    if condition == CLEAN:
        return 0.0
    name, found, value = condition.partition("severity")
    return float(value) if found and not name else None


def statistics(
    predictions: pd.DataFrame,
    samples: pd.DataFrame,
    runs: pd.DataFrame,
    resampling: Resampling = DEFAULT,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the errors of each arm in each condition, and what sets arms apart.

    Parameters
    ----------
    predictions : DataFrame
        With a column ``condition``; the same eyes, template and truth in each.
    samples, runs : DataFrame
        As of :func:`analysis.accuracy.performance.performance_table`; the arm is the protocol.

    Returns
    -------
    table : DataFrame
        Long, with ``condition``: MAE, spread and the share of the way from the template to the
        floor; of the mean over severities the first and the last alone.
    comparisons : DataFrame
        Each arm minus :data:`USUAL`, and minus the template, on the same eyes, with ``condition``.
        Seeds have one SD for all arms of a condition. A Holm family is what is compared with and a
        metric, over all conditions.
    """
    tables, compared = [], []
    for condition, rows, eyes in _conditions(predictions, samples):
        names = METRICS[:1] if condition == MEAN else (*METRICS, "sigma_ratio")
        shown = {name: DEFINITIONS[name] for name in names}
        tables.append(
            performance_table(rows, eyes, runs, resampling, shown).assign(condition=condition)
        )
        for one in (USUAL, "template"):
            given = rows, runs, (one,), names[:2]
            pairs = paired_comparisons(*given, resampling=resampling, pool=True)
            compared.append(pairs.assign(condition=condition))
    comparisons = pd.concat([one for one in compared if len(one)], ignore_index=True)
    family = comparisons.groupby(["against", "metric"])["p"]
    return pd.concat(tables, ignore_index=True), comparisons.assign(p_holm=family.transform(holm))


def _conditions(
    predictions: pd.DataFrame, samples: pd.DataFrame
) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """Yield each condition with its rows and eyes, and last all severities as eyes of their own."""
    several = []
    for condition, rows in predictions.groupby("condition", sort=False):
        yield condition, rows, samples
        if severity(condition) is not None:
            several.append(
                [one.assign(eye_id=one["eye_id"] + f" {condition}") for one in (rows, samples)]
            )
    yield MEAN, *map(pd.concat, zip(*several, strict=True))
