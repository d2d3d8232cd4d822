"""Starts, fractions of the labels, mixes of quality: errors by cell, effects of one factor.

A cell is what the factors of a study say but for the seed. Two levels of a factor are compared
within the cells of the others, on the same eyes and seed by seed; seeds have one SD within a
question, and Holm's correction covers a question.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.accuracy.performance import paired_comparisons, performance_table
from analysis.collapse import DEFINITIONS
from analysis.resampling import DEFAULT, PAIRED, Resampling
from analysis.resampling.bootstrap import interval, seed_noise
from analysis.resampling.comparisons import holm
from analysis.resampling.conditions import BASELINES, conditions

SHOWN = ("mae", "sigma_ratio", "pearson_between_eyes")
NEAR = 0.02  # of a run's last error: from there on it counts as arrived
RANDOM, PRETRAINED = "random", "domain"


def statistics(
    predictions: pd.DataFrame,
    samples: pd.DataFrame,
    cells: pd.DataFrame,
    factors: Sequence[str],
    resampling: Resampling = DEFAULT,
) -> pd.DataFrame:
    """Return MAE, spread and correlation between eyes of each cell and of the baselines.

    Parameters
    ----------
    cells : DataFrame
        Of :func:`rnfl.study.lessons.table`: a row per run.
    factors : sequence of str
        Columns of it that are to stand in the table; missing for baselines.
    """
    metrics = {name: DEFINITIONS[name] for name in SHOWN}
    found = performance_table(predictions, samples, cells, resampling, metrics)
    named = cells[["backbone", "protocol", *factors]].drop_duplicates()
    return found.merge(named, "left", ["backbone", "protocol"])


def effects(
    predictions: pd.DataFrame,
    cells: pd.DataFrame,
    factor: str,
    against: object,
    within: Sequence[str],
    resampling: Resampling = PAIRED,
    metrics: Sequence[str] = ("mae", "sigma_between"),
) -> pd.DataFrame:
    """Compare every level of a factor with one of them, within each cell of other factors.

    Returns
    -------
    DataFrame
        ``within``, the factor, against, metric, estimate (level minus ``against``), low, high, p,
        p_holm, n, n_seeds, seed_sd; no rows where ``against`` was not tried.
    """
    levels = cells.assign(protocol=cells[factor])
    trained = predictions[~predictions["run_id"].isin(BASELINES)]
    trained = trained[trained["run_id"].isin(cells["run_id"])]
    by = (*within, "protocol")
    found = paired_comparisons(trained, levels, (against,), metrics, by, resampling, pool=True)
    # Before the other columns, where the factor has its own name again.
    return found.rename(columns={"protocol": factor})


def as_one_family(*tables: pd.DataFrame) -> pd.DataFrame:
    """Return comparisons one below the other, under one correction for each metric."""
    whole = pd.concat([one for one in tables if len(one)], ignore_index=True)
    return whole.assign(p_holm=whole.groupby("metric")["p"].transform(holm))


def reached(
    predictions: pd.DataFrame, cells: pd.DataFrame, resampling: Resampling = DEFAULT
) -> dict[str, float | str]:
    """Return the fraction of the labels at which a pretrained start errs as a random one with all.

    Between fractions errors are interpolated over the logarithm of the fraction. Patients are
    resampled, and the noise of seeds is added to each error.

    Returns
    -------
    dict
        ``estimate``, ``low``, ``high`` (fractions; NaN: not reached within what was tried, or at
        the smallest already), ``share_reached`` of resamples, and ``said``: 'reached', 'below the
        smallest' or 'not reached'.
    """
    errors, draws = {}, {}
    kept = cells[cells["equal"] == "steps"]
    found = predictions[predictions["run_id"].isin(kept["run_id"])]
    for i, one in enumerate(conditions(found, kept, ("start", "fraction"))):
        measured = np.isfinite(one.errors).all(axis=0)
        own, n = one.errors[:, measured], one.n_patients
        each, codes = own.mean(axis=1), one.runs[0].codes[measured]
        eyes, sums = np.bincount(codes, minlength=n), np.bincount(codes, own.mean(axis=0), n)
        counts = resampling.counts(n)
        luck = seed_noise(each, len(counts), resampling.seed + i)
        key = one.key["start"], float(one.key["fraction"])
        errors[key], draws[key] = each.mean(), (counts @ sums) / (counts @ eyes) + luck
    fractions = np.array(sorted(f for start, f in errors if start == PRETRAINED))
    aim = errors[RANDOM, 1.0], draws[RANDOM, 1.0]
    curve = np.array([errors[PRETRAINED, f] for f in fractions])
    curves = np.stack([draws[PRETRAINED, f] for f in fractions], axis=1)
    estimate = _crossing(fractions, curve, aim[0])
    drawn = np.array([_crossing(fractions, *one) for one in zip(curves, aim[1], strict=True)])
    # An interval counts over-large numbers, not infinite ones; beyond all labels all are alike.
    low, high = interval(np.minimum(drawn, 2.0))
    words = {0.0: "below the smallest", np.inf: "not reached"}
    return {
        "estimate": estimate if 0 < estimate < np.inf else float("nan"),
        "low": low if 0 < low <= 1 else float("nan"),
        "high": high if high <= 1 else float("nan"),
        "share_reached": float(np.mean(drawn <= 1)),
        "smallest": float(fractions[0]),
        "said": words.get(estimate, "reached"),
    }


def _crossing(fractions: np.ndarray, errors: np.ndarray, aim: float) -> float:
    """Return the smallest fraction with an error of at most ``aim``; 0 before all, inf: none."""
    under = np.flatnonzero(errors <= aim)
    if not len(under):
        return float("inf")
    i = under[0]
    if i == 0:
        return 0.0 if errors[0] < aim else float(fractions[0])
    share = (errors[i - 1] - aim) / (errors[i - 1] - errors[i])
    ends = np.log(fractions[i - 1 : i + 1])
    return float(np.exp(ends[0] + share * (ends[1] - ends[0])))


def arrivals(histories: pd.DataFrame) -> pd.DataFrame:
    """Return the steps after which each run's validation error is within 2 % of its own last.

    Starts of one architecture take as long for a step, whatever else their machine did meanwhile.

    Returns
    -------
    DataFrame
        start, fraction, seed, steps, of (all its steps), seconds (all), val_mae (the last).
    """
    rows = []
    for (start, fraction, seed), run in histories.groupby(
        ["start", "fraction", "seed"], sort=False
    ):
        run = run.sort_values("epoch")
        last = run.iloc[-1]
        near = run[run["val_mae"] <= (1 + NEAR) * last["val_mae"]].iloc[0]
        rows.append({"start": start, "fraction": fraction, "seed": seed,
                     "steps": near["step"], "of": last["step"], "seconds": last["seconds"],
                     "val_mae": last["val_mae"]})  # fmt: skip
    return pd.DataFrame(rows)


def thinking(
    predictions: pd.DataFrame, cells: pd.DataFrame, resampling: Resampling = DEFAULT
) -> pd.DataFrame:
    """Return error and spread of each cell by way of thinking longer and passes of the encoder.

    Parameters
    ----------
    predictions : DataFrame
        Of :func:`rnfl.study.lessons.thinking`.

    Returns
    -------
    DataFrame
        Long: metric mae, sigma_ratio; with start, fraction, way and passes.
    """
    tables = []
    for (way, passes), found in predictions.groupby(["way", "passes"], sort=False):
        mine = cells[cells["run_id"].isin(found["run_id"])]
        samples = found[["eye_id", "patient_id"]].drop_duplicates()
        metrics = {name: DEFINITIONS[name] for name in ("mae", "sigma_ratio")}
        table = performance_table(found, samples, mine, resampling, metrics)
        named = mine[["backbone", "protocol", "start", "fraction"]].drop_duplicates()
        table = table.merge(named, "left", ["backbone", "protocol"])
        tables.append(table.assign(way=way, passes=passes))
    return pd.concat(tables, ignore_index=True)


def longer(
    predictions: pd.DataFrame, cells: pd.DataFrame, resampling: Resampling = PAIRED
) -> pd.DataFrame:
    """Compare the most passes of each way with a single one, within each cell, as one family."""
    plain = predictions[(predictions["way"] == "views") & (predictions["passes"] == 1)]
    parts = []
    for way, mine in predictions.groupby("way", sort=False):
        most = mine[mine["passes"] == mine["passes"].max()]
        ids = set(most["run_id"])
        both = [plain[plain["run_id"].isin(ids)], most.assign(run_id=most["run_id"] + "@" + way)]
        runs = cells[cells["run_id"].isin(ids)]
        named = [runs.assign(look="once"), runs.assign(run_id=runs["run_id"] + "@" + way, look=way)]
        found = effects(pd.concat(both), pd.concat(named), "look", "once", ("start", "fraction"),
                        resampling)  # fmt: skip
        parts.append(found.assign(passes=most["passes"].iloc[0]))
    return as_one_family(*parts)


def by_quality(
    predictions: pd.DataFrame,
    cells: pd.DataFrame,
    resampling: Resampling = DEFAULT,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return errors by mix trained on and quality tested on, and what a mismatch does.

    Parameters
    ----------
    predictions : DataFrame
        With ``quality``, of :func:`rnfl.study.lessons.on_both`.

    Returns
    -------
    table : DataFrame
        Long, with start, fraction, mix (the share trained on in high quality) and tested.
    comparisons : DataFrame
        On pictures of each quality: every mix minus that of this quality alone; and, trained on
        either alone, the pretrained start minus the random one. One family for each question.
    """
    tables, mismatch, starts = [], [], []
    own = {"high": 1.0, "low": 0.0}
    for tested, found in predictions.groupby("quality", sort=False):
        samples = found[["eye_id", "patient_id"]].drop_duplicates()
        table = statistics(found, samples, cells, ("start", "fraction", "mix"), resampling)
        tables.append(table.assign(tested=tested))
        pair = effects(found, cells, "mix", own[tested], ("start", "fraction"), resampling)
        mismatch.append(pair.assign(tested=tested))
        pair = effects(found, cells, "start", RANDOM, ("mix", "fraction"), resampling)
        starts.append(pair.assign(tested=tested))
    both = (
        as_one_family(*mismatch).assign(question="mix"),
        as_one_family(*starts).assign(question="start"),
    )
    return pd.concat(tables, ignore_index=True), pd.concat(both, ignore_index=True)


def heat(table: pd.DataFrame) -> pd.DataFrame:
    """Return the error of each mix trained on and tested on, less that of the matched mix.

    A test mix needs no runs of its own: both qualities show the same eyes, and the error of a mix
    is the mean of the two, weighted.

    Returns
    -------
    DataFrame
        start, fraction, mix, test_mix, mae, above_matched (µm).
    """
    mae = table[(table["metric"] == "mae") & (table["attribute"] == "all")]
    wide = mae.pivot_table("estimate", ["start", "fraction", "mix"], "tested").reset_index()
    mixes, rows = sorted(wide["mix"].unique()), []
    for row in wide.itertuples():
        for test in mixes:
            mixed = test * row.high + (1 - test) * row.low
            rows.append({"start": row.start, "fraction": row.fraction, "mix": row.mix,
                         "test_mix": test, "mae": mixed})  # fmt: skip
    found = pd.DataFrame(rows)
    matched = found[found["mix"] == found["test_mix"]]
    matched = matched.set_index(["start", "fraction", "test_mix"])["mae"]
    index = pd.MultiIndex.from_frame(found[["start", "fraction", "test_mix"]])
    return found.assign(above_matched=found["mae"].to_numpy() - matched.reindex(index).to_numpy())
