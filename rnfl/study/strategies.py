"""Which strategy of adaptation, at what cost: what moves, how few numbers, which output scale.

All strategies take the same epochs of the same eyes. A strategy's learning rate is one of
``study.rate_factors`` times the study's, the one with the lowest validation error at the first
seed; test eyes choose nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pandas as pd

from rnfl.runs.results import RunResult
from rnfl.study.grid import run_grid
from rnfl.study.presets import Preset
from rnfl.training import protocols
from rnfl.training.config import RunConfig
from rnfl.training.protocols import Adapter, Part, Phase, Protocol

FULL = "aggressive"  # everything moves: what strategies are compared with
SCALED = (FULL, "structured")  # protocols whose output scale is varied


def shortened(
    study: Preset,
    n_seeds: int | None = None,
    gaps: Sequence[float] | None = None,
    lengths: Sequence[int] | None = None,
) -> Preset:
    """Return a preset with the first seeds alone, or other gaps or lengths; None: as it has them.

    A ValueError refuses what the preset does not have.
    """
    if n_seeds is not None and not 1 <= n_seeds <= len(study.ablation_seeds):
        raise ValueError(f"n_seeds {n_seeds}: preset {study.name!r} has {study.ablation_seeds}")
    for name, asked in (("strategy_gaps", gaps), ("lengths", lengths)):
        if unknown := set(asked or ()) - set(getattr(study, name)):
            raise ValueError(f"{name} {unknown}: preset {study.name!r} has {getattr(study, name)}")
    return replace(
        study,
        ablation_seeds=study.ablation_seeds[:n_seeds],
        strategy_gaps=tuple(gaps or study.strategy_gaps),
        lengths=tuple(lengths or study.lengths),
    )


def datasets(study: Preset) -> dict[float, str]:
    """Return the study's dataset at each gap between the cameras of pretraining and its own.

    Its own cameras are those of gap 1, which its name leaves out.

    Examples
    --------
    >>> from rnfl.study import presets
    >>> datasets(presets.get("reference"))
    {1.0: 'phantom-slo-1200', 0.5: 'phantom-slo-1200-gap0.5', 0.0: 'phantom-slo-1200-gap0'}
    """
    named = {1.0: study.slo}
    return {gap: named.get(gap, f"{study.slo}-gap{gap:g}") for gap in study.strategy_gaps}


def parameter_efficient(study: Preset) -> list[Protocol]:
    """Return protocols by how little of the backbone moves: adapters, biases, norms, last blocks.

    Adapters and vectors take ten times the encoder's rate, as the presets do (ours).

    Examples
    --------
    >>> from rnfl.study import presets
    >>> [one.name for one in parameter_efficient(presets.get("smoke"))]
    ['lora_r2', 'lora', 'bitfit', 'norms', 'last_quarter', 'aggressive']
    """
    named = [
        replace(protocols.get("lora"), name=f"{kind}_r{rank}",
                phases=(Phase(part=Part(adapter=Adapter(kind, rank))),))
        for kind in study.adapters for rank in study.ranks
    ]  # fmt: skip
    presets = {one.phases: one for one in map(protocols.get, ("lora", "dora"))}
    found = [presets.get(one.phases, one) for one in named]
    return [*found, *map(protocols.get, ("bitfit", "norms", "last_quarter", FULL))]


def tried(
    study: Preset,
    chosen: Iterable[str | Protocol],
    dataset: str,
    rates: pd.DataFrame | None = None,
    engine: str = "auto",
) -> tuple[list[RunResult], pd.DataFrame]:
    """Train protocols on a dataset, each at the rate that validates best, with every seed.

    Parameters
    ----------
    chosen : iterable of str or Protocol
        Of the featured backbone.
    rates : DataFrame, optional
        What was returned of another dataset, whose choice is taken over: nothing is tried.
    engine : str
        Of :func:`rnfl.study.grid.run_grid`.

    Returns
    -------
    list of RunResult
        A run per protocol and seed.
    DataFrame
        protocol, factor (of the study's learning rates), best_val_mae (µm, first seed), chosen.
    """
    names = list(map(protocols.get, chosen))
    first = study.ablation_seeds[0]

    def config(protocol: Protocol, factor: float, seed: int) -> RunConfig:
        made = study.config(study.featured, protocol, seed)
        return replace(made, dataset=dataset, lr_scale=factor * study.lr_scale)

    factors = dict.fromkeys((one.name for one in names), study.rate_factors)
    if rates is not None:
        taken = rates[rates["chosen"]].set_index("protocol")["factor"]
        factors = {name: (taken[name],) for name in factors}
    cells = {(one, factor): config(one, factor, first)
             for one in names for factor in factors[one.name]}  # fmt: skip
    found = run_grid(list(dict.fromkeys(cells.values())), engine)
    errors = {run.config: run.summary["best_val_mae"] for run in found}
    rows, kept = [], []
    for one in names:
        at = {factor: errors[cells[one, factor]] for factor in factors[one.name]}
        best = min(at, key=at.get)
        rows += [{"protocol": one.name, "factor": factor, "best_val_mae": mae,
                  "chosen": factor == best} for factor, mae in at.items()]  # fmt: skip
        kept += [config(one, best, seed) for seed in study.ablation_seeds]
    return run_grid(kept, engine), pd.DataFrame(rows)


def scales(study: Preset) -> list[RunConfig]:
    """Return the factorial of output scale, length of training and protocol."""
    return [
        replace(
            study.config(study.featured, protocol, seed),
            epochs=epochs,
            output_scale=scale,
            patience=max(epochs, study.patience),  # the length is what is varied
        )
        for scale in ("standardised", "raw")
        for epochs in study.lengths
        for protocol in SCALED
        for seed in study.ablation_seeds
    ]


def scaled_table(results: Sequence[RunResult]) -> pd.DataFrame:
    """Return what sets the runs of :func:`scales` apart: run_id, scale, epochs, protocol, seed."""
    return pd.DataFrame(
        {
            "run_id": run.run_id,
            "backbone": run.config.backbone,
            "scale": run.config.output_scale,
            "epochs": run.config.epochs,
            "protocol": run.config.protocol.name,
            "seed": run.config.seed,
        }
        for run in results
    )
