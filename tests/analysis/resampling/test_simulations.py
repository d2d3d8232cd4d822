"""Simulations with planted truth: intervals cover, p-values are uniform, Holm holds its promise.

Monte-Carlo errors: a share near 0.95 of S simulations has SE sqrt(0.05 · 0.95 / S): 0.49 points for
S = 2,000, 0.7 for 1,000, 1.1 for 400. ``benchmarks/coverage.py`` runs more of them.
"""

import json

import numpy as np
import pandas as pd
import pytest
import simulated_studies as simulated
from scipy import stats

from analysis.accuracy.performance import compare
from analysis.accuracy.quadrants import paired_quadrants, quadrant_table
from analysis.collapse import DEFINITIONS
from analysis.fairness.groups import Tally, grouping
from analysis.resampling import DEFAULT, Resampling, bootstrap
from analysis.resampling.comparisons import holm
from analysis.resampling.conditions import Condition, Run, row
from analysis.resampling.patient_sums import VALUES, PatientSums, Totals
from analysis.resampling.scales import LOG, REFLECTED, SCALES, calibrated
from rnfl.storage.paths import project_root

PATIENTS, STUDIES, RESAMPLES = 200, 2000, 399  # SE of a coverage: 0.49 points
MEASURED = [name for name in DEFINITIONS if not name.endswith("_target")]


def standard_error(share, n):
    return np.sqrt(share * (1 - share) / n)


@pytest.fixture(scope="module")
def covered():
    return simulated.coverage(PATIENTS, RESAMPLES, STUDIES, seed=1)


@pytest.mark.parametrize("metric", DEFINITIONS)
def test_intervals_of_every_metric_cover_93_to_97_percent(covered, metric):
    for model in "ab":
        share = covered[model, metric]
        print(f"{model} {metric}: {share:.3f} ± {standard_error(share, STUDIES):.4f}")
        assert 0.93 <= share <= 0.97


@pytest.mark.parametrize("metric", MEASURED)
def test_intervals_of_every_paired_difference_cover_93_to_97_percent(covered, metric):
    assert 0.93 <= covered["a-b", metric] <= 0.97


def test_percentile_intervals_of_spreads_fail_and_the_scales_mend_them():
    n = 600  # SE near 0.85: 1.5 points
    plain = simulated.coverage(30, RESAMPLES, n, 2, method=lambda _, e, replicates, n: replicates)
    mended = simulated.coverage(30, RESAMPLES, n, 2)
    for metric in ("sigma_between", "sigma_between_target", "template_share"):
        assert plain["a", metric] < 0.90
        assert mended["a", metric] > plain["a", metric] + 0.03
    for metric in ("mae", "pearson_between_eyes", "r2", "calibration_slope"):
        assert 0.91 <= mended["a", metric] <= 0.98


def test_the_committed_coverages_are_of_all_metrics_and_in_range():
    path = project_root() / "benchmarks" / "coverage.json"
    held = json.loads(path.read_text(encoding="utf-8"))
    assert held["metrics"] == list(DEFINITIONS), "run benchmarks/coverage.py again"
    assert held["standard_error"] <= 0.005
    for n_patients in ("100", "300"):
        shares = held["coverage"][n_patients]["ours"]
        assert set(shares) >= {
            f"{model} {name}" for model in ("a", "b", "a-b") for name in MEASURED
        }
        assert all(0.93 <= share <= 0.97 for share in shares.values())
    quoted = held["coverage"]["30"]
    assert (
        round(100 * quoted["percentile"]["a sigma_between"], 1) == 86.2
    )  # in analysis.resampling.scales
    assert round(100 * quoted["ours"]["a sigma_between"], 1) == 93.9


def test_the_simulated_truth_is_that_of_the_metrics_themselves():
    codes, target, predictions = simulated.draw_eyes(20_000, np.random.default_rng(7))
    for (model, metric), value in simulated.population().items():
        if model != "a-b" and metric in DEFINITIONS:
            found = DEFINITIONS[metric](predictions[model], target)
            assert found == pytest.approx(value, rel=0.03)
    two = np.bincount(codes) == 2
    first = np.flatnonzero(np.diff(codes, prepend=-1))[two]
    one, other = target[first].mean(axis=1), target[first + 1].mean(axis=1)
    assert np.corrcoef(one, other)[0, 1] == pytest.approx(0.78, abs=0.03)


