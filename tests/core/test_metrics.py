"""Metrics against independent oracles: SciPy, scikit-learn and plain loops."""

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from rnfl.core import metrics

HUMP = 80 + 35 * np.cos(np.deg2rad(2 * np.arange(360)))  # µm, a shared double hump


@pytest.fixture
def pair(rng):
    """Return predictions and targets (24, 360), µm, correlated and complete."""
    level = rng.normal(0, 12, (24, 1))
    target = HUMP + level + rng.normal(0, 10, (24, 360))
    pred = HUMP + 5 + 0.6 * level + rng.normal(0, 6, (24, 360))
    return pred, target


@pytest.fixture
def holed(pair, rng):
    """Return the pair with a fifth of the targets missing, and one angle missing everywhere."""
    pred, target = pair[0], pair[1].copy()
    target[rng.random(target.shape) < 0.2] = np.nan
    target[:, 100] = np.nan
    return pred, target


def test_errors_against_scikit_learn(pair):
    pred, target = pair
    assert metrics.mae(pred, target) == pytest.approx(mean_absolute_error(target, pred))
    squared = mean_squared_error(target.ravel(), pred.ravel())
    assert metrics.rmse(pred, target) == pytest.approx(np.sqrt(squared))
    assert metrics.r2(pred, target) == pytest.approx(r2_score(target.ravel(), pred.ravel()))


def test_correlations_against_scipy(pair):
    pred, target = pair
    eyes = [pearsonr(p, t).statistic for p, t in zip(pred, target, strict=True)]
    np.testing.assert_allclose(metrics.correlation_of_each_eye(pred, target), eyes)
    assert metrics.pearson_per_eye(pred, target) == pytest.approx(np.mean(eyes))
    pooled = pearsonr(pred.ravel(), target.ravel()).statistic
    assert metrics.pearson_pooled(pred, target) == pytest.approx(pooled)
    angles = [pearsonr(p, t).statistic for p, t in zip(pred.T, target.T, strict=True)]
    assert metrics.pearson_between_eyes(pred, target) == pytest.approx(np.mean(angles))
    means = pearsonr(pred.mean(1), target.mean(1)).statistic
    assert metrics.global_r(pred, target) == pytest.approx(means)


def test_concordance_against_its_definition(pair):
    pred, target = (values.ravel() for values in pair)
    covariance = np.cov(pred, target, ddof=0)
    bias = pred.mean() - target.mean()
    expected = 2 * covariance[0, 1] / (np.trace(covariance) + bias**2)
    assert metrics.ccc(*pair) == pytest.approx(expected)


def test_arguments_have_an_order(pair):
    pred, target = pair
    assert metrics.r2(pred, target) != pytest.approx(metrics.r2(target, pred))
    assert metrics.sigma_ratio(pred, target) == pytest.approx(1 / metrics.sigma_ratio(target, pred))
    assert metrics.METRICS["sigma_flat"](pred, target) == metrics.sigma_flat(pred)
    assert metrics.METRICS["sigma_flat_target"](pred, target) == metrics.sigma_flat(target)


def test_missing_targets_against_loops(holed):
    pred, target = holed
    keep = np.isfinite(target)
    eye_mae = [np.mean(np.abs(p - t)[k]) for p, t, k in zip(pred, target, keep, strict=True)]
    np.testing.assert_allclose(metrics.mae_per_eye(pred, target), eye_mae)
    assert metrics.mae(pred, target) == pytest.approx(np.mean(eye_mae))
    eye_mse = [np.mean((p - t)[k] ** 2) for p, t, k in zip(pred, target, keep, strict=True)]
    assert metrics.rmse(pred, target) == pytest.approx(np.sqrt(np.mean(eye_mse)))
    r = [pearsonr(p[k], t[k]).statistic for p, t, k in zip(pred, target, keep, strict=True)]
    assert metrics.pearson_per_eye(pred, target) == pytest.approx(np.mean(r))
    r = [pearsonr(p[k], t[k]).statistic for p, t, k in zip(pred.T, target.T, keep.T, strict=True)
         if k.any()]  # fmt: skip
    assert metrics.pearson_between_eyes(pred, target) == pytest.approx(np.mean(r))
    assert metrics.r2(pred, target) == pytest.approx(r2_score(target[keep], pred[keep]))
    pooled = pearsonr(pred[keep], target[keep]).statistic
    assert metrics.pearson_pooled(pred, target) == pytest.approx(pooled)
    gaps = [abs(np.mean(p[k]) - np.mean(t[k])) for p, t, k in zip(pred, target, keep, strict=True)]
    assert metrics.global_mae(pred, target) == pytest.approx(np.mean(gaps))


