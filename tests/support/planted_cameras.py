"""Ways of adapting to another camera with a planted level and response."""

import numpy as np
import pandas as pd
from synthetic_tables import eyes, frame, profiles

from analysis.accuracy import camera_shift
from analysis.resampling import Resampling
from rnfl.storage import provenance

#: By way: level (µm) and share of the differences between eyes that is kept.
PLANTED = {
    "none": (-30.0, 0.5), "none+prior": (0.0, 0.5), "fourier": (-20.0, 0.6),
    "fourier+prior": (0.0, 0.6), "full": (-8.0, 0.9), "full+prior": (0.0, 0.9),
    "stage1": (-8.0, 0.2), "stage1+prior": (0.0, 0.2), "oracle": (0.0, 0.95),
}  # fmt: skip


def statistics(n=300):
    """Return table and comparisons of three draws of 10 and of 30 shots."""
    samples, rows = eyes(40), []
    truth, label = profiles(samples)
    mean = label.mean(axis=0)
    made = [
        frame("template", samples, np.tile(mean, (len(samples), 1)), label),
        frame("oracle", samples, truth, label),
    ]
    for way, (level, kept) in PLANTED.items():
        for shots in (10, 30):
            for draw in (0, 1, 2):
                luck = np.random.default_rng([draw, len(way), shots]).normal(0, 0.1)
                run_id = f"{way}-{shots}-{draw}"
                predicted = mean + level + luck + kept * (label - mean)
                made.append(frame(run_id, samples, predicted, label))
                rows.append({"run_id": run_id, "backbone": "small", "protocol": way,
                             "seed": draw, "shots": shots})  # fmt: skip
    given = pd.concat(made, ignore_index=True), samples, pd.DataFrame(rows)
    return camera_shift.statistics(*given, Resampling(n, n))


def write_tables(root, n=20):
    """Write table and pictures of figure 20 below a results folder."""
    folder = root / "20_camera_shift"
    provenance.write_csv(folder / "ways.csv", statistics(n)[0])
    images = np.random.default_rng(0).integers(0, 255, (2, 4, 32, 32, 3), dtype=np.uint8)
    np.savez(folder / "pictures.npz", images=images,
             title=np.array(["source", "fourier", "stage1", "true photograph"]))  # fmt: skip
