"""Sentences and tables on collapse and agreement say the opposite of opposite numbers."""

import numpy as np
import pandas as pd
import pytest

from analysis import conclusions, tables


def row(backbone, protocol, metric, value, half=0.1, group="all", n=100):
    low, high = (np.nan, np.nan) if np.isnan(value) else (value - half, value + half)
    return {"backbone": backbone, "protocol": protocol, "metric": metric, "attribute": "all",
            "group": group, "estimate": value, "low": low, "high": high, "n": n,
            "n_seeds": 1, "seed_sd": np.nan}  # fmt: skip


def collapsed(structured, naive=1.0, few=0.7, half=0.1, share=1.0):
    """Cells by their share of the labels' spread; ``share``: distance from templates over it."""
    cells = {("b", "naive"): naive, ("b", "structured"): structured, ("—", "few templates"): few}
    made = []
    for key, ratio in cells.items():
        near = 0.0 if key[0] == "—" else share
        for metric, value in (
            ("sigma_between", 20 * ratio), ("sigma_ratio", ratio), ("response_slope", ratio**2),
            ("template_distance", 15 * near * ratio), ("template_distance_ratio", near * ratio),
            ("distance_share_4", near), ("distance_share_16", near), ("sigma_flat", 30.0),
        ):  # fmt: skip
            made.append(row(*key, metric, value, half))
    truth = [row("—", "target", name, 20.0) for name in ("sigma_between", "sigma_flat")]
    return pd.DataFrame([*made, *truth, row("—", "oracle floor", "response_slope", 0.96)])


def test_the_claim_of_collapse_arises_only_where_it_does():
    assert "arises in 1 of 1 backbones" in conclusions.template_claim(collapsed(0.2))
    healthy = conclusions.template_claim(collapsed(0.9))
    assert "is excluded here" in healthy and "both" not in healthy
    assert "18.0 [17.9, 18.1] against 20.0 [19.9, 20.1] µm" in healthy
    neither = conclusions.template_claim(collapsed(0.2, naive=0.2))
    assert "is not shown here" in neither and "In 1 of 1 both have collapsed" in neither
    assert "is not shown here" in conclusions.template_claim(collapsed(0.9, half=0.8))
    few = conclusions.template_claim(collapsed(0.9, share=0.0))  # as spread as the truth, yet few
    assert "In 1 of 1 both have collapsed" in few and "excluded" not in few
    lone = collapsed(0.2).query("protocol != 'structured'")
    assert "cannot be judged" in conclusions.template_claim(lone)


def test_a_verdict_takes_spread_and_distance_and_needs_their_intervals():
    def said(**how):
        return conclusions.collapse(collapsed(**how))[2]

    assert "18.0 µm, 90 % of the truth; σ_flat 30.0 µm; diverse" in said(structured=0.9)
    assert "20 % of the truth" in said(structured=0.2) and "one template" in said(structured=0.2)
    assert "collapsed towards few templates" in said(structured=0.9, share=0.1)
    for unsure in ({"half": 0.6}, {"share": 0.35}, {"half": np.nan}):
        assert "neither shown nor excluded" in said(structured=0.9, **unsure)


def test_response_names_the_most_and_the_least():
    text = conclusions.response(collapsed(0.5))
    assert "10.0 µm arrive in b with naive (response slope 1.00 [0.90, 1.10])" in text
    assert "2.5 µm in b with structured" in text and "noise of these labels has 0.96" in text
    none = collapsed(0.5).query("backbone == '—'")
    assert "no trained model" in conclusions.response(none)


def test_few_templates_counts_who_repeats_them():
    text, planted = conclusions.few_templates(collapsed(0.2))
    assert text.startswith("Closest to a few templates: b with structured, on average 3.0")
    assert "on 2 cells, by intervals: one template 1, few templates 0, diverse 1" in text
    assert "so σ_between misses it" in planted and "is 0.0 µm" in planted
    assert "so σ_between sees it" in conclusions.few_templates(collapsed(0.2, few=0.1))[1]
    none = collapsed(0.2).assign(estimate=np.nan)
    assert "too few eyes" in conclusions.few_templates(none)[0]
    unknown = conclusions.few_templates(collapsed(0.2).assign(low=np.nan, high=np.nan))[0]
    assert "diverse 0, undecided 2" in unknown


def agreed(sd=8.0, slope=-0.3, template_sd=16.0):
    made = []
    for key, spread, tilt in (
        (("b", "naive"), sd, slope), (("b", "structured"), sd + 1, slope),
        (("—", "template"), template_sd, -1.0), (("—", "oracle floor"), 2.0, -0.02),
    ):  # fmt: skip
        for metric, value in (
            ("sd", spread), ("bias", -1.0), ("limit_low", -1 - 1.96 * spread),
            ("limit_high", -1 + 1.96 * spread), ("slope_on_label", tilt), ("slope_on_mean", tilt),
        ):  # fmt: skip
            made += [row(*key, metric, value, group=group) for group in ("global", "S")]
    return pd.DataFrame(made)


def test_limits_are_those_of_the_narrowest_cell_and_judged_by_the_template():
    text = conclusions.limits(agreed())
    assert "b with naive, −16.7 µm [−16.8, −16.6] to +14.7 µm" in text
    assert "bias −1.0 µm [−1.1, −0.9]" in text and "clearly narrower than the template's" in text
    assert "not clearly narrower" in conclusions.limits(agreed(sd=16.0))
    assert "too few eyes" in conclusions.limits(agreed().assign(estimate=np.nan))


