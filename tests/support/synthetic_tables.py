"""Tiny tables with planted answers, shared by the tests of the analysis."""

import numpy as np
import pandas as pd

from rnfl.core import schema

HUMP = 80 + 35 * np.cos(np.deg2rad(2 * np.arange(360) - 180))  # the double hump, mean 80 µm


def eyes(n_patients=20, seed=0):
    """Return samples of patients with two eyes each (one for every fourth)."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "eye_id": f"p{p:03d}-{side}",
            "patient_id": f"p{p:03d}",
            "laterality": side,
            "modality": "SLO",
            "split": "test",
            "age": age,
            "sex": "FM"[p % 2],
            "race": ("Asian", "Black", "White")[p % 3],
            "ethnicity": "Non-Hispanic",
            "severity": schema.SEVERITIES[p % 4],
        }
        for p, age in enumerate(rng.uniform(25, 85, n_patients))
        for side in (("OD", "OS") if p % 4 else ("OD",))
    ]
    return schema.validate(pd.DataFrame(rows), "samples")


def profiles(samples, seed=0, missing=0.0):
    """Return noise-free profiles and noisy labels (n, 360), fellow eyes alike."""
    rng = np.random.default_rng(seed)
    patient = pd.factorize(samples["patient_id"])[0]
    depth = 12 * rng.normal(size=patient.max() + 1)[patient] + 4 * rng.normal(size=len(samples))
    tilt = 6 * rng.normal(size=len(samples))
    theta = np.deg2rad(np.arange(360))
    truth = HUMP + depth[:, None] + tilt[:, None] * np.sin(theta)
    label = truth + 3 * rng.normal(size=truth.shape)
    label[rng.random(label.shape) < missing] = np.nan
    return truth, label


def frame(run_id, samples, prediction, label):
    """Return a predictions table."""
    ids = samples["eye_id"], samples["patient_id"]
    return schema.predictions_frame(run_id, *ids, prediction, label)


def study(n_patients=20, seeds=(42, 43), missing=0.01, backbones=("phantom_cls",)):
    """Return predictions, samples and runs of two protocols per backbone with both baselines.

    ``naive`` keeps 80 % of what distinguishes an eye, ``structured`` 20 %.
    """
    samples = eyes(n_patients)
    truth, label = profiles(samples, missing=missing)
    mean = np.nanmean(label, axis=0)
    tables = [
        frame("template", samples, np.tile(mean, (len(samples), 1)), label),
        frame("oracle", samples, truth, label),
    ]
    runs = []
    for backbone in backbones:
        for protocol, kept in (("naive", 0.8), ("structured", 0.2)):
            for seed in seeds:
                noise = np.random.default_rng(seed).normal(0, 1, truth.shape)
                run_id = f"{backbone}-{protocol}-{seed}"
                tables.append(frame(run_id, samples, mean + kept * (truth - mean) + noise, label))
                runs.append(
                    {"run_id": run_id, "backbone": backbone, "protocol": protocol, "seed": seed}
                )
    return pd.concat(tables, ignore_index=True), samples, pd.DataFrame(runs)


def only(table, **where):
    """Return the one row of a table with these values, or fail."""
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1, (where, len(table))
    return table.iloc[0]
