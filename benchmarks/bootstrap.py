"""Patient-clustered bootstrap beside scipy.stats.bootstrap: time, agreement, peak memory.

    python benchmarks/bootstrap.py

1,731 simulated eyes of 1,069 patients, 360 angles each; 10,000 resamples of patients. Ours starts
from predictions and targets each time (``first`` draws the resamples too, ``next`` finds them
drawn, as every further metric and cell of a table does). Ways to use scipy:

- ``scipy``: what one would write: the statistic gathers the eyes of the drawn patients and calls
  the definition of :mod:`rnfl.core.metrics`; ``vectorized=False``. It takes minutes a metric, so it
  is run with fewer resamples and its time scaled up (one that is run in full shows that this is
  fair);
- ``scipy, vectorized``: for the mean absolute error alone: absolute errors are computed once, and
  those of the drawn eyes gathered for 100 resamples at a time;
- ``scipy, in cache``: the same, 2 resamples at a time: the fastest way found to gather eyes;
- ``scipy, our sums``: the same error as a ratio of per-patient sums: no eye is gathered, which is
  half of our own method, and so not what ours is compared with.

Ends of intervals are those of scipy's percentile method and percentiles of our replicates before
:mod:`analysis.resampling.scales` widens them; they are compared in units of the standard error that
both Monte-Carlo samples together leave in an end.
"""

from __future__ import annotations

import statistics
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial

import measure
import numpy as np
import pandas as pd
from scipy import stats
from tqdm import tqdm

from analysis.collapse import DEFINITIONS
from analysis.fairness import ATTRIBUTES
from analysis.fairness.gap_test import max_min
from analysis.fairness.groups import Tally, grouping
from analysis.resampling.bootstrap import LEVEL, patient_counts, weighted_totals
from analysis.resampling.patient_sums import PER_EYE, PatientSums, replicates
from rnfl.core import metrics
from rnfl.core.nanstats import divide

SEED = 0
GAPS = tuple(f"gap by {name}" for name in (*ATTRIBUTES, "mean"))
Statistic = Callable[[np.ndarray], float]
SHARES = np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
MEANS = {"rmse", *PER_EYE} & set(DEFINITIONS)  # means over eyes of a number per eye, or its root
BAR = {"sums": 150, "non-linear": 50}
FULL = {"n_eyes": 1731, "n_patients": 1069, "n_boot": 10_000, "drawn": 2000, "parts": 4}
SMOKE = {"n_eyes": 60, "n_patients": 40, "n_boot": 600, "drawn": 200, "parts": 2}


