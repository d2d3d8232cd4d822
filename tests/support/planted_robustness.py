"""Arms whose errors grow with severity as planted."""

import numpy as np
import pandas as pd
from synthetic_tables import eyes, frame, profiles

from analysis.accuracy import robustness
from analysis.resampling import Resampling
from rnfl.storage import provenance

#: Error on clean pictures (µm), and what severity 1 adds.
PLANTED = {
    "intensity": (4.0, 10.0),
    "severe": (6.0, 2.0),
    "mild_to_severe": (4.1, 5.0),
    "specialist": (7.0, 0.0),
}
CONDITIONS = {"clean": 0, "severity0.4": 0.4, "severity0.8": 0.8, "jpeg0.8": 0.3,
              "other camera": 0.5}  # fmt: skip


def study(seeds=(42, 43), n_patients=20):
    """Return predictions with both baselines in every condition, samples and runs."""
    samples, tables = eyes(n_patients), []
    truth, label = profiles(samples)
    mean = np.tile(label.mean(axis=0), (len(samples), 1))
    runs = pd.DataFrame(
        {"run_id": f"{arm}-{seed}", "backbone": "phantom_mae_slo", "protocol": arm, "seed": seed}
        for arm in PLANTED
        for seed in seeds
    )
    for condition, severity in CONDITIONS.items():
        found = [frame("template", samples, mean, label), frame("oracle", samples, truth, label)]
        for run in runs.itertuples():
            clean, more = PLANTED[run.protocol]
            error = clean + more * severity + 0.01 * (run.seed - 42)
            found.append(frame(run.run_id, samples, label + error, label))
        tables += [one.assign(condition=condition) for one in found]
    return pd.concat(tables, ignore_index=True), samples, runs


def write_tables(root, n=20):
    """Write the tables of figure 21 below a results folder."""
    table, comparisons = robustness.statistics(*study(), Resampling(n, n))
    folder = root / "21_mild_to_severe"
    provenance.write_csv(folder / "robustness.csv", table)
    provenance.write_csv(folder / "comparisons.csv", comparisons)
    titles = ["clean", "severity 0.4", "severity 0.8", "other camera",
              *["mild view"] * 2, *["severe view"] * 2]  # fmt: skip
    images = np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3), dtype=np.uint8)
    np.savez(folder / "eyes.npz", images=images, title=np.array(titles))