def test_the_simulated_interval_is_the_one_that_tables_get():
    studies = simulated.intervals(40, 199, 3, np.random.default_rng(5))
    found = {key[:2]: key[2:] for key in studies}
    rng = np.random.default_rng(5)
    codes, target, predictions = simulated.draw_eyes(40, rng, 3)
    counts = bootstrap.patient_counts(40, 199, seed=int(rng.integers(2**31)))
    own = (codes >= 40) & (codes < 80)  # the second study
    for metric in DEFINITIONS:
        x, y = predictions["a"][own], target[own]
        estimate = DEFINITIONS[metric](x, y)
        replicates = VALUES[metric](Totals(counts, PatientSums(x, y, codes[own] - 40)))
        made = row(
            {}, metric, [estimate], [calibrated(metric, estimate, replicates, 40)], 1, DEFAULT
        )
        low, high = found["a", metric]
        assert (made["low"], made["high"]) == pytest.approx((low[1], high[1]))


# --- seeds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patients", "own", "seeds", "most"),
    [(0.0, 0.0, 1.0, 0.97), (1.0, 0.0, 1.0, 0.99), (1.0, 0.0, 3.0, 0.99), (1.0, 1.0, 0.0, 1.0)],
    ids=["seeds only", "as much as patients", "more than patients", "none, models differ by eye"],
)
def test_intervals_over_three_seeds_cover_at_least_93_percent(patients, own, seeds, most):
    """SDs of what patients share over runs, of each run's own part, and of the runs' mean."""
    rng, held, n = np.random.default_rng(3), 0, 1000
    for _ in range(n):
        runs = seeds * rng.normal(size=3) + patients * rng.normal() + own * rng.normal(size=3)
        replicates = (
            runs[:, None] + patients * rng.normal(size=399) + own * rng.normal(size=(3, 399))
        )
        made = row({}, "mae", runs, replicates, 1, Resampling(seed=int(rng.integers(2**31))))
        held += made["low"] <= 0 <= made["high"]
    assert 0.93 <= held / n <= most


def conditions_of(models, target, codes):
    """Return one condition per model from predictions (seeds, n, k), on the same eyes."""
    patients, eye_ids = np.unique(codes).astype(str), np.arange(len(codes)).astype(str)
    return [
        Condition(
            {"protocol": name},
            tuple(
                Run(f"{name}{seed}", seed, eye_ids, patients, codes, prediction, target)
                for seed, prediction in enumerate(predictions)
            ),
        )
        for name, predictions in models.items()
    ]


def null_p_values(n_seeds, run_sd, n, seed, n_patients=60):
    """Return p-values of two models that are alike but for errors by eye and noise by run."""
    rng, found = np.random.default_rng(seed), []
    for trial in range(n):
        codes, target, _ = simulated.draw_eyes(n_patients, rng)
        models = {}
        for name in "ab":
            size = 10 * (1 + run_sd * rng.normal(size=(n_seeds, 1, 1)))
            own = rng.normal(size=(n_seeds, len(codes), 1)) + rng.normal(
                size=(n_seeds, *target.shape)
            )
            models[name] = target + size * own
        pair = conditions_of(models, target, codes)
        found.append(compare(*pair, "mae", resampling=Resampling(2, 199, trial))["p"])
    return np.array(found)


@pytest.mark.parametrize(
    ("n_seeds", "run_sd"), [(1, 0.0), (3, 0.2)], ids=["one seed", "three seeds that differ"]
)
def test_p_values_are_uniform_under_the_null(n_seeds, run_sd):
    p = null_p_values(n_seeds, run_sd, 500, seed=4)
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert abs((p <= 0.05).mean() - 0.05) <= 3 * standard_error(0.05, len(p))


def test_seeds_that_do_not_differ_make_p_values_too_large_rather_than_too_small():
    p = null_p_values(3, 0.0, 300, seed=5)
    assert (p <= 0.05).mean() <= 0.05 + 2 * standard_error(0.05, len(p))


