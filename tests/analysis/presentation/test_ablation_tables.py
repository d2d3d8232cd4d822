"""Ablations on planted studies: settings, comparisons, wide tables, sentences and figures."""

import re
from functools import partial

import numpy as np
import pandas as pd
import pytest
from planted_ablations import FOUR, crossed, freezing, losses, noise, planted, rates, write_tables
from synthetic_tables import only

from analysis import conclusions, figures, tables
from analysis.accuracy import ablation, performance
from analysis.freezing import slopes
from analysis.presentation import style
from analysis.published import ablations as published_ablations
from analysis.resampling import Resampling
from rnfl.core import metrics
from rnfl.study import ablations
from rnfl.training.protocols import settings

N = 300  # permutations: the smallest Holm p is the family's size over this
BOOT = 60
LOSS = ["lambda_pearson", "lambda_gradient"]
RATES = ["lr_encoder", "lr_effective", "layer_decay"]


def stats(study, hyperparameters, n_perm=N):
    return ablation.statistics(*study, hyperparameters, Resampling(BOOT, n_perm))


def errors_alone(study, hyperparameters):
    """Return what ablation.statistics does, for the MAE alone."""
    predictions, samples, runs = study
    mae = {"mae": metrics.mae}
    resampling = Resampling(BOOT, N)
    table = performance.performance_table(predictions, samples, runs, resampling, mae)
    compared = performance.paired_comparisons(
        predictions, runs, ("aggressive", "template"), ("mae",), resampling=resampling
    )
    return tuple(ablation.attach(one, runs, hyperparameters) for one in (table, compared))


def freezing_results(cost, how=errors_alone, **options):
    predictions, samples, runs = freezing(cost, **{"n_patients": 12, **options})
    table, comparisons = how((predictions, samples, runs), ["percent_frozen"])
    points = slopes.run_points(predictions, runs)
    return table, comparisons, slopes.regressions(points, predictions, Resampling(N))


@pytest.fixture(scope="module")
def costly():
    """A line of 0.3 µm per 10 % from 4 µm, three seeds, two backbones."""
    names = ("phantom_mae", "phantom_cls")
    options = {"backbones": names, "seeds": (42, 43), "n_patients": 18, "sd": 0.001}
    return freezing_results(lambda x: 0.03 * x, partial(stats, n_perm=900), **options)


@pytest.fixture(scope="module")
def loss():
    return stats(
        losses(pearson_cost=0.1, gradient_cost=-0.1), ["lambda_pearson", "lambda_gradient"]
    )


def test_settings_are_read_from_the_runs_and_must_agree():
    _, _, runs = rates()
    found = ablation.settings(runs, RATES)
    assert len(found) == 6  # three rates under two decays, three seeds each
    row = only(found, protocol="aggressive")
    assert (row.lr_encoder, row.lr_effective, row.layer_decay) == (5e-5, pytest.approx(4e-4), 1)
    _, _, runs = freezing()
    assert (
        only(ablation.settings(runs, ["percent_frozen"]), protocol="freeze_50pct").percent_frozen
        == 50
    )
    with pytest.raises(ValueError, match="depth"):
        ablation.settings(runs, ["depth"])
    runs.loc[runs.index[-1], "freeze_fraction"] = 0.7
    with pytest.raises(ValueError, match="phantom_mae with freeze_100pct differ"):
        ablation.settings(runs, ["percent_frozen"])


def test_hyperparameters_stand_beside_planted_errors_and_differences(costly):
    table, comparisons, _ = costly
    mae = table[(table.metric == "mae") & (table.backbone == "phantom_mae")]
    expected = 4 + 0.03 * mae.percent_frozen
    assert mae.estimate.to_numpy() == pytest.approx(expected.to_numpy(), abs=0.05)
    assert len(mae) == 5 and (mae.n_seeds == 2).all()
    assert table.loc[table.backbone == "—", "percent_frozen"].isna().all()
    chosen = comparisons[(comparisons.against == "aggressive") & (comparisons.metric == "mae")]
    assert "aggressive" not in set(chosen.protocol) and len(chosen) == 8
    assert chosen.estimate.to_numpy() == pytest.approx(0.03 * chosen.percent_frozen, abs=0.06)
    assert set(comparisons.against) == {"aggressive", "template"}


