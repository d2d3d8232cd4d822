"""Fine-tuning protocols: what is frozen, which loss, which learning rates."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

SOLVERS = ("gradient", "ridge")

# The fields of a RunConfig that a solver does not read: they make no new run.
UNREAD: dict[str, tuple[str, ...]] = {
    "gradient": (),
    "ridge": (
        *("epochs", "warmup_epochs", "patience", "batch_size", "micro_batch", "lr_scale", "clip"),
        *("augment", "views", "compile", "precision", "radius_ratio", "checkpoint_seconds"),
    ),
}


@dataclass(frozen=True)
class Protocol:
    """One way of adapting a backbone (paper, Methods; AdamW throughout).

    The solver 'ridge' leaves the whole backbone as it is and solves for a linear map from its
    tokens (:mod:`rnfl.training.readout`); then nothing but the name applies.
    """

    name: str
    freeze_patch_embed: bool = False  # with position embedding and prefix tokens; or the stem
    freeze_fraction: float = 0.0  # share of the blocks, from the first on, 0 to 1
    lambda_pearson: float = 0.0  # weight of the Pearson term beside L1
    lambda_gradient: float = 0.0  # weight of the gradient term
    lr_encoder: float = 5e-5  # peak rate of the backbone
    lr_head: float = 1e-4  # peak rate of everything after it
    # Each stage of the backbone learns at this share of the rate of the stage above it; the last
    # norm learns at lr_encoder. 1 is one rate for all.
    layer_decay: float = 1.0
    weight_decay: float = 0.05  # of weight matrices; vectors (biases, norms) do not decay (ours)
    solver: str = "gradient"  # or ridge

    def __post_init__(self):
        for name, fits, expected in (
            ("freeze_fraction", 0 <= self.freeze_fraction <= 1, "lie in [0, 1]"),
            ("layer_decay", 0 < self.layer_decay <= 1, "lie in (0, 1]"),
            ("solver", self.solver in SOLVERS, f"be one of {SOLVERS}"),
        ):
            if not fits:
                got = getattr(self, name)
                raise ValueError(f"protocol {self.name!r}: {name} must {expected}, got {got!r}")


# The defaults are those of aggressive; each of the others states what it changes.
PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("aggressive"),
        Protocol("naive", lr_encoder=1e-4),
        # The paper never published this protocol's learning rates: aggressive's are ours.
        Protocol("structured", freeze_patch_embed=True, freeze_fraction=0.5, lambda_pearson=10.0),
        Protocol("gradient_loss", lambda_gradient=0.2),
        # Ours: the backbone as it is, and a linear map that is solved for.
        Protocol(
            "readout",
            freeze_patch_embed=True,
            freeze_fraction=1.0,
            lr_encoder=0.0,
            lr_head=0.0,
            solver="ridge",
        ),
    )
}


def get(protocol: str | Protocol) -> Protocol:
    """Return a protocol by name, or a ValueError; a ``Protocol`` is returned as it is."""
    if isinstance(protocol, Protocol):
        return protocol
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; valid names are {sorted(PROTOCOLS)}")
    return PROTOCOLS[protocol]


def check_labels(protocol: Protocol, target: str) -> None:
    """Refuse a protocol whose loss needs profiles, for labels that are quadrant means alone.

    Parameters
    ----------
    target : {'profile', 'quadrants'}
        What the training labels are.

    Raises
    ------
    ValueError
        Naming the terms that cannot be computed, and the protocols that can.
    """
    terms = {name: getattr(protocol, name) for name in ("lambda_pearson", "lambda_gradient")}
    if target == "quadrants" and any(terms.values()):
        without = [
            name for name, p in PROTOCOLS.items() if not p.lambda_pearson and not p.lambda_gradient
        ]
        raise ValueError(
            f"protocol {protocol.name!r} has {terms}: these terms compare profiles, and no "
            f"training eye has one, only quadrant means; without them are {without}"
        )


def frozen_stages(protocol: Protocol, depth: int) -> list[str]:
    """Name the stages a protocol freezes in a backbone of ``depth`` blocks.

    Examples
    --------
    >>> frozen_stages(PROTOCOLS["structured"], depth=4)
    ['patch_embed', 'block_0', 'block_1']
    """
    blocks = [f"block_{i}" for i in range(round(protocol.freeze_fraction * depth))]
    return ["patch_embed"] * protocol.freeze_patch_embed + blocks


def apply(model: "nn.Module", protocol: Protocol, lr_scale: float = 1.0) -> list[dict]:
    """Freeze what the protocol declares and return AdamW's parameter groups.

    Parameters
    ----------
    model : RNFLRegressor
        Its ``backbone`` is frozen in place.
    lr_scale : float
        Multiplies both learning rates (ours: narrow backbones take larger ones).

    Returns
    -------
    list of dict
        Groups named 'encoder' (one pair per stage with ``layer_decay``) and 'head', with and
        without weight decay; each has its peak rate as ``peak_lr``.
    """
    backbone, decay = model.backbone, protocol.layer_decay
    backbone.freeze(frozen_stages(protocol, backbone.depth))
    inside = {id(parameter) for parameter in backbone.parameters()}
    head = [parameter for parameter in model.parameters() if id(parameter) not in inside]
    parts = [("encoder", backbone.parameters(), protocol.lr_encoder)]
    if decay < 1:
        rates = [protocol.lr_encoder * decay**i for i in reversed(range(len(backbone.stages)))]
        stages = zip(backbone.stages, rates, strict=True)
        parts = [("encoder", stage.parameters, rate) for stage, rate in stages]
    groups = []
    for name, parameters, rate in (*parts, ("head", head, protocol.lr_head)):
        for group in decay_groups(parameters, protocol.weight_decay):
            groups.append(group | {"name": name, "lr": rate * lr_scale, "peak_lr": rate * lr_scale})
    return [group for group in groups if group["params"]]


def decay_groups(parameters: Iterable["nn.Parameter"], weight_decay: float) -> list[dict]:
    """Split trainable parameters into weights, which decay, and vectors, which do not."""
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    return [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]


def learning_rate(
    step: int, steps: int, warmup_steps: int, peak: float, floor: float = 1e-7
) -> float:
    """Learning rate of a step: linear warm-up to ``peak``, then a cosine to ``floor``.

    Examples
    --------
    >>> learning_rate(0, 100, 10, peak=1.0), learning_rate(9, 100, 10, peak=1.0)
    (0.1, 1.0)
    >>> learning_rate(99, 100, 10, peak=1.0)
    1e-07
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = (step - warmup_steps + 1) / max(1, steps - warmup_steps)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
