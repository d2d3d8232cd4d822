"""How often a warning or a test cries wolf: photographs, orders of profiles, gaps between groups.

    PYTHONPATH=tests/support python benchmarks/false_alarms.py

Real photographs and LEI-SFD are measured where they are at hand. Phantom eyes of the orders are of
a population that chose no limit; of LEI-SFD the last visits are taken, the first visits of half of
its subjects chose limits. Gaps are simulated as in ``tests/support/simulated_groups.py``: the
standard error of a rate of 5 % in 2,000 simulations is 0.5 points. About ten minutes on one core.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import measure
import numpy as np
import pandas as pd
from scipy import ndimage
from simulated_groups import NULLS, p_values, races

from rnfl.core.geometry import N_ANGLES, SECTORS, mirror_profile, quadrant_means, rotate_profile
from rnfl.core.orientation import doubt_order, doubt_quadrants
from rnfl.datasets import grape
from rnfl.datasets.phantom.eyes import population
from rnfl.imaging import crops
from rnfl.imaging.inspection import measure as look
from rnfl.storage.paths import project_root
from rnfl.storage.progress import progress

SEED = 20261128  # of phantom eyes that chose no limit
COHORTS = (5, 10, 30, 100)  # eyes
DRAWS = {"in the right order": 1000, "mirrored": 250, "turned by 90°": 250}
SMOOTH = 15  # degrees, by which the steps between LEI-SFD's sectors are joined


def exponential(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return errors of SD 1, more skewed than those of the test."""
    return rng.exponential(size=n) - 1


HARD = {"small group, double spread, exponential": (races, (140, 12), (1, 2), exponential)}


def photographs(most: int | None) -> dict:
    """Return what is doubted of GRAPE's photographs as they are, and their range of sharpness."""
    try:
        source = grape.Grape.find_source()
    except FileNotFoundError as error:
        return {"absent": str(error)}
    folder = grape.find_files(source).photographs
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".png"))
    kinds, sharp = Counter(), []
    for path in progress(paths[:most], "photographs", len(paths[:most])):
        crop = crops.prepare(crops.read(path), "OD" if "_OD_" in path.name else "OS")
        kinds.update(said.split(":")[0] for said in crop.doubts)
        sharp.append(look(crop.image)["sharpness"])
    ends = [round(float(end), 2) for end in (min(sharp), max(sharp))]
    return {"photographs": len(sharp), "doubts": dict(kinds), "sharpness": ends}


def cohorts() -> dict[str, np.ndarray]:
    """Return profiles (n, 360), µm, in the right order, by cohort."""
    eyes = population(2000, SEED)
    labels, severity = np.stack([eye.label for eye in eyes]), np.array([e.severity for e in eyes])
    found = {"phantom, all": labels}
    found |= {f"phantom, {s}": labels[severity == s] for s in ("healthy", "moderate", "severe")}
    table = project_root().parent / "shared" / "data" / "lei_sfd" / "LEI_SFD1" / "true.csv"
    if not table.is_file():
        return found
    visits = pd.read_csv(table)
    visits = visits[visits["visit"] == visits["visit"].max()]
    steps = np.zeros((len(visits), N_ANGLES))
    for name, mask in SECTORS.items():
        steps[:, mask] = visits[f"oct.{name}"].to_numpy(float)[:, None]
    return found | {"LEI-SFD": ndimage.gaussian_filter1d(steps, SMOOTH, axis=1, mode="wrap")}


def orders(profiles: np.ndarray, n: int, draws: dict[str, int], rng) -> dict[str, float]:
    """Return how often cohorts of n eyes are warned of, %, in each order."""
    moves = (lambda x: x, mirror_profile, lambda x: rotate_profile(x, 90))

    def share(doubt, times: int) -> float:
        drawn = (profiles[rng.choice(len(profiles), n, replace=False)] for _ in range(times))
        return round(100 * float(np.mean([bool(doubt(one)) for one in drawn])), 1)

    found = {
        name: share(lambda x, move=move: doubt_order(move(x), ""), draws[name])
        for name, move in zip(DRAWS, moves, strict=True)
    }
    right = draws["in the right order"]
    return found | {
        "quadrants": share(lambda x: doubt_quadrants(quadrant_means(x).to_numpy(), ""), right)
    }


def main(arguments: list[str] | None = None) -> Path:
    """Measure, print three tables, write the JSON and return its path."""
    given = measure.parser(__doc__.splitlines()[0]).parse_args(arguments)
    few = given.smoke
    rng, studies = np.random.default_rng(SEED), 5 if few else 2000
    draws = dict.fromkeys(DRAWS, 2) if few else DRAWS
    looked = photographs(2 if few else None)
    measure.show([looked], "photographs as they are")
    warned = []
    for name, profiles in progress((pools := cohorts()).items(), "cohorts", len(pools)):
        for n in (one for one in COHORTS[: 1 if few else None] if one <= len(profiles) // 2):
            warned.append({"cohort": name, "eyes": n, **orders(profiles, n, draws, rng)})
    measure.show(warned, "warned of, %")
    alarms = []
    for name, case in progress((cases := {**NULLS, **HARD}).items(), "gaps", len(cases)):
        share = float(np.mean(p_values(case, studies, seed=SEED) <= 0.05))
        alarms.append({"errors that know no group": name, "alarms %": round(100 * share, 1)})
    measure.show(alarms, f"p below 0.05 in {studies:,} simulations")
    record = {"settings": {"seed": SEED, "draws": draws, "simulations": studies}, "rows": alarms}
    return measure.publish(
        "false_alarms", record | {"photographs": looked, "orders": warned}, given
    )


if __name__ == "__main__":
    main()