def test_factorial_finds_the_planted_parts_and_pairs_them_by_seed():
    predictions, _, runs = crossed(freezing=0.5, pearson=-0.3, extra=0.2)
    parts = ablation.factorial(predictions, runs, FOUR, Resampling(N, N)).set_index("protocol")
    planted_parts = {"freezing": 0.5, "pearson": -0.3, "both": 0.4, "interaction": 0.2}
    for name, value in planted_parts.items():
        assert parts.estimate[name] == pytest.approx(value, abs=0.01)
        assert parts.low[name] <= parts.estimate[name] <= parts.high[name]
    assert (parts.n_seeds == 3).all() and (parts.p_holm < 0.05).all()
    some = runs[(runs.protocol != "structured") | (runs.seed == 43)]
    assert (ablation.factorial(predictions, some, FOUR, Resampling(50, 50)).n_seeds == 1).all()
    with pytest.raises(ValueError, match="structured"):
        ablation.factorial(predictions, runs[runs.protocol != "structured"], FOUR)
    apart = runs.assign(seed=range(len(runs)))
    with pytest.raises(ValueError, match="share no seed"):
        ablation.factorial(predictions, apart, FOUR)


def test_factorial_interval_is_that_of_patients():
    """Errors that differ between patients, not between eyes: the textbook error of their mean."""
    rng = np.random.default_rng(0)
    cost = dict(zip([f"p{i:03d}" for i in range(60)], rng.normal(0.3, 1, 60), strict=True))

    def error(protocol, backbone, seed, samples):
        return 8 + samples.patient_id.map(cost).to_numpy() * (
            settings(protocol)["freeze_fraction"] > 0
        )

    protocols = [*ablations.freezing([0, 1 / 2]), *ablations.losses([10])]
    predictions, samples, runs = planted(protocols, error, seeds=(42,), n_patients=60)
    twin = runs[runs.protocol == "pearson_10"].assign(protocol="structured", run_id="twin")
    copy = predictions[predictions.run_id == runs.run_id[1]].assign(run_id="twin")
    parts = ablation.factorial(
        pd.concat([predictions, copy]), pd.concat([runs, twin]), FOUR, Resampling(4000, 400)
    )
    row = only(parts, protocol="freezing")
    effect = samples.patient_id.map(cost).to_numpy()
    sizes = samples.groupby("patient_id").size()
    by_patient = pd.Series(effect).groupby(samples.patient_id.to_numpy()).sum()
    spread = np.sqrt(np.sum((by_patient - effect.mean() * sizes) ** 2)) / len(effect)
    assert row.estimate == pytest.approx(effect.mean())
    assert row.high - row.low == pytest.approx(2 * 1.96 * spread, rel=0.08)
    assert only(parts, protocol="interaction").estimate == pytest.approx(0, abs=1e-9)


def test_decay_is_compared_at_the_same_rate():
    predictions, _, runs = rates(decay_gain=0.1)
    effects = ablation.decay_effect(predictions, runs, Resampling(N, N))
    assert list(effects.lr_encoder) == [1e-6, 5e-5, 1e-3] and set(effects.layer_decay) == {0.75}
    assert effects.estimate.to_numpy() == pytest.approx([-0.1] * 3, abs=0.01)
    plain = runs[runs.layer_decay == 1]
    shown = predictions[predictions.run_id.isin(plain.run_id)]
    assert ablation.decay_effect(shown, plain, Resampling(50, 50)).empty