class Study:
    """Predictions and targets (n, 360) of eyes of patients with attributes, and their bootstraps.

    Every patient has one eye or two.
    """

    def __init__(self, n_eyes: int, n_patients: int, n_boot: int) -> None:
        rng = np.random.default_rng(SEED)
        self.n_patients, self.n_boot = n_patients, n_boot
        both = rng.permutation(n_patients)[: n_eyes - n_patients]
        self.codes = np.sort(np.concatenate([np.arange(n_patients), both]))
        depth = rng.normal(0, 14, (n_patients, 1))[self.codes] + rng.normal(0, 7, (n_eyes, 1))
        angle = np.deg2rad(np.arange(360))
        hump, tilt = 88 - 26 * np.cos(2 * angle), 6 * rng.normal(size=(n_eyes, 1)) * np.sin(angle)
        self.target = hump + depth + tilt + rng.normal(0, 4, (n_eyes, 360))
        self.prediction = hump + 0.6 * depth + rng.normal(0, 9, (n_eyes, 360))
        self.eyes = pd.DataFrame({
            "age": rng.uniform(20, 90, n_patients),
            "sex": rng.choice(["F", "M"], n_patients),
            "race": rng.choice(["Asian", "Black", "White"], n_patients),
        }).iloc[self.codes]  # fmt: skip
        first = np.searchsorted(self.codes, np.arange(n_patients))
        second = np.append(first[1:], n_eyes) - 1
        self.eyes_of = np.stack([first, np.where(second > first, second, -1)], axis=1)

    def tally(self, errors: np.ndarray) -> Tally:
        """Return the groups of all attributes."""
        groups = [grouping(self.eyes, name) for name in ATTRIBUTES]
        return Tally(groups, self.codes, np.isfinite(errors).all(axis=0))

    def ours(self, names: tuple[str, ...], shared: bool = False) -> dict[str, np.ndarray]:
        """Return our replicates of metrics and gaps; all is made again but, if shared, the draw."""
        if not shared:
            patient_counts.cache_clear()
        counts = patient_counts(self.n_patients, self.n_boot, SEED)
        sums = PatientSums(self.prediction, self.target, self.codes)
        out = replicates([name for name in names if name not in GAPS], sums, counts)
        if set(names) & set(GAPS):
            errors = metrics.mae_per_eye(self.prediction, self.target)[None]
            tally = self.tally(errors)
            # Not Tally.resampled, which widens them: the definition does not.
            sums = weighted_totals(counts, tally._sums(errors)[0])
            means = divide(sums, weighted_totals(counts, tally.counts))
            gaps = [max_min(tally.pick(means, name)) for name in tally.slices]
            found = dict(zip(GAPS, [*gaps, np.mean(gaps, axis=0)], strict=True))
            out |= {name: found[name] for name in names if name in GAPS}
        return out

    def by_definition(self, name: str) -> Statistic:
        """Return a statistic of drawn patients (P,) that gathers their eyes."""
        tally = self.tally(np.zeros((1, len(self.codes))))

        def gap(rows: np.ndarray) -> float:
            errors = metrics.mae_per_eye(self.prediction[rows], self.target[rows])
            members, sizes = tally.members[rows], []
            for where in tally.slices.values():
                chosen = members[:, where][:, tally.large[where]]
                sizes.append(np.ptp([errors[group].mean() for group in chosen.T]))
            return float(np.mean(sizes) if name == GAPS[-1] else sizes[GAPS.index(name)])

        def statistic(drawn: np.ndarray) -> float:
            rows = self.eyes_of[drawn.astype(int)].ravel()
            rows = rows[rows >= 0]
            if name in GAPS:
                return gap(rows)
            return DEFINITIONS[name](self.prediction[rows], self.target[rows])

        return statistic

    def scipy(self, statistic: Callable, n_boot: int, rng: np.random.Generator, **options):
        """Return scipy's percentile bootstrap of a statistic of drawn patients."""
        patients = (np.arange(self.n_patients),)
        options = {"vectorized": False, **options}
        return stats.bootstrap(
            patients,
            statistic,
            n_resamples=n_boot,
            method="percentile",
            random_state=rng,
            **options,
        )

    def vectorized(self, rng: np.random.Generator, batch: int):
        """Return scipy's bootstrap of the mean absolute error, errors gathered by the batch."""
        errors = np.abs(self.prediction - self.target)
        present = self.eyes_of >= 0
        padded = np.where(present[..., None], errors[self.eyes_of], 0.0)
        padded, sizes = padded.reshape(self.n_patients, -1), 360 * present.sum(axis=1)

        def mean(drawn: np.ndarray, axis: int) -> np.ndarray:
            return padded[drawn].sum(axis=(-1, -2)) / sizes[drawn].sum(axis=axis)

        return self.scipy(mean, self.n_boot, rng, vectorized=True, batch=batch)

    def with_sums(self, rng: np.random.Generator, batch: int = 100):
        """Return scipy's bootstrap of the mean absolute error from per-patient sums."""
        total, count = PatientSums(self.prediction, self.target, self.codes)["mae"].T

        def ratio(drawn: np.ndarray, axis: int) -> np.ndarray:
            return total[drawn].sum(axis=axis) / count[drawn].sum(axis=axis)

        return self.scipy(ratio, self.n_boot, rng, vectorized=True, batch=batch)


