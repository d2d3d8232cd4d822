"""Conclusions on what a few dozen eyes teach: methods, their choice, starts, other subjects."""

from __future__ import annotations

import pandas as pd

from analysis.accuracy.learning import BASELINE, PLAINEST, SELECTED, group_of, rows_of
from analysis.conclusions.claims import count, difference, level, listed, named, signed, told_apart
from analysis.presentation.text import number, p_value

# Below, ``quadrants`` is the table of analysis.accuracy.quadrants.quadrant_table, one domain,
# ``paired``, ``gains`` and ``chosen`` are those of analysis.accuracy.learning.


def baselines(quadrants: pd.DataFrame, paired: pd.DataFrame) -> str:
    """Say how far off the constant and PCA + ridge are, and whether these differ."""
    constant, ridge = (_error(quadrants, name) for name in ("constant", BASELINE))
    apart = difference(paired.set_index("method").loc["constant"], interval=True)
    return (
        f"Mean quadrant error: constant {constant}, {BASELINE} {ridge} "
        f"{_r(quadrants, BASELINE)}. Constant against {BASELINE}: {apart}."
    )


def anything_learnt(gains: pd.DataFrame) -> str:
    """Say which methods beat the constant, which knows the mean thickness and no photograph."""
    rows = _compared(gains, "constant")
    below, _ = told_apart(rows)
    rest = "; ".join(method for method in rows.index if method not in below)
    return (
        f"Clearly better than the constant: {count(below, rows)} methods{named(below, '; ')}; not "
        f"clearly: {rest or 'none'}."
    )


def best_method(quadrants: pd.DataFrame, paired: pd.DataFrame) -> str:
    """Say which method errs least, and whether it beats PCA + ridge."""
    methods = _learnt(rows_of(quadrants, "mae", "mean"))
    best = methods["estimate"].idxmin()
    row = paired.set_index("method").loc[best]
    return (
        f"Lowest error of {len(methods)} methods: {best}, {_error(quadrants, best)} "
        f"{_r(quadrants, best)}; against {BASELINE} {difference(row, interval=True)}, Holm p "
        f"{p_value(row['p_holm'])}. It was picked on these same eyes, which flatters it."
    )


def selection(quadrants: pd.DataFrame, paired: pd.DataFrame, chosen: pd.DataFrame) -> list[str]:
    """Say what a method chosen on the reported eyes and one chosen without them make of these."""
    against = paired.set_index("method")
    best = rows_of(quadrants, "mae", "mean").loc[chosen["method"], "estimate"].idxmin()
    seen = "is no other method" if best == BASELINE else signed(against.loc[best]) + " µm"
    row, folds = against.loc[SELECTED], chosen["folds"].iloc[0]
    often = chosen[chosen["chosen"] > 0].sort_values("chosen", ascending=False, kind="stable")
    counts = "; ".join(f"{one.method} in {one.chosen}" for one in often.itertuples())
    return [
        f"One of {len(chosen)} methods chosen on the eyes it is reported on (apparent): {best}, "
        f"{_error(quadrants, best)}, against {BASELINE} {seen}; chosen within each fold, method "
        f"and penalty (nested): {_error(quadrants, SELECTED)} {_r(quadrants, SELECTED)}, against "
        f"{BASELINE} {difference(row, interval=True)}, p {p_value(row['p'])}.",
        f"Chosen within {folds} folds: {counts}. Fine-tuned networks are no candidates: they "
        "validate on one fold, and by other eyes than the others do.",
    ]


def better_methods(paired: pd.DataFrame) -> list[str]:
    """Say which methods beat PCA + ridge, and where fine-tuned networks stand against it."""
    methods = _learnt(paired.set_index("method"))
    below, above = told_apart(methods)
    tuned = methods[[group_of(method) == "fine-tuned" for method in methods.index]]
    return [
        f"Clearly better than {BASELINE}: {count(below, methods)} methods{named(below, '; ')}; "
        f"clearly worse: {len(above)}{named(above, '; ')}.",
        f"Networks against {BASELINE}: {listed(tuned, interval=True)}.",
    ]