def test_wide_tables_have_a_row_per_cell(costly, loss):
    table, comparisons, regressions = costly
    wide = tables.freezing_wide(table, comparisons)
    assert len(wide) == 2 + 2 * 5
    row = wide[(wide["Backbone"] == "phantom masked AE") & (wide["Frozen (%)"] == "50")].iloc[0]
    assert re.match(r"5\.5\d? ?.*±", row["MAE (µm)"]) and row["Difference (µm)"].startswith("1.")
    assert float(row["p (Holm)"].lstrip("<")) < 0.05 and row["Seeds"] == "2"
    shared = wide[wide["Protocol"] == "aggressive"]
    assert (shared["Difference (µm)"] == "—").all()
    wide = tables.loss_wide(*loss)
    assert list(wide["λ Pearson"]) == ["—", "0", "0.5", "10", "30", "0", "0", "0", "—"]
    assert list(wide["λ gradient"]) == ["—", "0", "0", "0", "0", "0.05", "0.2", "1", "—"]
    fits = tables.regressions_wide(regressions)
    assert len(fits) == 4 and set(fits["Span"]) == {"0 to 50 %", "0 to 100 %"}
    assert fits["Slope over patients and seeds (µm per 10 %)"].str.startswith("0.3").any()
    rates_wide = tables.learning_rates_wide(*stats(rates(seeds=(42,), n_patients=12), RATES))
    assert {"5e-05", "1e-06"} < set(rates_wide["Rate"])
    assert {"0.0004", "8e-06"} < set(rates_wide["Effective rate"])


def said(results):
    _, comparisons, regressions = results
    lines = published_ablations.freezing_lines(published_ablations.freezing_points())
    return conclusions.freezing_costs(regressions, comparisons), conclusions.freezing_claim(
        regressions, lines
    )


def test_freezing_sentences_find_a_linear_cost_of_the_wrong_size(costly):
    costs, claim = said(costly)
    assert sum("freezing costs" in line for line in costs) == 4  # two backbones, two spans
    assert any("50 % against nothing frozen: higher, +1." in line for line in costs)
    assert any("AICc prefers a line" in line for line in costs)
    assert "3.6 µm per 10 % is stated, 18.7 %" in claim[0] and "1.04 µm (5.4 %)" in claim[0]
    assert "cost of freezing is shown in 2 of 2 backbones" in claim[1]
    assert "5.4 % per 10 % of the paper's points are less than is found in phantom_mae" in claim[1]
    assert (
        "line is the best of four models in 2 of 2" in claim[1] and "half-life of 10 %" in claim[1]
    )
    assert claim[2].startswith("0 to 100 %: ")


def test_freezing_sentences_say_the_opposite_of_opposite_numbers():
    _, claim = said(freezing_results(lambda x: 0.02 * x, sd=0.1))  # 5 % of 4 µm per 10 %
    assert "5.4 % per 10 % of the paper's points are not excluded in phantom_mae" in claim[1]
    _, claim = said(freezing_results(lambda x: 0.002 * x))
    assert "points are more than is found in phantom_mae" in claim[1]
    costs, claim = said(freezing_results(lambda x: -0.02 * x))
    assert "freezing helps" in costs[0] and "is shown in 0 of 1" in claim[1]
    costs, claim = said(freezing_results(lambda x: 0.0))
    assert "a cost of freezing is neither shown nor excluded" in costs[0]
    assert any("not distinguishable" in line for line in costs)
    costs, claim = said(freezing_results(lambda x: 2 * (1 - np.exp(-x / 25)), sd=0.01))
    shape = next(line for line in costs if "shape" in line)
    assert "prefers a saturating curve" in shape and "half-life 1" in shape
    assert "best of four models in 0 of 1" in claim[1]


def test_freezing_sentences_with_one_seed_and_with_models_that_learnt_nothing():
    costs, claim = said(freezing_results(lambda x: 0.03 * x, seeds=(42,)))
    assert "one seed: not possible" in costs[0] and "luck the interval leaves out" in costs[0]
    assert any("too few to compare" in line for line in costs)
    assert "cannot be judged" in claim[1]
    poor, _ = said(freezing_results(lambda x: 40 + 0 * x))
    assert any("not shown to beat the template" in line for line in poor)