@pytest.mark.parametrize(
    ("slope", "said"),
    [(-0.4, "in 2 of 2 cells, the reverse holds in 0"), (-0.05, "in 0 of 2 cells"),
     (0.3, "in 0 of 2 cells, the reverse holds in 2")],
)  # fmt: skip
def test_proportional_bias_counts_only_what_exceeds_the_noise_of_labels(slope, said):
    text = conclusions.proportional_bias(agreed(slope=slope))
    assert said in text and "alone gives −0.02" in text
    only_naive = agreed(slope=slope).query("protocol != 'structured'")
    assert "at most" not in conclusions.proportional_bias(only_naive)


def test_floor_effect_needs_both_ends():
    def table(thin, thick):
        bins = {"<40": thin, "40–60": 0.0, "≥60": thick}
        return pd.DataFrame([row("b", "p", "bias", v, group=g) for g, v in bins.items()])

    text = conclusions.floor_effect(table(9.0, -8.0), "b", "p")
    assert "is <40 µm the prediction is off by +9.0 µm [+8.9, +9.1]" in text
    assert ": regression to the mean" in text
    assert "reverse of regression" in conclusions.floor_effect(table(-9.0, 8.0), "b", "p")
    assert "is not shown at both ends" in conclusions.floor_effect(table(9.0, 0.05), "b", "p")
    assert "too few eyes" in conclusions.floor_effect(table(np.nan, np.nan), "b", "p")


def detected(whole=0.6, ts=0.7, n=0.2, auc_n=0.9, as_read=0.5):
    made = []
    for group, value, auc, size in (
        ("global", whole, 0.95, 50), ("TS", ts, 0.95, 60), ("N", n, auc_n, 20),
        ("T", np.nan, np.nan, 3),
    ):  # fmt: skip
        made += [row("b", "p", m, v, group=group, n=size) for m, v in (
            ("sensitivity", value), ("auc", auc), ("specificity", 0.9),
            ("specificity_reached", 0.92),
            ("sensitivity_as_read", as_read if group != "T" else np.nan),
        )]  # fmt: skip
    return pd.DataFrame(made)


def test_thinning_names_the_best_the_worst_the_blind_and_the_rare():
    whole, sectors, rare = conclusions.thinning(detected(), "b", "p")
    assert "finds 60 % [50, 70] of eyes with a thinned circle by a threshold set on" in whole
    assert "for 90 % specificity, which here is 92 % [82, 102]; AUC" in whole
    assert "most in TS, 70 % [60, 80], and fewest in N, 20 % [10, 30]" in sectors
    assert rare.endswith("to judge: T (3).")
    assert any("Not shown to be better than chance (AUC 0.5) in: N" in one
               for one in conclusions.thinning(detected(auc_n=0.55), "b", "p"))  # fmt: skip
    (nothing,) = conclusions.thinning(detected(np.nan, np.nan, np.nan, np.nan), "b", "p")
    assert "circle (50)" in nothing and "TS (60)" in nothing


def test_without_a_threshold_from_training_eyes_the_area_alone_is_said():
    bare = detected(np.nan, np.nan, np.nan)
    bare.loc[bare["metric"] == "specificity_reached", "estimate"] = np.nan
    (said,) = conclusions.thinning(bare, "b", "p")
    assert "no threshold from training eyes; AUC: circle 0.95" in said and "T " not in said


def test_as_read_names_where_thin_is_not_read_as_thin():
    assert "at least one in five" in conclusions.as_read(detected(), "b", "p")
    text = conclusions.as_read(detected(as_read=0.05), "b", "p")
    assert "misses more than four in five" in text and "TS (5 % [−5, 15] found)" in text
    text = conclusions.as_read(detected(as_read=0.25), "b", "p")
    assert "may find fewer than one in five" in text and "TS (25 % [15, 35] found)" in text
    rare = detected(as_read=np.nan)
    assert "too few thinned eyes" in conclusions.as_read(rare, "b", "p")


def test_wide_tables_have_a_row_per_cell_and_dashes_for_what_is_missing():
    wide = tables.agreement_wide(agreed().assign(attribute="region"))
    assert wide["Protocol"].tolist() == ["naive", "structured", "template", "label-noise floor"]
    assert wide["S"][0] == "−1.0 (−16.7 to 14.7)" and wide["Bias"][0] == "−1.0 [−1.1, −0.9]"
    wide = tables.collapse_wide(collapsed(0.2))
    assert wide["Distance (µm)"][2] == "0.0 [−0.1, 0.1]" and wide["Calibration"][0] == "—"
    wide = tables.sensitivity_wide(detected())
    assert wide.iloc[0][["circle", "T"]].tolist() == ["0.60 [0.50, 0.70]", "—"]
    assert wide.iloc[-1][["Protocol", "circle", "T"]].tolist() == ["eyes", "50", "3"]
    bins = pd.DataFrame([row("b", "p", "bias", v, group=g) for g, v in (("<40", 3.0), ("≥40", 1))])
    assert tables.thickness_wide(bins).iloc[0]["<40 µm"] == "3.0 [2.9, 3.1]"
