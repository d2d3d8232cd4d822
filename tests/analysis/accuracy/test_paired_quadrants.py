"""Paired comparison of quadrant errors: planted differences, the null, and refusals."""

import numpy as np
import pandas as pd
import pytest

from analysis.accuracy.quadrants import paired_quadrants
from analysis.resampling import Resampling
from rnfl.core.geometry import QUADRANTS


def frame(errors, run_id="a"):
    """Return a quadrant frame with all quadrants wrong by ``errors`` (n,), two eyes a patient."""
    n = len(errors)
    return pd.DataFrame({
        "run_id": run_id,
        "eye_id": [f"e{i:03}" for i in range(n)],
        "patient_id": [f"p{i // 2:03}" for i in range(n)],
        **{f"true_{name}": np.full(n, 80.0) for name in QUADRANTS},
        **{f"pred_{name}": 80.0 + errors for name in QUADRANTS},
    })  # fmt: skip


def test_a_planted_difference_is_found_with_its_interval_by_patient(rng):
    other = rng.normal(30, 3, 400)
    shift = np.repeat(rng.normal(-1, 2, 200), 2)  # fellow eyes share it
    table = paired_quadrants({"b": frame(other), "a": frame(other + shift)}, "b")
    found = table.iloc[0]
    assert found["estimate"] == pytest.approx(shift.mean())
    by_patient = 1.96 * shift[::2].std(ddof=1) / np.sqrt(200)
    assert (found["high"] - found["low"]) / 2 == pytest.approx(by_patient, rel=0.15)
    assert found["high"] < 0 and found["p"] < 0.001
    assert list(table["method"]) == ["a"] and found["n"] == 400


def test_seeds_are_averaged_and_their_noise_widens_the_interval(rng):
    other = rng.normal(15, 4, 60)
    offsets = (-3.0, 0.0, 3.0)
    runs = pd.concat([frame(other + o, f"a-{o}") for o in offsets])
    found = paired_quadrants({"b": frame(other, "b"), "a": runs}, "b").iloc[0]
    assert found["estimate"] == pytest.approx(0, abs=1e-9)
    assert found["n_seeds"] == 3 and found["seed_sd"] == pytest.approx(3)
    assert found["high"] - found["low"] > 3
    same = pd.concat([frame(other + 2, f"b-{o}") for o in offsets])
    assert paired_quadrants({"b": same, "a": runs}, "b")["estimate"][0] == pytest.approx(-2)


def test_p_values_are_uniform_where_methods_are_alike(rng):
    p = []
    for _ in range(200):
        patient = rng.normal(0, 2, 30)
        one, two = (15 + np.repeat(patient, 2) + rng.normal(0, 1, 60) for _ in range(2))
        frames = {"b": frame(one), "a": frame(two)}
        p.append(paired_quadrants(frames, "b", Resampling(10, 400))["p"][0])
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.10
    assert 0.40 < np.mean(p) < 0.60


def test_holm_counts_the_family(rng):
    other = rng.normal(15, 1, 40)
    frames = {"b": frame(other)}
    frames |= {f"a{i}": frame(other + rng.normal(0.3, 1, 40)) for i in range(3)}
    table = paired_quadrants(frames, "b")
    assert (table["p_holm"] >= table["p"]).all() and (table["p_holm"] > table["p"]).any()


def test_other_eyes_and_unknown_methods_are_refused():
    one = frame(np.ones(6))
    with pytest.raises(ValueError, match="method 'c' is unknown: expected one of a, b"):
        paired_quadrants({"a": one, "b": one}, "c")
    with pytest.raises(ValueError, match="differ in their eyes"):
        paired_quadrants({"a": one.iloc[:4], "b": one}, "b")
    two = pd.concat([one, one.assign(run_id="x")])
    three = pd.concat([two, one.assign(run_id="y")])
    with pytest.raises(ValueError, match="number of runs"):
        paired_quadrants({"a": two, "b": three}, "b")