def test_loss_sentences_go_both_ways(loss):
    text = "\n".join(conclusions.loss_terms(*loss))
    assert "Pearson penalty raises MAE arises here: clearly higher at 3 of 3" in text
    assert "gradient term helps a little arises here: MAE is clearly lower at 3 of 3" in text
    assert "collapses the spread is not shown" in text
    other = stats(losses(-0.1, 0.1, n_patients=12, seeds=(42,)), LOSS)
    text = "\n".join(conclusions.loss_terms(*other))
    assert "Pearson penalty raises MAE is excluded here" in text
    assert "gradient term helps a little is excluded here" in text


def test_a_collapse_under_the_pearson_term_is_seen(loss):
    table, comparisons = (frame.copy() for frame in loss)
    hit = (table.protocol == "pearson_30") & (table.metric == "sigma_ratio")
    table.loc[hit, ["estimate", "high"]] = [0.2, 0.3]
    hit = (comparisons.protocol == "pearson_30") & (comparisons.metric == "sigma_between")
    comparisons.loc[hit, ["estimate", "low", "high", "p_holm"]] = [-9.0, -10.0, -8.0, 0.001]
    text = "\n".join(conclusions.loss_terms(table, comparisons))
    assert "collapses the spread arises: σ_between is clearly smaller at 1 of 3" in text
    hit = (table.protocol == "aggressive") & (table.metric == "sigma_ratio")
    table.loc[hit, ["estimate", "high"]] = [0.1, 0.2]
    text = "\n".join(conclusions.loss_terms(table, comparisons))
    assert "cannot be judged" in text


@pytest.mark.parametrize(
    ("extra", "words"),
    [(0.3, "more than their sum"), (-0.3, "less than their sum"), (0.0, "is not shown")],
)
def test_structured_is_taken_apart_in_words(extra, words):
    predictions, _, runs = crossed(freezing=0.5, pearson=0.3, extra=extra)
    parts = ablation.factorial(predictions, runs, FOUR, Resampling(N, N))
    assert words in conclusions.structured_parts(parts)
    assert len(tables.factorial_wide(parts)) == 4


def test_learning_rate_sentences_name_the_best_rate_and_the_edge():
    few = {"seeds": (42,), "n_patients": 12}
    inside = conclusions.learning_rates(*errors_alone(rates(best=5e-5, **few), RATES))
    assert "encoder rate 5e-05 (effective 0.0004), layer-wise decay 0.75" in inside[0]
    assert "inside the grid" in inside[0] and "0.001: higher" in inside[1]
    edge = conclusions.learning_rates(
        *errors_alone(rates(best=1e-3, decay_gain=-0.1, **few), RATES)
    )
    assert "0.001 (effective 0.008), no decay" in edge[0] and "edge of the grid" in edge[0]
    for gain, words in ((0.1, "helps at 3 of 3 rates and harms at 0"), (-0.1, "helps at 0 of 3")):
        predictions, _, runs = rates(decay_gain=gain, **few)
        text = conclusions.layer_decay(ablation.decay_effect(predictions, runs, Resampling(N, N)))
        assert words in text
    assert "not tried" in conclusions.layer_decay(pd.DataFrame())


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    root = tmp_path_factory.mktemp("ablations")
    write_tables(root)
    return root


@pytest.mark.parametrize("stem", ["03_freezing", "04_loss_complexity", "05_learning_rate"])
def test_figures_are_drawn_from_the_tables_alone(results, stem):
    spec = figures.FIGURES[stem]
    with style.theme():
        figure = spec.draw(*(figures.read(results / stem / name) for name in spec.inputs))
    assert figure.get_figwidth() <= style.PAGE and len(figure.axes) >= 3


def test_published_numbers_carry_their_label_in_the_figures(results):
    for stem in ("03_freezing", "04_loss_complexity"):
        spec = figures.FIGURES[stem]
        with style.theme():
            figure = spec.draw(*(figures.read(results / stem / name) for name in spec.inputs))
        texts = [text.get_text() for axes in figure.axes for text in axes.texts]
        assert any("published" in text for text in texts) and "published" in spec.caption
        assert any("phantom" in text for text in texts)


def test_luck_of_a_run_is_the_same_twice():
    assert noise("a", 1) == noise("a", 1) != noise("a", 2)