def test_noise_of_one_seed_alone_would_be_taken_for_a_difference():
    """Why seeds are needed: with run noise and one seed, the test rejects alike models often."""
    assert (null_p_values(1, 0.2, 100, seed=6) <= 0.05).mean() > 0.3


# --- tables of quadrants and of groups ------------------------------------------------------------


def quadrant_eyes(rng, patients=12):
    """Return a quadrant frame whose errors fellow eyes share; their mean is 20 µm, the bias 0."""
    n, names = 2 * patients, list("SNIT")
    wrong = 10 * rng.gamma(2, 1, (patients, 4)) * rng.choice([-1, 1], (patients, 4))
    columns = {f"true_{name}": 80.0 for name in names}
    columns |= {f"pred_{name}": 80 + wrong[:, j].repeat(2) for j, name in enumerate(names)}
    ids = [f"e{i:02}" for i in range(n)], [f"p{i // 2:02}" for i in range(n)]
    return pd.DataFrame({"run_id": "m", "eye_id": ids[0], "patient_id": ids[1], **columns})


def test_intervals_of_quadrants_cover_as_others_do():
    # Twelve patients, 150 tables of four quadrants, SE 0.9 points. Plain percentile intervals cover
    # some 90 %.
    rng, tables = np.random.default_rng(13), []
    for trial in range(150):
        one = quadrant_eyes(rng)
        tables.append(quadrant_table({"m": one}, "d", Resampling(199, 1, trial)))
    table = pd.concat(tables)
    table = table[table["group"].isin(list("SNIT"))]
    for metric, truth in (("mae", 20.0), ("bias", 0.0)):
        rows = table[table["metric"] == metric]
        share = ((rows["low"] <= truth) & (truth <= rows["high"])).mean()
        print(f"{metric}: {share:.3f}")
        assert 0.92 <= share <= 0.98


def test_intervals_of_paired_quadrants_cover_and_their_p_is_uniform():
    # Twelve patients, 300 comparisons, SE 1.3 points.
    rng, found = np.random.default_rng(15), []
    for trial in range(300):
        pair = {"m": quadrant_eyes(rng), "b": quadrant_eyes(rng)}
        found.append(paired_quadrants(pair, "b", Resampling(199, 199, trial)).iloc[0])
    found = pd.DataFrame(found)
    share = ((found["low"] <= 0) & (found["high"] >= 0)).mean()
    print(f"difference: {share:.3f}")
    assert 0.92 <= share <= 0.98
    assert stats.kstest(found["p"].astype(float), "uniform").pvalue > 0.001


def test_intervals_of_a_group_are_widened_for_its_own_patients():
    # A group of 12 among 120 patients, 500 studies, SE 1 point.
    rng, held, n = np.random.default_rng(14), 0, 120
    eyes = pd.DataFrame({"sex": np.where(np.arange(2 * n) < 24, "F", "M")})
    codes = np.repeat(np.arange(n), 2)
    tally = Tally([grouping(eyes, "sex")], codes, np.ones(2 * n, bool))
    for trial in range(500):
        errors = np.repeat(10 * rng.gamma(2, 1, n), 2)[None]
        again = tally.resampled("mae", errors, bootstrap.patient_counts(n, 199, trial))
        low, high = bootstrap.interval(again[0, :, list(tally.groupings[0].levels).index("F")])
        held += low <= 20 <= high
    print(held / 500)
    assert 0.92 <= held / 500 <= 0.98


# --- families ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [0.0, 0.6], ids=["independent", "correlated"])
def test_holm_keeps_the_family_wise_error(shared):
    rng, n, true = np.random.default_rng(8), 4000, 7
    z = np.sqrt(1 - shared) * rng.normal(size=(n, 10)) + np.sqrt(shared) * rng.normal(size=(n, 1))
    z[:, true:] += 4
    adjusted = np.array([holm(p) for p in 2 * stats.norm.sf(np.abs(z))])
    wrong = (adjusted[:, :true] <= 0.05).any(axis=1).mean()
    assert wrong <= 0.05 + 2 * standard_error(0.05, n)
    assert (adjusted[:, true:] <= 0.05).mean() > 0.85


