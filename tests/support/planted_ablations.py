"""Ablation studies with planted errors: each eye's MAE is a given function of the dial.

A prediction is the label moved up by a number of µm, so that an eye's error is that number exactly.
"""

import numpy as np
import pandas as pd
from synthetic_tables import eyes, frame, profiles

from analysis.accuracy import ablation
from analysis.freezing import slopes
from analysis.published import ablations as published_ablations
from analysis.resampling import Resampling
from rnfl.storage import provenance
from rnfl.study import ablations
from rnfl.training.protocols import PROTOCOLS
from rnfl.training.protocols import settings as settings_of

SHARES = (0, 1 / 6, 1 / 3, 1 / 2, 1)


def planted(protocols, error, seeds=(42, 43, 44), n_patients=20, backbones=("phantom_mae",)):
    """Return predictions with both baselines, samples and runs of protocols.

    ``error(protocol, backbone, seed, samples)`` gives each eye's error (n,), or one for all.
    """
    samples = eyes(n_patients)
    truth, label = profiles(samples)
    mean = np.tile(label.mean(axis=0), (len(samples), 1))
    tables = [frame("template", samples, mean, label), frame("oracle", samples, truth, label)]
    rows = []
    for backbone in backbones:
        for protocol in protocols:
            for seed in seeds:
                run_id = f"{backbone}-{protocol.name}-{seed}"
                moved = np.broadcast_to(error(protocol, backbone, seed, samples), len(samples))
                tables.append(frame(run_id, samples, label + moved[:, None], label))
                settings = {k: settings_of(protocol)[k] for k in SETTINGS}
                rows.append({"run_id": run_id, "backbone": backbone, "protocol": protocol.name,
                             "seed": seed, "lr_scale": 8.0, **settings})  # fmt: skip
    return pd.concat(tables, ignore_index=True), samples, pd.DataFrame(rows)


SETTINGS = ("freeze_fraction", "lambda_pearson", "lambda_gradient", "lr_encoder", "layer_decay")


def noise(*key, sd=0.02):
    """Return the luck of one run, µm: the same for the same key."""
    seed = [sum(map(ord, str(part))) for part in key]
    return sd * np.random.default_rng(seed).standard_normal()


def freezing(cost=lambda x: 0.02 * x, shares=SHARES, sd=0.02, **options):
    """Return a freezing study whose error is 4 µm and ``cost(percent frozen)``, and luck."""

    def error(protocol, backbone, seed, samples):
        frozen = 100 * settings_of(protocol)["freeze_fraction"]
        return 4 + cost(frozen) + noise(protocol.name, backbone, seed, sd=sd)

    return planted(ablations.freezing(shares), error, **options)


def losses(pearson_cost=0.1, gradient_cost=0.1, **options):
    """Return a study of the loss: each step of a weight costs so much, in µm."""
    weights = {"lambda_pearson": (0, 0.5, 10, 30), "lambda_gradient": (0, 0.05, 0.2, 1)}

    def error(protocol, backbone, seed, samples):
        steps = {k: weights[k].index(settings_of(protocol)[k]) for k in weights}
        cost = pearson_cost * steps["lambda_pearson"] + gradient_cost * steps["lambda_gradient"]
        return 4 + cost + noise(protocol.name, seed, sd=0.001)

    return planted(ablations.losses(*weights.values()), error, **options)


def crossed(freezing=0.5, pearson=0.3, extra=0.2, **options):
    """Return the four cells of structured; both together cost ``extra`` beyond their sum, µm."""
    protocols = [*ablations.freezing([0, 1 / 2]), *ablations.losses([10])]

    def error(protocol, backbone, seed, samples):
        alone = {"aggressive": 0, "freeze_50pct": freezing, "pearson_10": pearson}
        cost = alone.get(protocol.name, freezing + pearson + extra)
        return 4 + cost + noise(protocol.name, seed, sd=0.001)

    return planted([*protocols, PROTOCOLS["structured"]], error, **options)


def rates(best=5e-5, decay_gain=0.1, grid=(1e-6, 5e-5, 1e-3), decays=(1.0, 0.75), **options):
    """Return a study of learning rates: 0.3 µm per factor of 10 from the best, less by decay."""

    def error(protocol, backbone, seed, samples):
        away = 0.3 * abs(np.log10(protocol.rates.encoder / best))
        gain = decay_gain if protocol.rates.layer_decay < 1 else 0
        return 4 + away - gain + noise(protocol.name, seed, sd=0.001)

    return planted(ablations.learning_rates(grid, decays), error, **options)


def write_tables(root, n=20):
    """Write the tables of the figures 03, 04 and 05 below a results folder."""
    predictions, samples, runs = freezing(backbones=("phantom_mae", "phantom_cls"), **FEW)
    points, few = slopes.run_points(predictions, runs), Resampling(n, n)
    table, pairs = ablation.statistics(predictions, samples, runs, ["percent_frozen"], few)
    tables = {
        "03_freezing/runs.csv": slopes.influence(points),
        "03_freezing/curves.csv": slopes.curves(points, n_boot=n),
        "03_freezing/table3a.csv": table,
        "03_freezing/comparisons.csv": pairs,
        "03_freezing/regressions.csv": slopes.regressions(points, predictions, few),
        "03_freezing/published.csv": published_ablations.freezing_points(),
    }
    predictions, samples, runs = losses(**FEW)
    names = ["lambda_pearson", "lambda_gradient"]
    table, pairs = ablation.statistics(predictions, samples, runs, names, few)
    predictions, _, runs = crossed(**FEW)
    tables |= {
        "04_loss_complexity/table3b.csv": table,
        "04_loss_complexity/comparisons.csv": pairs,
        "04_loss_complexity/factorial.csv": ablation.factorial(predictions, runs, FOUR, few),
        "04_loss_complexity/published.csv": published_ablations.loss_points(),
    }
    predictions, samples, runs = rates(**FEW)
    names = ["lr_encoder", "lr_effective", "layer_decay"]
    table, _ = ablation.statistics(predictions, samples, runs, names, few)
    tables |= {
        "05_learning_rate/learning_rates.csv": table,
        "05_learning_rate/decay.csv": ablation.decay_effect(predictions, runs, few),
    }
    for name, one in tables.items():
        provenance.write_csv(root / name, one)


FEW = {"seeds": (42, 43), "n_patients": 8}
FOUR = {
    "none": "aggressive",
    "freezing": "freeze_50pct",
    "pearson": "pearson_10",
    "both": "structured",
}