def ends(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the percentile interval of replicates and the Monte-Carlo error of its ends.

    The rank of a share p among n replicates has an SD of sqrt(n p (1 - p)); the error of an end is
    half the distance between the replicates one SD of rank to either side.
    """
    off = np.sqrt(SHARES * (1 - SHARES) / len(values))
    below, above = (np.quantile(values, SHARES + sign * off) for sign in (-1, 1))
    return np.quantile(values, SHARES), (above - below) / 2


def apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the larger difference of the two ends, in Monte-Carlo standard errors."""
    (one, error), (other, error_too) = ends(ours), ends(theirs)
    return float(np.max(np.abs(one - other) / np.hypot(error, error_too)))


def traced(function: Callable[[], object]) -> float:
    """Return the peak of the memory that NumPy and Python ask for during a call, MB."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def compare(study: Study, name: str, drawn: int, parts: int) -> dict:
    """Return the row of one metric; ours and scipy take turns ``parts`` times."""
    rng, statistic, values = np.random.default_rng(SEED + 1), study.by_definition(name), []

    def by_scipy() -> None:
        found = study.scipy(statistic, drawn // parts, rng)
        values.append(found.bootstrap_distribution)

    runs = {
        "first": partial(study.ours, (name,)),
        "next": partial(study.ours, (name,), shared=True),
        "scipy": by_scipy,
    }
    times = measure.interleaved(runs, parts, warm_up=0)
    full = [study.n_boot * parts / drawn * seconds for seconds in times["scipy"]]
    theirs = np.concatenate(values)
    return {
        "metric": name,
        "kind": "sums" if name in MEANS else "non-linear",
        "first_s": statistics.median(times["first"]),
        "next_s": statistics.median(times["next"]),
        "scipy_s": statistics.median(full),
        "ratio_first": measure.paired_ratio(full, times["first"]),
        "ratio_next": measure.paired_ratio(full, times["next"]),
        "apart_se": apart(study.ours((name,), shared=True)[name], theirs),
        "peak_mb": traced(partial(study.ours, (name,))),
    }


def ways(study: Study) -> list[dict]:
    """Return rows of the mean absolute error by each way to use scipy, with all resamples."""
    functions = {
        "scipy": lambda rng: study.scipy(study.by_definition("mae"), study.n_boot, rng),
        "scipy, vectorized": partial(study.vectorized, batch=100),
        "scipy, in cache": partial(study.vectorized, batch=2),
        "scipy, our sums": study.with_sums,
    }
    rows = []
    for way, function in tqdm(functions.items(), desc="ways to use scipy", unit="way"):
        rng, found = np.random.default_rng(SEED + 2), []
        runs = {
            "first": partial(study.ours, ("mae",)),
            "next": partial(study.ours, ("mae",), shared=True),
            "scipy": lambda f=function, rng=rng, found=found: found.append(f(rng)),
        }
        times = measure.interleaved(runs, 1, warm_up=0)
        theirs = found[-1].bootstrap_distribution
        rows.append({
            "way": way,
            **{f"{key}_s": one for key, (one,) in times.items()},
            **{f"ratio_{key}": times["scipy"][0] / times[key][0] for key in ("first", "next")},
            "apart_se": apart(study.ours(("mae",), shared=True)["mae"], theirs),
            "peak_mb": traced(partial(function, rng)),
        })  # fmt: skip
    return rows


def together(study: Study, rows: list[dict], repeats: int) -> dict:
    """Return the row of all metrics and gaps at once, against the sum of scipy's times."""
    names = tuple(row["metric"] for row in rows)
    runs = {
        "first": partial(study.ours, names),
        "next": partial(study.ours, names, shared=True),
    }
    times = measure.medians(measure.interleaved(runs, repeats, warm_up=0))
    scipy = sum(row["scipy_s"] for row in rows)
    return {
        "metric": "all together",
        **{f"{key}_s": one for key, one in times.items()},
        "scipy_s": scipy,
        **{f"ratio_{key}": scipy / one for key, one in times.items()},
        "peak_mb": traced(runs["first"]),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print two tables, write ``bootstrap.json``."""
    parser = measure.parser(__doc__.splitlines()[0])
    parser.add_argument("--drawn", type=int, help="resamples of each metric by scipy, then scaled")
    given = parser.parse_args(arguments)
    size = SMOKE if given.smoke else FULL
    drawn, parts, n_boot = given.drawn or size["drawn"], size["parts"], size["n_boot"]
    study = Study(size["n_eyes"], size["n_patients"], n_boot)
    names = [*DEFINITIONS, *GAPS]
    rows = [compare(study, name, drawn, parts) for name in tqdm(names, unit="metric")]
    rows.append(together(study, rows, parts))
    measure.show(rows, f"Seconds for {n_boot:,} resamples; scipy's are scaled from {drawn:,}")
    by_way = ways(study)
    measure.show(by_way, f"Mean absolute error, scipy run with all {n_boot:,} resamples")
    least = {
        f"{kind}, {key}": min(row[f"ratio_{key}"] for row in rows if row.get("kind") == kind)
        for kind in BAR
        for key in ("first", "next")
    }
    print("\nLeast ratio to scipy: " + "; ".join(f"{k} {v:.0f}" for k, v in least.items()))
    print("Asked for: " + "; ".join(f"{kind} {bar}" for kind, bar in BAR.items()))
    print(f"Ends are at most {max(row.get('apart_se', 0) for row in rows):.1f} SE apart.")
    record = {
        "settings": {**size, "drawn": drawn, "scipy_scaled_from": drawn, "seed": SEED, "bars": BAR},
        "rows": rows,
        "ways": by_way,
        "medians": {row["metric"]: row["first_s"] for row in rows},
        "ratios": least,
    }
    measure.publish("bootstrap", record, given)


if __name__ == "__main__":
    main()
