"""Coverage of 95 % intervals by metric, number of patients and method; prints and writes a table.

    PYTHONPATH=tests/support python benchmarks/coverage.py

Studies are simulated as in ``tests/support/simulated_studies.py``, 2,000 for each number of
patients, so that a coverage of 95 % has a standard error of 0.5 points. Methods: percentile; BCa
with the acceleration of a jackknife over patients; the project's own
(:mod:`analysis.resampling.scales`).
BCa and the project's own are widened for few patients alike. It takes about ten minutes on one
core.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import simulated_studies as simulated
from scipy import stats

from analysis.collapse import DEFINITIONS
from analysis.resampling.bootstrap import widening
from analysis.resampling.scales import calibrated

TARGET = Path(__file__).with_suffix(".json")
N_BOOT, CHUNK = 399, 50
LEVELS = np.array([0.025, 0.975])


def bca(estimates, replicates, left_out, n_patients):
    """Return bias-corrected and accelerated ends (2, S) from leave-one-patient-out values."""
    pull = left_out.mean(axis=1, keepdims=True) - left_out
    scale = (pull**2).sum(axis=1)
    acceleration = (pull**3).sum(axis=1) / (6 * np.where(scale > 0, scale, 1) ** 1.5)
    n = replicates.shape[1]
    below = (replicates < estimates).sum(axis=1) + (replicates == estimates).sum(axis=1) / 2
    bias = stats.norm.ppf(np.clip(below, 0.5, n - 0.5) / n)
    z = bias + widening(n_patients) * stats.norm.ppf(LEVELS)[:, None]
    shares = stats.norm.cdf(bias + z / (1 - acceleration * z))
    ranks = np.clip(np.rint((n + 1) * shares).astype(int) - 1, 0, n - 1)
    return np.take_along_axis(np.sort(replicates, axis=1), ranks.T, axis=1).T


def measure(n_patients, n_studies, seed):
    """Return the share of intervals that cover, by method, then 'model metric'."""
    rng, truth = np.random.default_rng([seed, n_patients]), simulated.population()
    held = {method: {} for method in ("percentile", "BCa", "ours")}
    jackknife = 1 - np.eye(n_patients)
    for start in range(0, n_studies, CHUNK):
        size = min(CHUNK, n_studies - start)
        kept = {}
        studies = simulated.replicated(n_patients, N_BOOT, size, rng, extra=jackknife)
        for model, metric, estimates, values in studies:
            replicates, left_out = values[:, :N_BOOT], values[:, N_BOOT:]
            moved = calibrated(metric, estimates, replicates, n_patients)
            kept[model] = estimates, replicates, left_out, moved
            cases = {model: kept[model]}
            if model == "b" and not metric.endswith("_target"):
                cases["a-b"] = tuple(a - b for a, b in zip(*kept.values(), strict=True))
            for name, (center, drawn, without, ours) in cases.items():
                ends = {
                    "percentile": simulated.ends(drawn),
                    "BCa": bca(center, drawn, without, n_patients),
                    "ours": simulated.ends(ours),
                }
                for method, (low, high) in ends.items():
                    inside = (low <= truth[name, metric]) & (truth[name, metric] <= high)
                    key = f"{name} {metric}"
                    held[method][key] = held[method].get(key, 0) + int(inside.sum())
    return {m: {key: one / n_studies for key, one in found.items()} for m, found in held.items()}


def main():
    """Measure, print one line per metric of model a and of the difference, write the rest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patients", type=int, nargs="+", default=[30, 100, 300])
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    found = {str(n): measure(n, given.studies, given.seed) for n in given.patients}
    methods = list(next(iter(found.values())))
    head = [f"{method} {n}" for n in given.patients for method in methods]
    print(f"{'coverage (%), by patients':32s}" + "".join(f"{name:>16s}" for name in head))
    for key in next(iter(found.values()))["ours"]:
        shares = [found[str(n)][method][key] for n in given.patients for method in methods]
        print(f"{key:32s}" + "".join(f"{100 * share:16.1f}" for share in shares))
    about = {
        "studies": given.studies,
        "n_boot": N_BOOT,
        "seed": given.seed,
        "standard_error": round(float(np.sqrt(0.95 * 0.05 / given.studies)), 4),
        "metrics": list(DEFINITIONS),
    }
    text = json.dumps({**about, "coverage": found}, indent=1, ensure_ascii=False)
    TARGET.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
