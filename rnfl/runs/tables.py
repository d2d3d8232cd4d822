"""Tables of several finished runs: what they are, what they predicted and how they learnt."""

from collections.abc import Iterable
from dataclasses import asdict, fields

import pandas as pd

from rnfl.core import schema
from rnfl.runs.results import RunResult
from rnfl.storage.provenance import sha256_json
from rnfl.training.config import INCIDENTAL, RunConfig

# What makes runs of one condition several.
OWN = ("seed", "split")


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


def configs_of(results: Iterable[RunResult]) -> list[dict]:
    """Return the configurations of several runs, those that differ in seed and split alone as one.

    Returns
    -------
    list of dict
        ``config``: every field but those two, as the runs recorded them, defaults included;
        ``dataset_hash``; ``runs``: seed and split by run id. From these and the weights of the
        backbones an address can be computed again.
    """
    return conditions((result.run_id, result.resolved) for result in results)


def conditions(resolved: Iterable[tuple[str, dict]]) -> list[dict]:
    """Return :func:`configs_of` of run ids with what :func:`rnfl.runs.address.resolved` gave."""
    found: dict[str, dict] = {}
    for run_id, record in resolved:
        own = {name: record[name] for name in OWN}
        config = {f.name: record[f.name] for f in fields(RunConfig) if f.name in record}
        one = {"config": {name: value for name, value in config.items() if name not in OWN}}
        one["dataset_hash"] = record["dataset_hash"]
        found.setdefault(sha256_json(one), one | {"runs": {}})["runs"][run_id] = own
    return list(found.values())