# --- oracles -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one_study():
    codes, target, predictions = simulated.draw_eyes(60, np.random.default_rng(9))
    return codes, target, predictions["a"]


def eyes_of(patients, codes):
    """Return the eyes of drawn patients, as often as they were drawn."""
    return np.concatenate([np.flatnonzero(codes == patient) for patient in patients])


def test_resampled_sums_spread_like_metrics_of_resampled_eyes(one_study):
    """Brute force: draw patients, gather their eyes, compute the metric. SE of an SD: 4 %."""
    codes, target, prediction = one_study
    rng = np.random.default_rng(10)
    draws = [eyes_of(rng.integers(0, 60, 60), codes) for _ in range(400)]
    counts = bootstrap.patient_counts(60, 4000, seed=1)
    totals = Totals(counts, PatientSums(prediction, target, codes))
    for metric, definition in DEFINITIONS.items():
        brute = np.array([definition(prediction[eyes], target[eyes]) for eyes in draws])
        fast = VALUES[metric](totals)
        assert fast.std() == pytest.approx(brute.std(), rel=0.16)
        assert abs(fast.mean() - brute.mean()) < 4 * brute.std() / np.sqrt(len(brute))


@pytest.mark.parametrize("metric", ["mae", "sigma_between", "sigma_flat", "r2"])
def test_intervals_agree_with_scipy(one_study, metric):
    """SciPy's percentile interval, and its basic interval of log σ where ours is reflected."""
    codes, target, prediction = one_study
    to, back = LOG if metric in REFLECTED else (np.asarray, np.asarray)

    def statistic(patients):
        eyes = eyes_of(patients, codes)
        return float(to(DEFINITIONS[metric](prediction[eyes], target[eyes])))

    method = "basic" if metric in REFLECTED else "percentile"
    found = stats.bootstrap(
        (np.arange(60),), statistic, n_resamples=1500, vectorized=False, method=method,
        rng=np.random.default_rng(11),
    ).confidence_interval  # fmt: skip
    estimate = DEFINITIONS[metric](prediction, target)
    counts = bootstrap.patient_counts(60, 4000, seed=2)
    replicates = VALUES[metric](Totals(counts, PatientSums(prediction, target, codes)))
    ours = bootstrap.interval(calibrated(metric, estimate, replicates, 10**9))  # not widened
    theirs = back(np.array(found))
    assert np.abs(np.array(ours) - theirs).max() < 0.08 * (theirs[1] - theirs[0])


def test_permutation_agrees_with_scipy_on_a_paired_mean():
    rng, n = np.random.default_rng(12), 9  # 512 exchanges: SciPy takes them all
    target = np.zeros((n, 6))
    a, b = rng.normal(0, 10, (2, n, 6)) * np.array([1.0, 0.7])[:, None, None]
    found = compare(
        *conditions_of({"a": [a], "b": [b]}, target, np.arange(n)),
        "mae",
        resampling=Resampling(n_perm=20_000),
    )
    errors = np.abs(a).mean(axis=1), np.abs(b).mean(axis=1)
    exact = stats.permutation_test(
        errors, lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples"
    )
    assert 0.02 < exact.pvalue < 0.98
    assert found["p"] == pytest.approx(exact.pvalue, abs=4 * standard_error(exact.pvalue, 20_000))
    assert found["estimate"] == pytest.approx(exact.statistic)


# --- scales --------------------------------------------------------------------------------------


def test_scales_know_the_metrics_and_keep_them_in_range():
    assert set(SCALES) <= set(DEFINITIONS) and set(SCALES) >= REFLECTED
    close = np.array([0.97, 0.985, 0.999])
    assert (calibrated("pearson_per_eye", 0.99, close, 3) < 1).all()
    assert (calibrated("sigma_between", 0.1, np.array([1e-3, 0.2]), 3) > 0).all()
    for estimate, replicates in ((0.0, np.zeros(3)), (np.nan, np.full(3, np.nan))):
        same = calibrated("sigma_between", estimate, replicates, 30)
        assert np.array_equal(same, replicates, equal_nan=True)
