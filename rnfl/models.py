"""The model of a run: untrained, from the run it starts from, or as a finished run left it."""

from __future__ import annotations

from safetensors.torch import load_file
from torch import nn

from rnfl import lineage, protocols, runs
from rnfl.backbones import Backbone, build
from rnfl.model import RNFLRegressor
from rnfl.prepare import Prepared
from rnfl.readout import Readout
from rnfl.runs import RunConfig, RunResult


def untrained(config: RunConfig, prepared: Prepared) -> RNFLRegressor:
    """Return the regressor that training begins with: new, or that of the run to start from."""
    if config.start is None:
        return RNFLRegressor(build(config.backbone, config.pretrained), config.radius_ratio)
    return load(_start(config, prepared))


def backbones(config: RunConfig, prepared: Prepared) -> list[Backbone]:
    """Return the backbones that a readout reads, pretrained or of the run to start from."""
    if config.start is None:
        return [build(name, config.pretrained) for name in config.backbones]
    return [load(_start(config, prepared)).backbone]


def _start(config: RunConfig, prepared: Prepared) -> RunResult:
    """Return the run to start from.

    Raises
    ------
    ValueError
        If it has another backbone, or another radius where that is read, or has learnt from
        patients to be tested on.
    """
    start = runs.recorded(config.start)
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


def load(result: RunResult) -> nn.Module:
    """Build the model of a finished run with its trained weights, in evaluation mode."""
    config, state = result.config, load_file(result.model_path)
    read = [build(name, pretrained=False) for name in config.backbones]
    if config.protocol.solver == "ridge":
        model = Readout(read, n_codes=len(state["level"]))
    else:
        model = RNFLRegressor(*read, config.radius_ratio)
    model.load_state_dict(state, strict=True)
    return model.eval()
