"""Ablations: protocols that differ from *aggressive* in one hyperparameter only.

A setting that is one of the presets is that preset, so that a cell which several tables share is
one run: nothing frozen, no Pearson term and the rate 5e-5 are all *aggressive*.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from rnfl.training.protocols import PROTOCOLS, Loss, Part, Phase, Protocol, Rates

BASE = PROTOCOLS["aggressive"]


def freezing(fractions: Iterable[float]) -> list[Protocol]:
    """Return L1 protocols by the frozen share of the blocks; with any, the patch embedding too.

    Source: paper, freezing ablation (0, 4, 8 and 12 of 24 blocks).

    Examples
    --------
    >>> [protocol.name for protocol in freezing([0, 1 / 3, 1])]
    ['aggressive', 'freeze_33pct', 'freeze_100pct']
    """
    return [
        _named(f"freeze_{100 * share:.0f}pct", phases=(Phase(part=all_but(share)),))
        for share in fractions
    ]


def losses(pearson: Iterable[float] = (), gradient: Iterable[float] = ()) -> list[Protocol]:
    """Return protocols by the weight of the Pearson term, then of the gradient term, beside L1.

    Source: paper, loss complexity; the weights of the gradient term are ours but for 0.2.

    Examples
    --------
    >>> [protocol.name for protocol in losses([0, 0.5], [0, 0.2, 1])]
    ['aggressive', 'pearson_0.5', 'gradient_loss', 'gradient_1']
    """
    changed = [_named(f"pearson_{weight:g}", loss=Loss(pearson=weight)) for weight in pearson]
    changed += [_named(f"gradient_{weight:g}", loss=Loss(gradient=weight)) for weight in gradient]
    return list(dict.fromkeys(changed))


def learning_rates(
    rates: Sequence[float], layer_decays: Iterable[float] = (1.0,)
) -> list[Protocol]:
    """Return protocols by the encoder's peak learning rate, under each layer-wise decay (ours).

    Examples
    --------
    >>> [protocol.name for protocol in learning_rates([5e-5, 1e-4], [1, 0.75])]
    ['aggressive', 'naive', 'discriminative', 'lr_0.0001_decay_0.75']
    """
    suffixes = {decay: f"_decay_{decay:g}" if decay < 1 else "" for decay in layer_decays}
    return [
        _named(f"lr_{rate:g}{suffix}", rates=Rates(rate, layer_decay=decay))
        for decay, suffix in suffixes.items()
        for rate in rates
    ]


def all_but(frozen: float) -> Part:
    """Return what moves with a share of the blocks frozen, and the embedding too if any are.

    With all blocks frozen that is the last norm (ours).
    """
    return Part(1 - frozen, embedding=not frozen, norm=True if frozen == 1 else None)


def _named(name: str, **changes: object) -> Protocol:
    """Return *aggressive* with changes, as the preset it is, or under a new name."""
    changed = replace(BASE, **changes)
    for preset in PROTOCOLS.values():
        if isinstance(preset, Protocol) and replace(changed, name=preset.name) == preset:
            return preset
    return replace(changed, name=name)
