"""Small tables with planted answers, compared with stored numbers.

They say when ``ANALYSIS_VERSION`` must be raised: when a statistic gives something else for the
same predictions. Then raise it in :mod:`analysis.presentation.sidecar`, store the new numbers with
``python tests/analysis/presentation/test_analysis_version.py`` and make the committed tables again.
"""

from pathlib import Path

import pandas as pd
from synthetic_tables import eyes, profiles, study

from analysis import agreement, collapse
from analysis.accuracy import performance
from analysis.agreement import thinning
from analysis.resampling import Resampling

STORED = Path(__file__).with_suffix(".csv")
KEYS = ["table", "backbone", "protocol", "metric", "attribute", "group"]
NUMBERS = ["estimate", "low", "high", "p_value"]


def measured():
    """Return rows of every kind of table: errors, gaps, differences, collapse, agreement."""
    predictions, samples, runs = study(n_patients=48)
    resampling, (_, reference) = Resampling(100, 100), profiles(eyes(60, seed=1), seed=1)
    tables = {
        "table1": performance.table1(predictions, samples, runs, resampling),
        "comparisons": performance.paired_comparisons(predictions, runs, resampling=resampling),
        "collapse": collapse.collapse_table(predictions, runs, resampling),
        "agreement": agreement.agreement_table(predictions, runs, resampling),
        "thinning": thinning.thinning_table(
            predictions, reference, runs, resampling, tuning=predictions.assign(patient_id="other")
        ),
    }
    long = pd.concat([table.assign(table=name) for name, table in tables.items()])
    return long.reindex(columns=[*KEYS, *NUMBERS]).reset_index(drop=True)


def test_the_version_stands_for_these_numbers():
    now, then = measured(), pd.read_csv(STORED)
    pd.testing.assert_frame_equal(
        now[KEYS].fillna("").astype(str), then[KEYS].fillna("").astype(str)
    )
    pd.testing.assert_frame_equal(now[NUMBERS].astype(float), then[NUMBERS], rtol=1e-6, atol=1e-9)


if __name__ == "__main__":
    measured().to_csv(STORED, index=False, float_format="%.9g")
