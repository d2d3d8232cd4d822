"""The original verification script's way with demographics, which must not recur here."""

import numpy as np
import pandas as pd
import pytest
from synthetic_tables import eyes, frame, profiles

from analysis import fairness
from analysis.resampling import Resampling
from rnfl.core import schema

GAP = 15.0  # µm, planted between black eyes and all others


@pytest.fixture(scope="module")
def planted():
    """Predictions 5 µm off, and 20 µm off for black eyes, with the eyes they belong to."""
    samples = eyes(60, seed=3)
    truth, _ = profiles(samples)
    error = 5 + GAP * (samples["race"] == "Black").to_numpy()
    return frame("m", samples, truth + error[:, None], truth), samples


def group_gap(error, race):
    means = pd.Series(error).groupby(np.asarray(race)).mean()
    return means.max() - means.min()


def table_of(predictions, samples):
    named = predictions.assign(backbone="b", protocol="naive")
    return fairness.fairness_table(named, samples, resampling=Resampling(20, 20))


def test_tiled_demographics_lose_a_gap_that_a_join_by_key_keeps(planted):
    predictions, samples = planted
    error = np.abs(schema.matrix(predictions) - schema.matrix(predictions, "target")).ravel()
    race = samples["race"].to_numpy()
    assert group_gap(error, np.tile(race, 360)) < 1.5  # the old way: eye by eye against tiled
    assert group_gap(error, np.repeat(race, 360)) == pytest.approx(GAP, abs=1e-4)
    table = table_of(predictions.sample(frac=1, random_state=1), samples.iloc[::-1])
    gap = table[(table["metric"] == "gap") & (table["attribute"] == "race")]["estimate"]
    assert gap.tolist() == pytest.approx([GAP], abs=1e-4)


def test_every_race_is_counted_and_an_unknown_code_is_refused(planted):
    predictions, samples = planted
    table = table_of(predictions, samples)
    groups = table[(table["metric"] == "mae") & (table["attribute"] == "race")]
    n = groups.set_index("group")["n"]
    assert n.to_dict() == samples["race"].value_counts().reindex(n.index).to_dict()
    assert n["White"] > 0 and n.sum() == len(samples)
    coded = samples.assign(race=samples["race"].where(samples["race"] != "White", "3"))
    with pytest.raises(ValueError, match="race: 3: expected Asian, Black, White"):
        schema.validate(coded, "samples")
