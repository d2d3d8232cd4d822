"""Tables of several finished runs: what they are, what they predicted and how they learnt."""

from collections.abc import Iterable
from dataclasses import asdict

import pandas as pd

from rnfl import schema
from rnfl.runs import INCIDENTAL, RunResult


def runs_table(results: Iterable[RunResult]) -> pd.DataFrame:
    """One row per run: id, configuration, the protocol's own fields, and summary."""
    rows = []
    for result in results:
        config = {k: v for k, v in asdict(result.config).items() if k not in INCIDENTAL}
        protocol = config["protocol"]
        fields = {"protocol": protocol.pop("name"), **protocol}
        rows.append({"run_id": result.run_id} | config | fields | result.summary)
    return schema.validate(pd.DataFrame(rows), "runs")


def predictions_of(results: Iterable[RunResult]) -> pd.DataFrame:
    """Test predictions of several runs, one below the other."""
    return pd.concat([result.predictions for result in results], ignore_index=True)


def histories_of(results: Iterable[RunResult]) -> pd.DataFrame:
    """Histories of several runs with their backbone, protocol and seed; empty for none."""
    frames = [
        result.history.assign(
            backbone=result.config.backbone,
            protocol=result.config.protocol.name,
            seed=result.config.seed,
        )
        for result in results
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