def test_gradient_is_circular_and_skips_both_sides_of_a_gap(pair):
    pred, target = pair[0][:3], pair[1][:3].copy()
    target[0, 0] = np.nan
    expected = []
    for p, t in zip(pred, target, strict=True):
        steps = [abs((p[i] - p[i - 1]) - (t[i] - t[i - 1])) for i in range(360)]
        expected.append(np.mean([step for step in steps if not np.isnan(step)]))
        assert np.isnan(steps).sum() in (0, 2)
    assert metrics.gradient_mae(pred, target) == pytest.approx(np.mean(expected))


def test_spreads_against_loops(holed):
    _, x = holed
    columns = [column[np.isfinite(column)] for column in x.T]
    n = sum(len(column) for column in columns)
    between = sum(len(c) * np.var(c) for c in columns if len(c)) / n
    everything = np.concatenate(columns)
    template = sum(len(c) * (c.mean() - everything.mean()) ** 2 for c in columns if len(c)) / n
    assert metrics.sigma_between(x) == pytest.approx(np.sqrt(between))
    assert metrics.sigma_template(x) == pytest.approx(np.sqrt(template))
    assert metrics.sigma_flat(x) == pytest.approx(np.std(everything))


def test_spreads_of_complete_profiles(pair):
    _, x = pair
    assert metrics.sigma_flat(x) == pytest.approx(np.std(x))
    assert metrics.sigma_between(x) == pytest.approx(np.sqrt(np.var(x, axis=0).mean()))
    assert metrics.sigma_template(x) == pytest.approx(np.std(x.mean(axis=0)))


@pytest.mark.parametrize("which", ["pair", "holed"])
def test_law_of_total_variance(which, request):
    for x in request.getfixturevalue(which):
        total = metrics.sigma_between(x) ** 2 + metrics.sigma_template(x) ** 2
        assert metrics.sigma_flat(x) ** 2 == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_template_is_seen_by_sigma_between_alone(dtype, rng):
    target = HUMP + rng.normal(0, 12, (500, 1)) + rng.normal(0, 5, (500, 360))
    template = np.tile(metrics.template_profile(target).astype(dtype), (500, 1))
    assert metrics.sigma_between(template) == 0
    assert metrics.sigma_ratio(template, target) == 0
    assert metrics.sigma_flat(template) > 20
    assert metrics.pearson_per_eye(template, target) > 0.9
    assert np.isnan(metrics.pearson_between_eyes(template, target))
    assert np.isnan(metrics.global_r(template, target))


def test_a_shift_between_eyes_is_seen_by_sigma_between():
    x = np.stack([HUMP - 10, HUMP + 10])
    assert metrics.sigma_between(x) == pytest.approx(10)
    assert metrics.sigma_template(x) == pytest.approx(HUMP.std())


def test_spread_of_predictions_covers_measured_entries_only(holed):
    pred, target = holed
    masked = np.where(np.isfinite(target), pred, np.nan)
    values = metrics.evaluate(pred, target)
    assert values["sigma_between"] == metrics.sigma_between(masked)
    assert values["sigma_ratio"] == pytest.approx(
        metrics.sigma_between(masked) / metrics.sigma_between(target)
    )


def test_perfect_prediction(pair):
    _, target = pair
    values = metrics.evaluate(target, target)
    for name in ("mae", "rmse", "gradient_mae", "global_mae"):
        assert values[name] == 0
    for name in ("r2", "ccc", "pearson_per_eye", "pearson_pooled", "sigma_ratio", "global_r"):
        assert values[name] == pytest.approx(1)


def test_nothing_measured_gives_nan_without_a_warning():
    values = metrics.evaluate(np.zeros((3, 360)), np.full((3, 360), np.nan))
    assert list(values) == list(metrics.METRICS)
    assert all(np.isnan(value) for value in values.values())
    assert np.isnan(metrics.mae(np.empty((0, 360)), np.empty((0, 360))))


def test_template_profile_is_the_mean_of_what_was_measured(holed):
    _, target = holed
    template = metrics.template_profile(target)
    assert template[3] == pytest.approx(np.nanmean(target[:, 3]))
    assert np.isnan(template[100])


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match=r"rows \[1\] are not finite"):
        metrics.mae([[1.0], [np.nan]], [[1.0], [1.0]])
    with pytest.raises(ValueError, match=r"\(2, 360\), target \(3, 360\)"):
        metrics.mae(np.zeros((2, 360)), np.zeros((3, 360)))
