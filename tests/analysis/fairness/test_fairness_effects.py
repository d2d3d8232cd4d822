"""Planted differences between groups are recovered, and so is what a model makes of them."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats
from synthetic_tables import frame, only

from analysis import conclusions
from analysis.fairness import group_effects
from analysis.resampling import Resampling
from rnfl.core import schema
from rnfl.datasets.phantom import eyes as phantom_eyes

OPTIONS = {"resampling": Resampling(200), "planted": True}
FIELDS = ("eye_id", "patient_id", "age", "sex", "race", "severity")
SHIFT = phantom_eyes.GROUP_SHIFT


def samples_of(eyes):
    return pd.DataFrame({name: [getattr(eye, name) for eye in eyes] for name in FIELDS})


@pytest.fixture(scope="module")
def eyes():
    return phantom_eyes.population(4000, seed=3)


@pytest.fixture(scope="module")
def labels(eyes):
    return samples_of(eyes), np.stack([eye.label for eye in eyes]).astype(float)


def test_planted_values_are_those_of_the_phantom():
    assert group_effects.PLANTED["sex", "F − M"] == SHIFT["F"] - SHIFT["M"] == 2.0
    assert group_effects.PLANTED["race", "Asian − White"] == 3.0
    assert group_effects.PLANTED["race", "Black − White"] == -3.0
    assert group_effects.PLANTED["age", "per decade"] == -2.0


def test_every_planted_difference_is_found_in_the_labels(labels):
    found = group_effects.label_effects(*labels, **OPTIONS)
    everybody = found[(found["eyes"] == "all") & (found["attribute"] != "planted")]
    assert ((everybody["low"] > 0) | (everybody["high"] < 0)).all()
    assert (np.sign(everybody["estimate"]) == np.sign(everybody["planted"])).all()
    (sentence,) = conclusions.planted_differences(found)
    assert sentence.count(", found") == 4 and "not told" not in sentence


def test_intervals_hold_the_planted_differences_in_healthy_eyes(labels):
    # Eight separate samples, four differences each: were the coverage 95 %, 99 % of repetitions
    # would find at least 27 of 32.
    samples, profiles = labels
    held = []
    for part in np.array_split(np.arange(len(samples)), 8):
        found = group_effects.label_effects(samples.iloc[part], profiles[part], **OPTIONS)
        rows = found[(found["eyes"] == "healthy") & (found["attribute"] != "planted")]
        held += list((rows["low"] <= rows["planted"]) & (rows["planted"] <= rows["high"]))
    assert len(held) == 32
    assert np.sum(held) >= stats.binom.ppf(0.01, 32, 0.95) == 27


def test_a_phantom_without_planted_differences_shows_none(monkeypatch):
    for name in SHIFT:
        monkeypatch.setitem(SHIFT, name, 0.0)
    eyes = phantom_eyes.population(1600, seed=3)
    profiles = np.stack([eye.label for eye in eyes]).astype(float)
    found = group_effects.label_effects(samples_of(eyes), profiles, resampling=Resampling(200))
    rows = found[found["attribute"].isin(["sex", "race"])]
    inside = (rows["low"] <= 0) & (rows["high"] >= 0)
    assert inside.sum() >= stats.binom.ppf(0.001, len(rows), 0.95)
    assert found["planted"].isna().all()


def test_the_fit_is_ordinary_least_squares(labels):
    samples, profiles = labels
    samples, profiles = samples.iloc[:600], profiles[:600]
    found = group_effects.label_effects(samples, profiles, resampling=Resampling(20))
    data = samples.assign(y=profiles.mean(axis=1), decade=samples["age"] / 10)
    formula = "y ~ C(sex, Treatment('M')) + C(race, Treatment('White')) + decade + C(severity)"
    fit = smf.ols(formula, data).fit().params
    rows = found[found["eyes"] == "all"].set_index("group")["estimate"]
    assert rows["F − M"] == pytest.approx(fit["C(sex, Treatment('M'))[T.F]"])
    assert rows["Black − White"] == pytest.approx(fit["C(race, Treatment('White'))[T.Black]"])
    assert rows["per decade"] == pytest.approx(fit["decade"])


def models(labels, n=500):
    """Predictions of readers that keep a half, all and one and a half of what sets eyes apart."""
    samples, profiles = labels[0].iloc[:n], labels[1][:n]
    mean = profiles.mean(axis=0)
    tables = []
    for name, kept in (("half", 0.5), ("whole", 1.0), ("more", 1.5), ("none", 0.0)):
        made = frame(name, samples, mean + kept * (profiles - mean), profiles)
        tables.append(made.assign(backbone="b", protocol=name))
    return pd.concat(tables, ignore_index=True), samples


def test_shrinking_and_exaggerating_are_told_apart(labels):
    predictions, samples = models(labels)
    shuffled = (table.sample(frac=1, random_state=2) for table in (predictions, samples))
    effects = group_effects.group_effects(*shuffled, **OPTIONS)
    for group in ("Black − White", "per planted µm"):
        truth = only(effects, protocol="half", metric="thickness", group=group)["estimate"]
        for protocol, factor in (("half", 0.5), ("whole", 1.0), ("more", 1.5), ("none", 0.0)):
            here = {"protocol": protocol, "group": group}
            predicted = only(effects, metric="predicted", **here)["estimate"]
            bias = only(effects, metric="bias", **here)["estimate"]
            assert predicted == pytest.approx(factor * truth, abs=1e-4)
            assert bias == pytest.approx(predicted - truth, abs=1e-4)
    for protocol, word in (("half", "shrink"), ("more", "exaggerate")):
        said = conclusions.reproduction(effects[effects["protocol"] == protocol])
        assert f"most {word} the differences" in said[0]
        assert only(effects, protocol=protocol, metric="bias", attribute="planted")["p"] < 0.001
    unsure = effects[effects["protocol"] == "half"].assign(p_holm=0.2)
    assert "most seem to shrink the differences" in conclusions.reproduction(unsure)[0]
    noisy = effects[effects["protocol"] == "whole"].assign(low=-1.0, high=1.0)
    assert "not told from reproducing" in conclusions.reproduction(noisy)[0]
    assert (effects["p_holm"].dropna() >= effects["p"][effects["p_holm"].notna()] - 1e-12).all()


def test_rows_without_an_answer_say_so(labels):
    predictions, samples = models(labels, n=60)
    few = samples.assign(race=np.where(np.arange(60) < 4, "Asian", "White"), severity=None)
    effects = group_effects.group_effects(predictions, few, resampling=Resampling(20))
    for group in ("Asian − White", "Black − White"):
        row = only(effects, protocol="half", metric="bias", group=group)
        assert np.isnan(row["estimate"]) and np.isnan(row["p"]) and row["n"] == 60
    sex = only(effects, protocol="half", metric="bias", group="F − M")
    assert np.isfinite(sex["estimate"])
    assert "cannot be said" in conclusions.reproduction(effects)[0]  # nothing planted
    with pytest.raises(ValueError, match="60 samples for 10 profiles"):
        group_effects.label_effects(few, np.ones((10, 360)))


def test_p_of_the_bias_does_not_depend_on_the_number_of_resamples(labels):
    # With three seeds their error is Student's t with 2 degrees of freedom, whose draws have no
    # SD: one estimated from them grows with their number, and p with it.
    samples, profiles = labels[0].iloc[:300], labels[1][:300]
    rng, parts, runs = np.random.default_rng(2), [], []
    woman = (samples["sex"] == "F").to_numpy()
    for seed, shift in enumerate((1.0, 2.0, 3.0)):
        made = profiles + rng.normal(0, 6, (300, 1)) + shift * woman[:, None]
        parts.append(frame(f"r{seed}", samples, made, profiles))
        runs.append({"run_id": f"r{seed}", "backbone": "b", "protocol": "naive", "seed": seed})
    found = []
    for n_boot in (200, 20_000):
        given = pd.concat(parts), samples, pd.DataFrame(runs), Resampling(n_boot, seed=1)
        effects = group_effects.group_effects(*given)
        found.append(only(effects, metric="bias", group="F − M")["p"])
    assert 0.01 < found[0] < 0.5
    assert found[0] == found[1]


@pytest.mark.parametrize(("seeds", "sd"), [(1, 0.0), (3, 0.0), (3, 0.5), (3, 3.0)])
def test_p_values_over_patients_and_seeds_are_not_too_small(seeds, sd):
    # 1,500 simulations, SE 0.56 points: 99.9 % of repetitions find at most 6.8 % at 5 %.
    rng, p = np.random.default_rng(4), []
    for _ in range(1500):
        patients = rng.normal(0, 1, 40)
        runs = patients.mean() + sd / np.sqrt(40) * rng.normal(size=seeds)
        influence = (patients - patients.mean()) / 40
        p.append(group_effects.patients_and_seeds_p(runs, influence))
    rate = np.mean(np.array(p) <= 0.05)
    print(f"{seeds} seeds, SD {sd}: {rate:.4f}")
    assert rate <= stats.binom.ppf(0.999, 1500, 0.05) / 1500
    if sd == 0:
        assert stats.kstest(p, "uniform").pvalue > 0.001


def test_the_p_of_the_bias_is_that_of_clustered_standard_errors(labels):
    samples, profiles = labels[0].iloc[:500], labels[1][:500]
    made = frame("m", samples, profiles + np.random.default_rng(0).normal(0, 5, (500, 1)), profiles)
    effects = group_effects.group_effects(
        made.assign(backbone="b", protocol="naive"), samples, resampling=Resampling(20)
    )
    data = samples.assign(
        y=only_bias(made), decade=samples["age"] / 10, code=pd.factorize(samples["patient_id"])[0]
    )
    formula = "y ~ C(sex, Treatment('M')) + C(race, Treatment('White')) + decade + C(severity)"
    oracle = smf.ols(formula, data).fit(cov_type="cluster", cov_kwds={"groups": data["code"]})
    p = only(effects, metric="bias", group="F − M")["p"]
    assert p == pytest.approx(oracle.pvalues["C(sex, Treatment('M'))[T.F]"], abs=0.01)


def only_bias(predictions):
    return (schema.matrix(predictions, "prediction") - schema.matrix(predictions, "target")).mean(1)
