"""The band of a training set: whose it is, its percentiles, and what too few eyes do not say."""

import numpy as np
import pandas as pd
import pytest

from rnfl.core import geometry
from rnfl.datasets import normative


def eyes(n, mean=100.0, sd=10.0, severity="healthy"):
    """Flat profiles of exact quantiles, and their samples."""
    level = mean + sd * np.linspace(-1, 1, n)
    return np.repeat(level[:, None], 360, axis=1), pd.DataFrame({"severity": [severity] * n})


def test_the_band_is_that_of_healthy_eyes_where_they_are_enough():
    healthy, known = eyes(normative.MIN_HEALTHY)
    ill, ill_known = eyes(200, mean=60.0, severity="severe")
    band = normative.band(np.r_[healthy, ill], pd.concat([known, ill_known]))
    assert set(band["population"]) == {"healthy"} and set(band["n"]) == {len(healthy)}
    assert normative.limits(band, "mean")["p50"] == pytest.approx(100)
    band = normative.band(np.r_[healthy[1:], ill], pd.concat([known[1:], ill_known]))
    assert set(band["population"]) == {"all"} and set(band["n"]) == {239}


def test_percentiles_are_those_of_numpy_at_each_angle_and_in_each_region(rng):
    profiles = rng.normal(100, 15, (150, 360))
    profiles[:30, 100] = np.nan
    samples = pd.DataFrame({"severity": [None] * 150})
    band = normative.band(profiles, samples)
    assert band["kind"].value_counts().to_dict() == {
        "angle": 360, "clock_hour": 12, "sector": 6, "quadrant": 4, "mean": 1,
    }  # fmt: skip
    row = normative.limits(band, "angle", "100")
    assert row["n"] == 120
    assert row["p5"] == pytest.approx(np.nanpercentile(profiles[:, 100], 5))
    sector = geometry.sector_means(profiles, geometry.SECTORS)[
        :, list(geometry.SECTORS).index("TI")
    ]
    assert normative.limits(band, "sector", "TI")["p99"] == pytest.approx(np.percentile(sector, 99))


def test_quadrant_labels_alone_give_a_band_of_quadrants_and_mean():
    level = np.linspace(50, 150, 101)
    columns = {f"rnfl_{name}": level + i for i, name in enumerate(("mean", "S", "N", "I", "T"))}
    band = normative.band(np.full((101, 360), np.nan), pd.DataFrame(columns))
    assert band[["kind", "name"]].agg("/".join, axis=1).tolist() == [
        "mean/mean", "quadrant/S", "quadrant/N", "quadrant/I", "quadrant/T",
    ]  # fmt: skip
    assert normative.limits(band, "quadrant", "T")["p50"] == 104
    assert normative.limits(band, "clock_hour", "3") is None
    assert len(normative.band(np.full((3, 360), np.nan), pd.DataFrame(index=range(3)))) == 0


def test_few_eyes_do_not_pretend_to_know_a_tail():
    nothing, five, one = (normative.limits(normative.band(*eyes(n)), "mean") for n in (19, 20, 100))
    assert np.isnan(nothing["p5"]) and nothing["p50"] == pytest.approx(100)
    assert np.isfinite(five["p5"]) and np.isnan(five["p1"])
    assert np.isfinite(one["p1"]) and np.isfinite(one["p99"])
    assert normative.position(50.0, nothing) is None and normative.position(50.0, None) is None
    assert normative.position(50.0, five) == "below 5 %"
    assert normative.position(50.0, one) == "below 1 %"
    assert normative.position((one["p1"] + one["p5"]) / 2, one) == "below 5 %"
    assert normative.position(100.0, one) == "within"
    assert normative.position(150.0, one) == "above 95 %"
    assert normative.position(float("nan"), one) is None
