"""Patients are resampled, and sums give exactly what the metrics themselves give."""

import numpy as np
import pytest
from scipy import stats
from synthetic_tables import eyes, profiles

from analysis.collapse import DEFINITIONS
from analysis.resampling import Resampling, bootstrap
from analysis.resampling.patient_sums import VALUES, PatientSums, Totals, replicates
from rnfl.core import metrics

RESTATED = DEFINITIONS | {"bias": metrics.bias}  # of Table 1, and of changes of camera


@pytest.fixture(scope="module")
def run():
    samples = eyes(24, seed=3)
    truth, label = profiles(samples, seed=3, missing=0.05)
    label[4, :300] = np.nan
    prediction = truth + np.random.default_rng(1).normal(0, 5, truth.shape)
    patients, codes = bootstrap.patient_codes(samples["patient_id"])
    return prediction, label, codes, len(patients)


def test_every_metric_has_a_restatement_for_totals():
    assert set(VALUES) == set(RESTATED)


@pytest.mark.parametrize("name", sorted(VALUES))
def test_totals_give_the_metric_on_the_data_and_on_resampled_eyes(run, name):
    prediction, label, codes, n_patients = run
    counts = bootstrap.patient_counts(n_patients, 5, seed=0).copy()
    counts[0] = 1
    values = VALUES[name](Totals(counts, PatientSums(prediction, label, codes)))
    for weights, value in zip(counts, values, strict=True):
        drawn = np.repeat(np.arange(len(codes)), weights[codes].astype(int))
        expected = RESTATED[name](prediction[drawn], label[drawn])
        assert value == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", ["sigma_between", "pearson_between_eyes", "calibration_slope"])
def test_totals_know_a_template(run, name):
    _, label, codes, n_patients = run
    template = np.tile(np.linspace(60, 120, 360), (len(label), 1))
    sums = PatientSums(template, label, codes)
    values = VALUES[name](Totals(bootstrap.patient_counts(n_patients, 3, seed=0), sums))
    assert np.array_equal(values, [0.0] * 3) if name == "sigma_between" else np.isnan(values).all()


def test_counts_draw_as_many_patients_as_there_are_and_repeat_with_the_seed():
    counts = bootstrap.patient_counts(7, 50, seed=1)
    assert (counts.sum(axis=1) == 7).all()
    assert np.array_equal(counts, bootstrap.patient_counts(7, 50, seed=1))
    assert not np.array_equal(counts, bootstrap.patient_counts(7, 50, seed=2))


def test_counts_are_one_draw_although_made_by_the_block_and_nobody_can_change_them():
    n_boot = 2 * bootstrap.BLOCK + 3
    drawn = np.random.default_rng(4).integers(9, size=(n_boot, 9))
    counts = bootstrap.patient_counts(9, n_boot, seed=4)
    for patient in range(9):
        assert np.array_equal(counts[:, patient], (drawn == patient).sum(axis=1))
    with pytest.raises(ValueError, match="read-only"):
        counts[0] = 1


def test_counts_are_of_a_type_that_holds_one_patient_drawn_every_time():
    assert bootstrap.patient_counts(1, 3, seed=0).tolist() == [[1]] * 3
    assert np.iinfo(bootstrap.patient_counts(300, 1, seed=0).dtype).max >= 300
    often = np.full((bootstrap.BLOCK + 1, 300), 300, np.uint16)
    totals = bootstrap.weighted_totals(often, np.full((300, 2), 300))
    assert totals.shape == (len(often), 2) and (totals == 300**3).all()


@pytest.mark.parametrize("name", ["mae", "ccc", "pearson_between_eyes", "sigma_ratio"])
def test_blocks_of_resamples_do_not_change_a_replicate(run, name):
    prediction, label, codes, n_patients = run
    sums = PatientSums(prediction, label, codes)
    counts = bootstrap.patient_counts(n_patients, 2 * bootstrap.BLOCK + 3, seed=5)
    found = replicates([name], sums, counts)[name]
    assert found == pytest.approx(VALUES[name](Totals(counts, sums)), rel=1e-12)


def test_the_order_of_eyes_does_not_matter():
    samples = eyes(15)
    values = np.random.default_rng(0).normal(size=len(samples))
    values[3] = np.nan
    shuffled = np.random.default_rng(1).permutation(len(values))
    ids = samples["patient_id"].to_numpy()
    first = bootstrap.mean_interval(values, ids, Resampling(200))
    assert first == pytest.approx(
        bootstrap.mean_interval(values[shuffled], ids[shuffled], resampling=Resampling(200))
    )
    assert first[0] == pytest.approx(np.nanmean(values))


def test_clustered_intervals_cover_and_eye_level_ones_do_not():
    rng = np.random.default_rng(0)
    n_patients, trials, mean = 60, 300, 10.0
    patients = np.repeat(np.arange(n_patients), 2).astype(str)
    separate = np.arange(2 * n_patients).astype(str)
    covered = {"patients": 0, "eyes": 0}
    for _ in range(trials):
        shared = np.repeat(rng.normal(size=n_patients), 2)
        errors = mean + np.sqrt(0.73) * shared + np.sqrt(0.27) * rng.normal(size=2 * n_patients)
        for name, ids in (("patients", patients), ("eyes", separate)):
            _, low, high = bootstrap.mean_interval(errors, ids, Resampling(300))
            covered[name] += low <= mean <= high
    assert 0.91 <= covered["patients"] / trials <= 0.98
    assert covered["eyes"] / trials <= 0.90


def test_seed_noise_is_student_t_of_a_mean_of_seeds():
    estimates = [10.0, 10.4, 10.9]
    noise = bootstrap.seed_noise(estimates, 20000, seed=0)
    low, high = stats.ttest_1samp(estimates, 10.0).confidence_interval(0.9)
    assert np.quantile(noise, [0.05, 0.95]) == pytest.approx(
        [low - np.mean(estimates), high - np.mean(estimates)], rel=0.01
    )
    assert not bootstrap.seed_noise([10.0], 10, seed=0).any()


def test_few_resamples_make_an_interval_unsteady_but_not_too_narrow():
    rng, n = np.random.default_rng(4), 20000
    one_more = rng.normal(size=(n, 40))
    ends = np.sort(one_more[:, 1:], axis=1)[:, [0, -1]]  # ranks 1 and 39 of 39
    held = (ends[:, 0] <= one_more[:, 0]) & (one_more[:, 0] <= ends[:, 1])
    assert held.mean() == pytest.approx(0.95, abs=0.006)
    assert bootstrap.interval(one_more[0, 1:]) == pytest.approx(tuple(ends[0]))


def test_undefined_replicates_and_missing_patients_are_said():
    assert np.isnan(bootstrap.interval(np.array([1.0, np.nan]))).all()
    assert np.isnan(bootstrap.mean_interval([np.nan], ["a"])).all()
    with pytest.raises(ValueError, match=r"rows \[1\] have no patient_id"):
        bootstrap.patient_codes(["a", None])
