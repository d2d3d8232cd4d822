"""Strategies with planted errors and costs, and a planted factorial of output scale."""

import numpy as np
import pandas as pd
from synthetic_tables import eyes, frame, profiles

from analysis import collapse
from analysis.accuracy import strategies
from analysis.resampling import Resampling
from rnfl.storage import provenance

#: Error beside full fine-tuning (µm), parameters of the backbone that learn, bytes stored.
PLANTED = {
    "readout": (1.0, 0, 2e5),
    "aggressive": (0.0, 1_000_000, 4e6),
    "lora": (0.05, 24_000, 8e5),
    "lora_r1": (0.2, 3_000, 7e5),
    "dora_r4": (0.1, 15_000, 8e5),
    "bitfit": (2.5, 8_000, 7e5),
}


def study(seeds=(42, 43, 44), n_patients=20, planted=PLANTED, sd=0.02):
    """Return predictions with both baselines, samples and runs with their costs."""
    samples, rows = eyes(n_patients), []
    truth, label = profiles(samples)
    mean = np.tile(label.mean(axis=0), (len(samples), 1))
    tables = [frame("template", samples, mean, label), frame("oracle", samples, truth, label)]
    for protocol, (more, moving, stored) in planted.items():
        for seed in seeds:
            luck = sd * np.random.default_rng([seed, len(protocol)]).standard_normal()
            run_id = f"{protocol}-{seed}"
            tables.append(frame(run_id, samples, label + 4 + more + luck, label))
            trained = protocol != "readout"
            rows.append({
                "run_id": run_id, "backbone": "phantom_mae", "protocol": protocol, "seed": seed,
                "n_parameters": 1_500_000, "n_trainable_backbone": moving,
                "n_trainable": moving + 500_000 if trained else 0, "bytes_stored": stored,
                "peak_bytes": 1e8 + 100 * moving if trained else None,
                "peak_bytes_are": "estimated" if trained else None,
                "seconds_per_epoch": 4.0 + moving / 1e6 if trained else None,
                "seconds_to_best": 30.0, "device": "made",
            })  # fmt: skip
    return pd.concat(tables, ignore_index=True), samples, pd.DataFrame(rows)


def scales(seeds=(42, 43), n_patients=20):
    """Return predictions and cells: raw output keeps nothing after 8 epochs, all after 24."""
    samples, rows = eyes(n_patients), []
    _, label = profiles(samples)
    mean = label.mean(axis=0)
    tables = [frame("template", samples, np.tile(mean, (len(samples), 1)), label)]
    for strategy in ("aggressive", "structured"):
        for scale in ("standardised", "raw"):
            for epochs in (8, 24):
                kept = 0.0 if (scale, epochs) == ("raw", 8) else 0.9
                for seed in seeds:
                    run_id = f"{strategy}-{scale}-{epochs}-{seed}"
                    tables.append(frame(run_id, samples, mean + kept * (label - mean), label))
                    rows.append({"run_id": run_id, "backbone": "phantom_mae", "scale": scale,
                                 "epochs": epochs, "protocol": strategy, "seed": seed})  # fmt: skip
    return pd.concat(tables, ignore_index=True), samples, pd.DataFrame(rows)


def scale_table(predictions, samples, cells, resampling):
    """Return the long table of notebook 15 and the verdicts."""
    named = strategies.named_cells(cells)
    errors = strategies.errors(predictions, samples, named, resampling)
    spread = collapse.collapse_table(predictions, named, resampling)
    settings = named[["protocol", "strategy", "scale", "epochs"]].drop_duplicates()
    table = pd.concat([errors, spread], ignore_index=True).merge(settings, "left", "protocol")
    return table, collapse.verdicts(spread)


def write_tables(root, n=20):
    """Write the tables of the figures 13, 14 and 15 below a results folder."""
    predictions, samples, runs = study()
    few = Resampling(n, n)
    table, comparisons = strategies.statistics(predictions, samples, runs, few)
    costs = strategies.costs(runs)
    gaps = [(table.assign(gap=g), costs.assign(gap=g)) for g in (0.0, 0.5)]
    tables = {
        "13_strategies/strategies.csv": pd.concat(one for one, _ in gaps),
        "13_strategies/costs.csv": pd.concat(one for _, one in gaps),
        "14_parameter_efficient/parameters.csv": table,
        "14_parameter_efficient/comparisons.csv": comparisons,
        "14_parameter_efficient/costs.csv": costs,
        "15_output_scale/scales.csv": scale_table(*scales(), few)[0],
    }
    for name, one in tables.items():
        provenance.write_csv(root / name, one)
