"""Bands on simulated errors: coverage as stated, of groups too, and what pointwise bands miss."""

import json

import crepes
import numpy as np
from pytest import approx, mark, raises

from rnfl.core import conformal
from rnfl.storage import provenance

THETA = np.deg2rad(np.arange(0, 360, 6))


def eyes(n, rng, worse=0.2, twice=False):
    """Return errors (n, 60) of smooth curves, thicker at the poles; a group errs half more."""
    waves = np.stack([f(m * THETA) for m in range(1, 7) for f in (np.cos, np.sin)])
    size = (6 + 4 * np.cos(2 * THETA)) / 3
    group = np.where(rng.random(n) < worse, "worse", "usual")
    error = (rng.normal(size=(n, len(waves))) @ waves + rng.normal(size=(n, 1))) * size
    error *= np.where(group == "worse", 1.5, 1.0)[:, None]
    patients = [f"p{i // 2 if twice else i}" for i in range(n)]
    return error, group, patients


def test_a_simultaneous_band_holds_the_whole_curve_and_a_pointwise_one_hardly_ever():
    rng, found = np.random.default_rng(1), []
    for _ in range(40):
        error, _, patients = eyes(450, rng)
        band = conformal.calibrate(np.full_like(error, 90), 90 + error, patients)
        new, _, _ = eyes(500, rng)
        prediction, true = np.full_like(new, 90), 90 + new
        whole = conformal.coverage(*band.limits(prediction), true)
        points = conformal.coverage(*band.limits(prediction, pointwise=True), true)
        found.append([whole["whole"], points["whole"], points["angles"]])
    whole, points, angles = np.mean(found, axis=0)
    assert whole == approx(0.9, abs=0.012) and angles == approx(0.9, abs=0.012)
    assert points < 0.5


def test_a_group_that_is_read_worse_needs_a_quantile_of_its_own():
    rng, plain, own = np.random.default_rng(2), [], []
    for _ in range(30):
        error, group, patients = eyes(900, rng)
        band = conformal.calibrate(np.full_like(error, 90), 90 + error, patients, groups=group)
        assert band.groups["worse"][0] > 1 > 0.8 * band.groups["usual"][0]
        new, names, _ = eyes(1500, rng)
        worse = new[names == "worse"]
        for kept, chosen in ((plain, None), (own, "worse")):
            ends = band.limits(np.full_like(worse, 90), chosen)
            kept.append(conformal.coverage(*ends, 90 + worse)["whole"])
    assert np.mean(plain) < 0.82 and np.mean(own) == approx(0.9, abs=0.015)


def test_fellow_eyes_give_one_score():
    error, _, patients = eyes(200, np.random.default_rng(3), twice=True)
    band = conformal.calibrate(np.zeros_like(error), error, patients)
    assert band.patients == approx(100 * 2 / 3, abs=1)
    again = conformal.calibrate(np.zeros_like(error), error, patients)
    assert again == band  # and which one is the seed's choice
    assert conformal.calibrate(np.zeros_like(error), error, patients, seed=1) != band


def test_few_patients_are_refused_and_said():
    error, _, patients = eyes(29, np.random.default_rng(4))
    band = conformal.calibrate(np.zeros_like(error), error, patients)
    assert band.patients == 29 and len(set(band.whole)) == 1  # too few to say how errors vary
    assert "29 patients" in band.doubts()[0]
    with raises(ValueError, match="8 patients give no band of 90%"):
        conformal.calibrate(np.zeros((8, 4)), error[:8, :4], patients[:8])
    with raises(ValueError, match="group 'worse'"):
        rare = np.where(np.arange(29) < 5, "worse", "usual")
        conformal.calibrate(np.zeros_like(error), error, patients, groups=rare)
    with raises(ValueError, match="group 'nobody'"):
        band.limits(error, "nobody")
    for level in (0.2, 1.0):
        with raises(ValueError, match="level"):
            conformal.calibrate(np.zeros_like(error), error, patients, level)


def test_missing_angles_count_nowhere():
    error, _, patients = eyes(120, np.random.default_rng(5))
    error[:, 3] = np.nan
    error[7] = np.nan
    band = conformal.calibrate(np.zeros_like(error), error, patients)
    assert np.isnan(band.whole[3]) and np.isnan(band.pointwise[3])
    assert np.isfinite(np.delete(band.whole, 3)).all()
    again = conformal.of_dict(provenance.plain(band.to_dict()))  # as JSON has it
    np.testing.assert_array_equal(again.whole, band.whole)
    seldom = error.copy()
    seldom[6:, 4] = np.nan  # measured in six patients: no quantile by itself
    assert np.isnan(conformal.calibrate(np.zeros_like(error), seldom, patients).pointwise[4])
    held = conformal.coverage(*band.limits(np.full_like(error, 90)), 90 + error)
    assert 0.8 < held["whole"] <= 1


def test_a_band_survives_json_and_thickness_is_not_negative():
    error, group, patients = eyes(300, np.random.default_rng(6))
    band = conformal.calibrate(np.zeros_like(error), error, patients, 0.8, group)
    assert conformal.of_dict(json.loads(json.dumps(band.to_dict()))) == band
    low, high = band.limits(np.full(60, 2.0))
    assert (low == 0).any() and (high > 2).all()


@mark.parametrize("n", [30, 101])
def test_the_quantile_is_that_of_crepes(n):
    scores = np.abs(np.random.default_rng(n).normal(size=n))
    oracle = crepes.ConformalRegressor().fit(scores)
    ends = oracle.predict_int(np.zeros(1), confidence=0.9)
    assert conformal.quantile(scores, 0.9) == approx(float(ends[0, 1]))