def other_subjects(
    external: pd.DataFrame, quadrants: pd.DataFrame, paired: pd.DataFrame
) -> list[str]:
    """Say what GRAPE subjects that were never learnt from say, beside the cross-validated eyes.

    ``external`` is that of :func:`analysis.accuracy.external.load_external`.
    """
    levels = rows_of(external[external["against"] == ""], "mae", "mean")
    home = levels[levels["trained_on"] == "GRAPE"]
    zero_shot = levels[levels["trained_on"] != "GRAPE"].drop(index=["constant", BASELINE])
    errors = [f"{name} {level(row)}" for name, row in home.iterrows()]
    errors += [f"{name}, zero-shot, {level(row)}" for name, row in zero_shot.iterrows()]
    there = external[(external["against"] == BASELINE) & (external["trained_on"] == "GRAPE")]
    there, here = _learnt(there.set_index("method")), paired.set_index("method")
    better_here, better_there = (told_apart(rows)[0] for rows in (here, there))
    said = [
        f"On {int(home['n'].iloc[0])} eyes of other GRAPE subjects, mean quadrant error: "
        f"{'; '.join(errors)}. {BASELINE} had no mirrored copies there; 'fine-tuned' is the "
        "classifier there and the featured backbone here."
    ]
    for method in [name for name in there.index if group_of(name) == "readouts"]:
        one, other = here.loc[method], there.loc[method]
        verdict = {
            (True, True): "the advantage of cross-validation was seen there too",
            (True, False): "the advantage of cross-validation was not seen there",
            (False, True): "an advantage was seen there alone",
            (False, False): "an advantage is shown by neither",
        }[method in better_here, method in better_there]
        inside = other["low"] <= one["estimate"] <= other["high"]
        said.append(
            f"{method} against {BASELINE}: {signed(one)} µm cross-validated, {signed(other)} µm on "
            f"other subjects: {verdict}; the cross-validated difference "
            f"{number(one['estimate'])} lies {'inside' if inside else 'outside'} the "
            "interval of the other."
        )
    return said


def phantom_start(gains: pd.DataFrame) -> str:
    """Say what a fine-tuned network gains by having learnt phantoms' thickness first."""
    plain = PLAINEST["fine-tuned"]
    found = listed(_compared(gains, plain), interval=True)
    return f"Against {plain} without a phantom start: {found}."


def pretrained_readouts(gains: pd.DataFrame) -> str:
    """Say what readouts of pretrained backbones gain over random features."""
    rows = _compared(gains, PLAINEST["readouts"])
    below, above = told_apart(rows)
    return (
        "Readouts of pretrained backbones against one of random features: clearly better "
        f"{count(below, rows)}, clearly worse {len(above)}. In turn: {listed(rows, interval=True)}."
    )


def luck_of_folds(quadrants: pd.DataFrame) -> str:
    """Say how much of each method's error is the luck of how the folds were drawn."""
    mae = rows_of(quadrants, "mae", "mean")
    draws = int(mae["n_seeds"].max())
    if draws < 2:
        return "The folds were drawn once, so that their luck is in every number."
    sizes = "; ".join(f"{method} {number(sd)}" for method, sd in mae["seed_sd"].dropna().items())
    return f"Redrawing the folds changes the error by an SD ({draws} draws, µm) of: {sizes}."


def _error(quadrants: pd.DataFrame, method: str) -> str:
    return level(rows_of(quadrants, "mae", "mean").loc[method], digits=1)


def _r(quadrants: pd.DataFrame, method: str) -> str:
    return f"(r of the mean thickness {level(rows_of(quadrants, 'r', 'global').loc[method], '')})"


def _compared(gains: pd.DataFrame, against: str) -> pd.DataFrame:
    return gains[gains["against"] == against].set_index("method")


def _learnt(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of methods that are neither baselines nor a choice among methods."""
    return rows[[group_of(name) in PLAINEST for name in rows.index]]
