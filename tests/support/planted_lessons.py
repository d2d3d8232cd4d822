"""Starts, fractions and mixes of quality with planted errors, as notebooks 16 to 19 have them."""

import numpy as np
import pandas as pd
from synthetic_tables import eyes, frame, profiles

from analysis.accuracy import lessons
from analysis.resampling import Resampling
from rnfl.storage import provenance


def study(cells, error, seeds=(42, 43, 44), n_patients=24, sd=0.05, seed=0, label_noise=0.0):
    """Return predictions with a template, samples, and a row per run.

    Parameters
    ----------
    cells : list of dict
        Factors of each cell.
    error : callable
        Of a cell, the error of its eyes (µm).
    """
    samples, rows, rng = eyes(n_patients), [], np.random.default_rng(seed)
    _, label = profiles(samples)
    mean = np.tile(label.mean(axis=0), (len(samples), 1))
    tables = [frame("template", samples, mean, label)]
    for i, cell in enumerate(cells):
        name = ", ".join(map(str, cell.values()))
        for one in seeds:
            luck = sd * rng.standard_normal() + label_noise * rng.standard_normal((len(samples), 1))
            run_id = f"run-{i}-{one}"
            signs = rng.choice([-1.0, 1.0], (len(samples), 1))
            tables.append(frame(run_id, samples, label + signs * (error(cell) + luck), label))
            row = {"run_id": run_id, "backbone": cell.get("start", "x"), "protocol": name}
            rows.append(row | {"seed": one, "bytes_stored": 4e6 * (1 + i)} | cell)
    return pd.concat(tables, ignore_index=True), samples, pd.DataFrame(rows)


def starts(seeds=(42, 43, 44), helps=1.0):
    """Own pictures help the random start alone, by so many µm."""
    cells = [
        {"start": start, "pretraining": pretraining, "fraction": fraction}
        for start in ("random", "domain") for pretraining in ("none", "own pictures")
        for fraction in (0.1, 1.0)
    ]  # fmt: skip

    def error(cell):
        helped = cell["start"] == "random" and cell["pretraining"] != "none"
        return 12 - 2 * cell["fraction"] - helps * helped

    return study(cells, error, seeds)


def growing(seeds=(42, 43, 44), crosses=0.2):
    """A pretrained start errs at a fraction as a random one with all labels."""
    cells = [
        {"start": start, "fraction": fraction, "equal": equal}
        for start in ("domain", "random") for fraction in (0.05, 0.1, 0.2, 0.5, 1.0)
        for equal in ("steps", "passes") if equal == "steps" or fraction < 1
    ]  # fmt: skip

    def error(cell):
        at = (
            np.log(cell["fraction"] / crosses)
            if cell["start"] == "domain"
            else np.log(cell["fraction"])
        )
        return 10 - 1.5 * at + (cell["equal"] == "passes")

    return study(cells, error, seeds)


def qualities(seeds=(42, 43, 44), mismatch=3.0, noise=0.0, seed=0):
    """Training on the other quality costs so many µm; pretrained starts err 1 µm less."""
    tables, cells = [], [
        {"start": start, "mix": mix, "fraction": 1.0}
        for start in ("domain", "random") for mix in (0.0, 0.5, 1.0)
    ]  # fmt: skip
    for i, (tested, own) in enumerate((("high", 1.0), ("low", 0.0))):

        def error(cell, own=own):
            pretrained = cell["start"] == "domain"
            return 10 + mismatch * abs(cell["mix"] - own) - pretrained * (mismatch > 0)

        made, _, runs = study(cells, error, seeds, seed=seed + i, label_noise=noise)
        made = made[made["run_id"] != "template"].assign(quality=tested)
        made["eye_id"] += "-low" * (tested == "low")
        tables.append(made)
    return pd.concat(tables, ignore_index=True), runs


def thinking(seeds=(42, 43, 44)):
    """More views take 0.2 µm off for each doubling and draw readings together; no turn helps."""
    cells = [{"start": "domain", "fraction": 1.0, "equal": "steps"}]
    tables = []
    for way in ("views", "rotations", "best of", "one of", "ensemble"):
        for passes in (1, 2, 4) if way != "ensemble" else (1, 2):
            gain = 0.0 if way in ("one of", "rotations") else 0.2 * np.log2(passes)
            made, _, runs = study(cells, lambda cell, gain=gain: 10 - gain, seeds)
            made = made[made["run_id"] != "template"]
            if way == "ensemble":
                made = made[made["run_id"] == "run-0-42"]
            tables.append(made.assign(way=way, passes=passes))
    return pd.concat(tables, ignore_index=True), runs


def histories():
    """Return histories of which all have arrived after the second of three epochs."""
    rows = [
        {"run_id": f"{start}-{seed}", "start": start, "fraction": 1.0, "seed": seed, "epoch": i,
         "seconds": 10.0 * (i + 1), "step": 10 * (i + 1), "val_mae": (20.0, 10.1, 10.0)[i]}
        for start in ("domain", "random") for seed in (42, 43) for i in range(3)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def write_tables(root, n=20):
    """Write the tables of the figures 16 to 19 below a results folder."""
    few = Resampling(n, n)
    predictions, samples, runs = starts()
    factors = ("start", "pretraining", "fraction")
    curves = pd.DataFrame({"start": ["random"] * 2 + ["domain"] * 2, "step": [1, 2] * 2,
                           "r2": [0.0, 0.1, 0.1, 0.2], "seconds": [1.0, 2.0] * 2})  # fmt: skip
    tables = {
        "16_self_pretraining/errors.csv": lessons.statistics(
            predictions, samples, runs, factors, few
        ),
        "16_self_pretraining/curves.csv": curves,
    }
    cells = [
        {"start": start, "objective": objective, "pictures": pictures, "adaptation": adaptation,
         "fraction": fraction}
        for start, objective, pictures in (
            ("phantom_scratch", "none", "none"), ("phantom_mae", "MAE", "eyes"))
        for adaptation in ("readout", "probe", "aggressive") for fraction in (0.1, 1.0)
    ]  # fmt: skip
    predictions, samples, runs = study(cells, lambda cell: 10 - cell["fraction"], (42,))
    found = lessons.statistics(predictions, samples, runs, tuple(cells[0]), few)
    tables |= {"17_specialist_or_generalist/errors.csv": found,
               "17_specialist_or_generalist/cells.csv": runs}  # fmt: skip
    table, _ = lessons.by_quality(*qualities(), few)
    tables |= {
        "18_image_quality/errors.csv": table,
        "18_image_quality/heat.csv": lessons.heat(table),
    }
    predictions, samples, runs = growing()
    found = lessons.statistics(predictions, samples, runs, ("start", "fraction", "equal"), few)
    tables |= {"19_labels_and_time/errors.csv": found,
               "19_labels_and_time/histories.csv": histories(),
               "19_labels_and_time/thinking.csv": lessons.thinking(*thinking(), few)}  # fmt: skip
    for name, one in tables.items():
        provenance.write_csv(root / name, one)
