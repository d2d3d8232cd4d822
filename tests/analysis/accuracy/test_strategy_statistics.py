"""Strategies on planted studies: costs, pooled noise of seeds, sentences and the factorial."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from planted_strategies import PLANTED, scale_table, scales, study
from scipy import stats
from synthetic_tables import only

from analysis import conclusions, published, tables
from analysis.accuracy import strategies
from analysis.accuracy.performance import paired_comparisons
from analysis.conclusions import claims
from analysis.resampling import Resampling
from analysis.resampling.bootstrap import RunNoise, pooled, seed_noise

FEW = Resampling(60, 400)
TEN = tuple(range(42, 52))


@pytest.fixture(scope="module")
def ten():
    predictions, samples, runs = study(TEN, n_patients=30)
    return *strategies.statistics(predictions, samples, runs, FEW), strategies.costs(runs)


def test_differences_from_full_fine_tuning_are_the_planted_ones(ten):
    table, comparisons, _ = ten
    for protocol, (more, *_) in PLANTED.items():
        row = only(table, protocol=protocol, metric="mae")
        assert row["estimate"] == pytest.approx(4 + more, abs=0.05) and row["n_seeds"] == 10
        if protocol != "aggressive":
            row = only(comparisons, protocol=protocol, metric="mae", against="aggressive")
            assert row["estimate"] == pytest.approx(more, abs=0.03)
            assert row["low"] < row["estimate"] < row["high"]


def test_every_conclusion_is_one_of_three(ten):
    _, comparisons, _ = ten
    rows = comparisons.query("against == 'aggressive' and metric == 'mae'").set_index("protocol")
    verdicts = {name: claims.verdict(row) for name, row in rows.iterrows()}
    assert verdicts["bitfit"] == verdicts["readout"] == "differs"
    assert set(verdicts.values()) <= {"differs", "equivalent", "undecided"}
    said = conclusions.few_parameters(*ten)
    counts = [int(n) for n in pd.Series(said[0]).str.findall(r"(\d) of 5 (?:differ|are)")[0]]
    assert sum(counts) == 5
    assert "equivalence is not claimed" not in said[0]
    few = strategies.statistics(*study((42, 43)), FEW)[1]
    assert "not claimed below 10 seeds, here 2" in conclusions.few_parameters(
        ten[0], few, ten[2]
    )[0]  # fmt: skip


def test_costs_are_medians_and_shares(ten):
    costs = ten[2].set_index("protocol")
    assert costs.loc["lora", "share_backbone"] == pytest.approx(0.024)
    assert costs.loc["lora", "share"] == pytest.approx(524_000 / 1_500_000)
    assert costs.loc["readout", "share_backbone"] == 0
    assert np.isnan(costs.loc["readout", "peak_bytes"]) and costs.loc["readout", "device"] == "made"
    assert costs.loc["aggressive", "peak_bytes_are"] == "estimated"
    wide = tables.strategies_wide(*ten)
    assert wide.loc[wide["Strategy"] == "LoRA", "Stored (MB)"].item() == "0.8"


def test_sentences_of_strategies_name_every_gap_and_price(ten):
    gaps = [pd.concat(one.assign(gap=gap) for gap in (0.0, 0.5)) for one in ten]
    said = conclusions.strategies(*gaps)
    assert [text.partition(":")[0] for text in said] == ["Gap 0"] * 3 + ["Gap 0.5"] * 3
    assert "it is picked on these eyes" in said[0]
    assert "LoRA stored 20 %" in said[2] and "memory is estimated" in said[2]
    assert "readout stored 5 %;" in said[2]  # no step, so no memory
    assert len(tables.strategies_wide(*gaps)) == 2 * (len(PLANTED) + 2)


def test_raw_output_collapses_where_it_was_planted():
    predictions, samples, cells = scales(n_patients=60)
    table, verdicts = scale_table(predictions, samples, cells, FEW)
    assert verdicts["phantom_mae", "aggressive, raw, 8"] == "one template"
    assert verdicts["phantom_mae", "aggressive, raw, 24"] == "diverse"
    effects = strategies.scale_effect(predictions, cells, FEW)
    assert len(effects) == 8 and set(effects["strategy"]) == {"aggressive", "structured"}
    short = only(effects, strategy="structured", epochs=8, metric="mae")
    assert short["estimate"] > 2 and short["p_holm"] < 0.05
    said = conclusions.output_scale(effects, verdicts)
    assert "8 epochs: higher" in said[0] and "24 epochs: not distinguishable" in said[0]
    assert "templates: 2 cells with a raw output, 0 with a standardised" in said[-1]
    wide = tables.scales_wide(table, effects, verdicts)
    raw = wide[(wide["Output"] == "raw") & (wide["Epochs"] == "8")]
    assert set(raw["Verdict"]) == {"one template"}


def test_pooled_noise_is_that_of_a_two_way_analysis_of_variance():
    rng = np.random.default_rng(0)
    groups = [rng.normal(m, 1, (4, 5)) + 7 * rng.normal(size=5) for m in (0, 9)]
    squares = 0.0
    for group in groups:
        rows = pd.DataFrame(group).stack().rename("y").reset_index()
        rows.columns = ["condition", "seed", "y"]
        squares += smf.ols("y ~ C(condition) + C(seed)", rows).fit().ssr
    noise = pooled(groups)
    assert noise.degrees == 24 and noise.sd == pytest.approx((2 * squares / 24) ** 0.5)
    alone = pooled(groups, paired=False)
    within = sum(((g - g.mean(1, keepdims=True)) ** 2).sum() for g in groups)
    assert alone.degrees == 32 and alone.sd == pytest.approx((within / 32) ** 0.5)
    assert pooled([np.ones((3, 1)), np.ones((3, 0))]) is None
    drawn = seed_noise([1.0, 2.0, 3.0], 4000, 0, RunNoise(2.0, 12))
    assert np.quantile(drawn, 0.975) == pytest.approx(2 / 3**0.5 * stats.t.ppf(0.975, 12), rel=0.02)


def test_pooling_covers_and_narrows_the_intervals_of_few_seeds():
    """Seed noise alone: intervals cover the planted 0.2 µm, and are narrower than unpooled ones."""
    hits, widths = [], []
    for draw in range(40):
        rng = np.random.default_rng(draw)
        planted = {"aggressive": (0.0, 9, 1), **{f"p{i}": (0.2, 9, 1) for i in range(5)}}
        predictions, _, runs = study((1, 2, 3), 8, planted, sd=0)
        luck = dict(zip(runs.run_id, 0.3 * rng.standard_normal(len(runs)), strict=True))
        moved = [
            p + luck.get(r, 0)
            for p, r in zip(predictions.prediction, predictions.run_id, strict=True)
        ]
        predictions = predictions.assign(prediction=moved)
        given = predictions[predictions.run_id.isin(runs.run_id)], runs, ("aggressive",), ("mae",)
        both = [
            paired_comparisons(*given, resampling=Resampling(300, 50), pool=p)
            for p in (False, True)
        ]
        hits += list((both[1].low < 0.2) & (0.2 < both[1].high))
        widths.append([np.mean(one.high - one.low) for one in both])
    assert 0.91 <= np.mean(hits) <= 1
    alone, together = np.mean(widths, axis=0)
    assert together < 0.7 * alone


def test_what_others_published_is_text_and_says_what_was_not_read():
    rows = published.elsewhere("13_strategies")
    assert "not read" in set(rows["value"]) and "0.875" in set(rows["value"])
    with pytest.raises(ValueError, match="expected one of"):
        published.elsewhere("99")
