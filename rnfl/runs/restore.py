"""The model of a run: untrained, from the run it starts from, or as a finished run left it."""

from __future__ import annotations

from safetensors.torch import load_file
from torch import nn

from rnfl.datasets.prepared import Prepared
from rnfl.models.backbone import Backbone, build
from rnfl.models.regressor import RNFLRegressor
from rnfl.runs import lineage, results
from rnfl.runs.results import RunResult
from rnfl.training import protocols
from rnfl.training.config import RunConfig
from rnfl.training.readout import Readout


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
    """Return the run to start from.

    Raises
    ------
    ValueError
        If it has another backbone, or another radius where that is read, or has learnt from
        patients to be tested on.
    """
    start = results.load_run(config.start)
    unread = protocols.UNREAD[config.protocol.solver]
    for name in (one for one in ("backbone", "radius_ratio") if one not in unread):
        theirs, ours = getattr(start.config, name), getattr(config, name)
        if theirs != ours:
            raise ValueError(
                f"{config.slug}: start {config.start} has {name} {theirs!r}, expected {ours!r}"
            )
    seen = lineage.shared_patients(start, prepared, prepared.subset("test"))
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
