"""The model of a run: untrained, from the run it starts from, or as a finished run left it.

A start brings what it has seen along: no patient that it was trained or validated on, through all
the runs that it itself started from, may be tested on.
"""

from collections.abc import Iterator

import numpy as np
from safetensors.torch import load_file
from torch import nn

from rnfl import datasets
from rnfl.core.identity import bare
from rnfl.datasets.prepared import Prepared
from rnfl.models.backbone import Backbone, build
from rnfl.models.readout import Readout
from rnfl.models.regressor import RNFLRegressor
from rnfl.runs import results
from rnfl.runs.results import RunResult
from rnfl.training import protocols
from rnfl.training.config import RunConfig


def untrained(config: RunConfig, prepared: Prepared) -> RNFLRegressor:
    """Return the regressor that training begins with: new, or that of the run to start from."""
    if config.start is None:
        return RNFLRegressor(build(config.backbone, config.pretrained), config.radius_ratio)
    return load_model(_start(config, prepared))


def backbones(config: RunConfig, prepared: Prepared) -> list[Backbone]:
    """Return the backbones that a readout reads, pretrained or of the run to start from."""
    if config.start is None:
        return [build(name, config.pretrained) for name in config.backbones]
    return [load_model(_start(config, prepared)).backbone]


def _start(config: RunConfig, prepared: Prepared) -> RunResult:
    """Return the run to start from, unless it does not fit or knows patients to be tested on."""
    start = results.load_run(config.start)
    unread = protocols.UNREAD[config.protocol.solver]
    for name in (one for one in ("backbone", "radius_ratio") if one not in unread):
        theirs, ours = getattr(start.config, name), getattr(config, name)
        if theirs != ours:
            raise ValueError(
                f"{config.slug}: start {config.start} has {name} {theirs!r}, expected {ours!r}"
            )
    seen = shared_patients(start, prepared, prepared.subset("test"))
    if seen:
        raise ValueError(
            f"{config.slug}: start {config.start} has learnt from {len(seen)} patients that are "
            f"to be tested on: choose a start that has not, or split 'all'"
        )
    return start


def load_model(result: RunResult) -> nn.Module:
    """Build the model of a finished run with its trained weights, in evaluation mode."""
    config, state = result.config, load_file(result.model_path)
    read = [build(name, pretrained=False) for name in config.backbones]
    if config.protocol.solver == "ridge":
        model = Readout(read, n_codes=len(state["level"]))
    else:
        model = RNFLRegressor(*read, config.radius_ratio)
    model.load_state_dict(state, strict=True)
    return model.eval()


def shared_patients(result: RunResult, prepared: Prepared, rows: np.ndarray) -> set[str]:
    """Return the patients of ``rows`` that a model was trained or validated on.

    Patients are compared within one source alone (the manifest's ``dataset``): elsewhere, the same
    id is another person. Two folders prepared from one source are one source. Ids that differ in
    spelling alone (:func:`rnfl.core.identity.bare`) are one patient.

    Raises a ValueError as :func:`learnt_from` does.
    """
    patients = {one: bare(one) for one in prepared.samples["patient_id"].iloc[rows]}
    seen: set[str] = set()
    for learnt, known in learnt_from(result):
        if learnt.manifest["dataset"] == prepared.manifest["dataset"]:
            seen |= set(learnt.samples["patient_id"].iloc[known].map(bare))
    return {one for one, plain in patients.items() if plain in seen}


def learnt_from(result: RunResult) -> Iterator[tuple[Prepared, np.ndarray]]:
    """Yield each dataset that a model, or one it started from, was fitted on, and its rows of it.

    Raises
    ------
    ValueError
        If a dataset is not there, or has changed since.
    """
    run: RunResult | None = result
    while run is not None:
        learnt = datasets.load(run.config.dataset)
        if learnt.hash != run.resolved["dataset_hash"]:
            raise ValueError(
                f"{run.run_id}: dataset {run.config.dataset!r} was prepared anew after this run, "
                "so whose eyes it was trained on is not known: prepare the files of then again, "
                "or train it again"
            )
        split = results.divided(learnt, run.config.split).samples["split"]
        yield learnt, np.flatnonzero(split != "test")
        run = results.load_run(run.config.start) if run.config.start is not None else None
