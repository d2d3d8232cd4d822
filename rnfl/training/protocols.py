"""Adaptation protocols: what of a backbone moves, in which phases, at which rates, for which loss.

A protocol is data, frozen and hashable, so that it is part of a run's address. :class:`Protocol`
trains by gradient, :class:`Solved` solves for a linear map, :class:`Averaged` averages the weights
of finished runs, :class:`Matched` moves the level of one. **Ours**, but for the four protocols of
the paper, which are among the presets.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rnfl.storage import plugins

if TYPE_CHECKING:
    from torch import nn

    from rnfl.models.backbone import Backbone

ONLY = ("all", "bias", "norm")
ADAPTERS = ("lora", "dora")


def _check(what: str, value: object, **fits: tuple[bool, str]) -> None:
    for name, (good, expected) in fits.items():
        if not good:
            raise ValueError(f"{what}: {name} must {expected}, got {getattr(value, name)!r}")


def _refuse_text(what: str, name: str, value: object) -> None:
    if isinstance(value, str):
        raise ValueError(f"{what}: {name} {value!r}: expected a tuple of names, ({value!r},)")


@dataclass(frozen=True)
class Adapter:
    """Low-rank changes of weight matrices, which themselves stay: see :mod:`rnfl.models.adapters`.

    Attributes
    ----------
    kind : {'lora', 'dora'}
        LoRA (Hu et al., 2021) or DoRA, which learns the rows' norms apart (Liu et al., 2024).
    rank : int
        Of the change of each matrix.
    alpha : float
        The change is multiplied by ``alpha / rank``.
    targets : tuple of str
        Linear layers of a block, by name. 'attn.qkv' also stands for three separate ones
        (``attn.q_proj``, ``attn.k_proj``, ``attn.v_proj``).
    """

    kind: str = "lora"
    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = ("attn.qkv",)

    def __post_init__(self):
        _refuse_text("adapter", "targets", self.targets)
        object.__setattr__(self, "targets", tuple(self.targets))
        _check("adapter", self, kind=(self.kind in ADAPTERS, f"be one of {ADAPTERS}"))
        _check("adapter", self, rank=(self.rank >= 1, "be 1 or more"))
        _check("adapter", self, alpha=(self.alpha > 0, "be positive"))
        _check("adapter", self, targets=(bool(self.targets), "name a linear layer"))


@dataclass(frozen=True)
class Part:
    """What moves of a backbone; everything after it, projection and head, always does.

    Attributes
    ----------
    blocks : float
        Share of the blocks, from the last one on, 0 to 1.
    embedding : bool
        Whether the patch embedding moves, with positions and prefix tokens; or the stem.
    norm : bool, optional
        Whether what comes after the last block moves; None = where any block does.
    only : {'all', 'bias', 'norm'}
        Which parameters of these: all, the biases (BitFit), or those of normalisation layers.
    adapter : Adapter, optional
        These blocks get it, and nothing else of the backbone moves.
    """

    blocks: float = 1.0
    embedding: bool = True
    norm: bool | None = None
    only: str = "all"
    adapter: Adapter | None = None

    def __post_init__(self):
        _check("part", self, blocks=(0 <= self.blocks <= 1, "lie in [0, 1]"))
        _check("part", self, only=(self.only in ONLY, f"be one of {ONLY}"))
        alone = self.adapter is None or (self.only == "all" and self.blocks > 0)
        _check("part", self, adapter=(alone, "come with some blocks and with only='all'"))


@dataclass(frozen=True)
class Phase:
    """A share of the epochs, in which a part moves."""

    share: float = 1.0
    part: Part = Part()


@dataclass(frozen=True)
class Rates:
    """Learning rates: of each a linear warm-up to its peak, then a cosine (AdamW)."""

    encoder: float = 5e-5  # peak rate of the backbone
    head: float = 1e-4  # peak rate of everything after it
    # Each stage of the backbone learns at this share of the rate of the stage above it; the last
    # norm learns at the encoder's. 1 is one rate for all.
    layer_decay: float = 1.0
    weight_decay: float = 0.05  # of weight matrices; vectors (biases, norms) do not decay (ours)
    each_phase: bool = False  # whether warm-up and cosine begin anew with every phase

    def __post_init__(self):
        _check("rates", self, layer_decay=(0 < self.layer_decay <= 1, "lie in (0, 1]"))
        for name in ("encoder", "head", "weight_decay"):
            _check("rates", self, **{name: (getattr(self, name) >= 0, "be 0 or more")})


@dataclass(frozen=True)
class Loss:
    """What is minimised, beside L1.

    Attributes
    ----------
    pearson, gradient : float
        Weights of 1 - Pearson and of the L1 of the gradient (:mod:`rnfl.training.losses`).
    terms : tuple of (str, float)
        Names and weights of further terms, that an installed package registers
        (:mod:`rnfl.storage.plugins`).
    l2_start : float
        L2-SP (Li et al., 2018): the backbone is drawn to where it started by the gradient of
        ``l2_start / 2`` times the squared distance.
    align : float
        Weight of 1 - the mean cosine between the tokens of the two pictures of an eye, after the
        blocks at a third, a half and two thirds of the depth and after the last one: of a dataset
        that holds each eye twice, one picture behind the other (:mod:`rnfl.adaptation.ways`).
    """

    pearson: float = 0.0
    gradient: float = 0.0
    terms: tuple[tuple[str, float], ...] = ()
    l2_start: float = 0.0
    align: float = 0.0

    def __post_init__(self):
        if not all(isinstance(term, tuple | list) and len(term) == 2 for term in self.terms):
            raise ValueError(f"loss: terms {self.terms!r}: expected pairs of a name and a weight")
        object.__setattr__(self, "terms", tuple((name, weight) for name, weight in self.terms))
        for name in ("pearson", "gradient", "l2_start", "align"):
            _check("loss", self, **{name: (getattr(self, name) >= 0, "be 0 or more")})

    @property
    def on_profiles(self) -> dict[str, Any]:
        """The terms that compare profiles, and so cannot be computed from quadrant means."""
        named = {"pearson": self.pearson, "gradient": self.gradient, **dict(self.terms)}
        return {name: weight for name, weight in named.items() if weight}


@dataclass(frozen=True)
class Protocol:
    """One way of adapting a backbone by gradient (AdamW).

    Attributes
    ----------
    phases : tuple of Phase
        In turn; their shares add up to 1. Early stopping counts in the last one alone.
    ema : float
        Where not 0, an exponential average of the weights with this decay is what is validated
        and kept. The average is taken over the first steps alike: its decay grows with them.
    """

    name: str
    phases: tuple[Phase, ...] = (Phase(),)
    loss: Loss = Loss()
    rates: Rates = Rates()
    ema: float = 0.0

    def __post_init__(self):
        if isinstance(self.phases, Phase):
            raise ValueError(f"protocol {self.name!r}: phases are a tuple, such as (Phase(),)")
        object.__setattr__(self, "phases", tuple(self.phases))
        shares = [phase.share for phase in self.phases]
        whole = bool(shares) and min(shares) > 0 and math.isclose(sum(shares), 1)
        found = f"; the shares {shares} add up to {sum(shares):g}"
        what = f"protocol {self.name!r}"
        _check(what, self, phases=(whole, f"have positive shares that add up to 1{found}"))
        adapters = {phase.part.adapter for phase in self.phases} - {None}
        _check(what, self, phases=(len(adapters) <= 1, "have one adapter at most"))
        _check(what, self, ema=(0 <= self.ema < 1, "lie in [0, 1)"))
        plain = not (adapters and self.loss.l2_start)
        _check(what, self, loss=(plain, "have no l2_start where an adapter moves: it has no start"))

    @property
    def adapter(self) -> Adapter | None:
        """The adapter of its phases, or None."""
        return next((p.part.adapter for p in self.phases if p.part.adapter), None)


@dataclass(frozen=True)
class Solved:
    """A linear map from the tokens of backbones that stay as they are, which is solved for.

    See :mod:`rnfl.training.readout`.

    Attributes
    ----------
    fields : int
        From how many fixed fields of each picture tokens are averaged, see
        :func:`rnfl.models.readout.places`; 1 is the picture itself.
    own_penalties : bool
        Whether each number that is predicted (a quadrant, a component of profiles) has the penalty
        that is best for it, the constant among the candidates.
    alike : bool
        Whether backbones weigh alike, however many blocks each has; else blocks do.
    """

    name: str
    solver: str  # 'ridge': without a default, so that addresses tell it from a Protocol
    fields: int = 1
    own_penalties: bool = False
    alike: bool = False

    def __post_init__(self):
        what = f"protocol {self.name!r}"
        _check(what, self, solver=(self.solver == "ridge", "be 'ridge'"))
        _check(what, self, fields=(self.fields >= 1, "be 1 or more"))


@dataclass(frozen=True)
class Averaged:
    """The weighted average of finished runs' weights; nothing is trained.

    A soup (Wortsman et al., 2022a) averages runs of one start, WiSE-FT (Wortsman et al., 2022b) a
    run and the one it started from. Runs without a common start are refused: their average is no
    model (:func:`rnfl.runs.restore.averaged`).

    Attributes
    ----------
    runs : tuple of str
        Ids of finished runs.
    weights : tuple of float, optional
        Positive; they are divided by their sum. None = equal ones.
    """

    name: str
    runs: tuple[str, ...]
    weights: tuple[float, ...] | None = None

    def __post_init__(self):
        what = f"protocol {self.name!r}"
        _refuse_text(what, "runs", self.runs)
        object.__setattr__(self, "runs", tuple(self.runs))
        several = 2 <= len(self.runs) == len(set(self.runs))
        _check(what, self, runs=(several, "name two different runs or more"))
        if self.weights is not None:
            object.__setattr__(self, "weights", tuple(self.weights))
            fits = len(self.weights) == len(self.runs) and min(self.weights) > 0
            _check(what, self, weights=(fits, "be positive, one of each run"))

    @property
    def shares(self) -> tuple[float, ...]:
        """The weight of each run; together 1."""
        weights = self.weights or (1.0,) * len(self.runs)
        return tuple(weight / sum(weights) for weight in weights)


@dataclass(frozen=True)
class Matched:
    """A finished run whose predictions are moved by one profile; nothing is trained.

    Prior matching: after it the mean prediction of the pictures of ``shots`` is the mean label of
    the run's training split (:func:`rnfl.runs.restore.matched`).

    Attributes
    ----------
    run : str
        Id of the finished run.
    shots : str
        A prepared dataset whose pictures are read; its labels are not.
    """

    name: str
    run: str
    shots: str


@dataclass(frozen=True)
class Masked:
    """Masked autoencoding of pictures (He et al., 2022); the run is a start, and reads no label.

    A backbone goes on learning from the pictures that are to train, whether they have labels or
    not; those to validate tell how well hidden patches are predicted, and no picture to be tested
    on is ever shown (:mod:`rnfl.training.pretraining.masking`).

    Attributes
    ----------
    rate, weight_decay : float
        Of AdamW. The rate is multiplied by the configuration's ``lr_scale``.
    still : float
        Share of the steps in which the decoder learns alone, where the backbone has learnt before
        and the decoder has not: else its first, blind steps would spoil the backbone (ours).
    """

    name: str
    rate: float = 1e-3
    weight_decay: float = 0.05
    still: float = 0.25

    def __post_init__(self):
        what = f"protocol {self.name!r}"
        _check(what, self, rate=(self.rate > 0, "be positive"))
        _check(what, self, weight_decay=(self.weight_decay >= 0, "not be negative"))
        _check(what, self, still=(0 <= self.still < 1, "be in [0, 1)"))


AnyProtocol = Protocol | Solved | Averaged | Matched | Masked

# The fields of a RunConfig that a kind of protocol does not read: they make no new run.
_SCHEDULE = (
    *("epochs", "warmup_epochs", "patience", "batch_size", "micro_batch", "lr_scale", "clip"),
    *("augment", "views", "compile", "checkpoint_seconds", "steps"),
)
UNREAD: dict[type, tuple[str, ...]] = {
    Protocol: (),
    Solved: (*_SCHEDULE, "precision", "radius_ratio", "output_scale"),
    Averaged: (*_SCHEDULE, "seed", "start"),
    Matched: _SCHEDULE,
    Masked: (
        *("patience", "micro_batch", "clip", "augment", "views", "compile", "radius_ratio"),
        *("output_scale", "lesson", "eval_on"),
    ),
}


HEAD_ALONE = Part(blocks=0, embedding=False)

# The defaults are those of aggressive; each of the others states what it changes.
PROTOCOLS: dict[str, AnyProtocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("aggressive"),
        Protocol("naive", rates=Rates(encoder=1e-4)),
        # The paper never published this protocol's learning rates: aggressive's are ours.
        Protocol("structured", (Phase(part=Part(0.5, embedding=False)),), Loss(pearson=10.0)),
        Protocol("gradient_loss", loss=Loss(gradient=0.2)),
        # Ours, from here on: what moves.
        Solved("readout", "ridge"),
        Solved("fields", "ridge", fields=16, own_penalties=True, alike=True),
        Protocol("probe", (Phase(part=HEAD_ALONE),)),
        Protocol("last_quarter", (Phase(part=Part(0.25, embedding=False)),)),
        # These move a thousandth of the numbers, and take ten times the rate.
        Protocol("bitfit", (Phase(part=Part(only="bias")),), rates=Rates(encoder=5e-4)),
        Protocol("norms", (Phase(part=Part(only="norm")),), rates=Rates(encoder=5e-4)),
        Protocol("lora", (Phase(part=Part(adapter=Adapter())),), rates=Rates(encoder=5e-4)),
        Protocol("dora", (Phase(part=Part(adapter=Adapter("dora"))),), rates=Rates(encoder=5e-4)),
        Masked("mae"),
        # At which rates, and when.
        Protocol("discriminative", rates=Rates(layer_decay=0.75)),
        # Linear probing, then fine-tuning (Kumar et al., 2022); equal shares are ours.
        Protocol("lp_ft", (Phase(0.5, HEAD_ALONE), Phase(0.5)), rates=Rates(each_phase=True)),
        # Gradual unfreezing (Howard & Ruder, 2018); the steps are ours.
        Protocol(
            "gradual",
            (
                Phase(0.25, HEAD_ALONE),
                Phase(0.25, Part(1 / 3, embedding=False)),
                Phase(0.25, Part(2 / 3, embedding=False)),
                Phase(0.25),
            ),
        ),
    )
}


def get(protocol: str | AnyProtocol) -> AnyProtocol:
    """Return a protocol by name, or a ValueError; a protocol is returned as it is.

    Names are those of :data:`PROTOCOLS` and of installed packages' entry points
    (:mod:`rnfl.storage.plugins`).
    """
    if isinstance(protocol, AnyProtocol):
        return protocol
    if not isinstance(protocol, str):
        raise ValueError(
            f"protocol {protocol!r}: expected a name, or a Protocol, Solved, Averaged, Matched or "
            "Masked"
        )
    if protocol in PROTOCOLS:
        plugins.refuse_taken("protocols", protocol)
        return PROTOCOLS[protocol]
    found = plugins.find("protocols", protocol, AnyProtocol)
    if found is None:
        names = sorted([*PROTOCOLS, *plugins.names("protocols")])
        raise ValueError(f"unknown protocol {protocol!r}; valid names are {names}")
    if found.name != protocol:
        raise ValueError(f"the protocol registered as {protocol!r} calls itself {found.name!r}")
    return found


def from_dict(recorded: dict[str, Any]) -> AnyProtocol:
    """Return the protocol that ``asdict`` recorded, or one recorded before protocols had phases.

    Raises
    ------
    ValueError
        If it is neither.
    """
    try:
        if recorded.get("solver") == "ridge":
            names = ("name", "solver", "fields", "own_penalties", "alike")  # once it had more
            return Solved(**{name: recorded[name] for name in names if name in recorded})
        if "runs" in recorded:
            return Averaged(**recorded)
        if "shots" in recorded:
            return Matched(**recorded)
        if "rate" in recorded:
            return Masked(**recorded)
        if "phases" in recorded:
            phases = tuple(Phase(one["share"], _part(one["part"])) for one in recorded["phases"])
            inner = {"loss": Loss(**recorded["loss"]), "rates": Rates(**recorded["rates"])}
            return Protocol(**recorded | inner | {"phases": phases})
        return _flat(**{name: value for name, value in recorded.items() if name != "solver"})
    except (TypeError, KeyError) as error:
        raise ValueError(f"recorded protocol {recorded}: {error}") from error


def _part(recorded: dict[str, Any]) -> Part:
    adapter = recorded["adapter"]
    return Part(**recorded | {"adapter": Adapter(**adapter) if adapter else None})


def _flat(
    name: str,
    freeze_patch_embed: bool,
    freeze_fraction: float,
    lambda_pearson: float,
    lambda_gradient: float,
    lr_encoder: float,
    lr_head: float,
    layer_decay: float,
    weight_decay: float,
) -> Protocol:
    """Return a protocol as runs recorded it before protocols had phases."""
    part = Part(1 - freeze_fraction, not freeze_patch_embed, True if freeze_fraction == 1 else None)
    rates = Rates(lr_encoder, lr_head, layer_decay, weight_decay)
    return Protocol(name, (Phase(part=part),), Loss(lambda_pearson, lambda_gradient), rates)


def settings(protocol: AnyProtocol) -> dict[str, Any]:
    """Return what sets a protocol apart as one row of a table.

    ``freeze_fraction`` and ``freeze_patch_embed`` are what moves in no phase; they, rates and
    weights are missing where runs are averaged.
    """
    if isinstance(protocol, Averaged):
        return {"protocol": protocol.name, "averaged": "+".join(protocol.runs)}
    if isinstance(protocol, Matched):
        return {"protocol": protocol.name, "matched": protocol.run, "shots": protocol.shots}
    if isinstance(protocol, Masked):
        return {"protocol": protocol.name, "lr_encoder": protocol.rate}
    frozen = {"freeze_patch_embed": True, "freeze_fraction": 1.0}
    if isinstance(protocol, Solved):
        still = {"lambda_pearson": 0.0, "lambda_gradient": 0.0, "lr_encoder": 0.0, "lr_head": 0.0}
        still |= {"layer_decay": 1.0, "weight_decay": 0.0, "solver": "ridge"}
        return {"protocol": protocol.name, **frozen, **still}
    parts = [phase.part for phase in protocol.phases]
    adapter = protocol.adapter
    return {
        "protocol": protocol.name,
        "freeze_patch_embed": not any(part.embedding and not part.adapter for part in parts),
        "freeze_fraction": round(1 - max(part.blocks for part in parts), 12),
        "lambda_pearson": protocol.loss.pearson,
        "lambda_gradient": protocol.loss.gradient,
        "lr_encoder": protocol.rates.encoder,
        "lr_head": protocol.rates.head,
        "layer_decay": protocol.rates.layer_decay,
        "weight_decay": protocol.rates.weight_decay,
        "solver": "gradient",
        "n_phases": len(parts),
        "adapter": adapter and adapter.kind,
        "rank": adapter and adapter.rank,
    }


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
    if target == "quadrants" and protocol.loss.on_profiles:
        trained = (p for p in PROTOCOLS.values() if isinstance(p, Protocol))
        without = [p.name for p in trained if not p.loss.on_profiles]
        raise ValueError(
            f"protocol {protocol.name!r} has {protocol.loss.on_profiles}: these terms compare "
            "profiles, and no training eye has one, only quadrant means; without them are "
            f"{without}"
        )


def starts(protocol: Protocol, epochs: int) -> list[int]:
    """Return the first epoch of each phase, shares rounded to whole epochs, and the last one's end.

    A ValueError says where there are too few epochs.

    Examples
    --------
    >>> starts(PROTOCOLS["gradual"], epochs=8)
    [0, 2, 4, 6, 8]
    """
    ends, total = [0], 0.0
    for phase in protocol.phases:
        total += phase.share
        ends.append(round(total * epochs))
    if len(set(ends)) < len(ends):
        shares = [round(phase.share, 3) for phase in protocol.phases]
        raise ValueError(
            f"protocol {protocol.name!r} has phases of {shares} of the epochs: {epochs} epochs "
            "give one of them none; train for more"
        )
    return ends


def moving(part: Part, backbone: "Backbone") -> list[list["nn.Parameter"]]:
    """Return the parameters of a backbone that a part names, by stage.

    Adapters must be attached before (:func:`rnfl.models.adapters.attach`).

    Raises
    ------
    ValueError
        If the backbone has no such blocks, no such stage, or nothing of what the part names.
    """
    from rnfl.models import adapters

    n_blocks = backbone.depth - round((1 - part.blocks) * backbone.depth)
    if part.blocks and not n_blocks:
        raise ValueError(f"{part.blocks:g} of the {backbone.depth} blocks of {_name(backbone)} "
                         "are none: take more, or 0")  # fmt: skip
    last = [f"block_{i}" for i in range(backbone.depth - n_blocks, backbone.depth)]
    named = set(last)
    if part.adapter is None:
        named |= {"norm"} if (bool(n_blocks) if part.norm is None else part.norm) else set()
        named |= {"patch_embed"} if part.embedding else set()
        if not part.embedding and "patch_embed" not in [s.name for s in backbone.stages]:
            raise ValueError(
                f"{_name(backbone)} has no stage 'patch_embed' that could stay as it is; it has "
                f"{[stage.name for stage in backbone.stages]}"
            )
    chosen = {
        "all": lambda: set(map(id, backbone.encoder.parameters())),
        "bias": lambda: adapters.biases(backbone.encoder),
        "norm": lambda: adapters.normalisation(backbone.encoder),
    }[part.only]()
    found = []
    for stage in backbone.stages:
        own = stage.parameters if part.adapter is None else adapters.of(stage.modules)
        inside = stage.name in named
        found.append([p for p in own if inside and id(p) in chosen])
    if named and not any(found):
        raise ValueError(f"{part} names nothing of {_name(backbone)} that could be trained")
    return found


def _name(backbone: "Backbone") -> str:
    return f"backbone {backbone.spec.name!r}"


def apply(
    model: "nn.Module", protocol: Protocol, lr_scale: float = 1.0, seed: int = 0
) -> list[dict]:
    """Attach a protocol's adapters, freeze what its first phase declares; return AdamW's groups.

    Parameters
    ----------
    model : RNFLRegressor
        Its ``backbone`` is changed in place.
    lr_scale : float
        Multiplies both learning rates (ours: narrow backbones take larger ones).
    seed : int
        Of the adapters' start.

    Returns
    -------
    list of dict
        Groups named 'encoder' (one pair per stage with ``layer_decay``) and 'head', with and
        without weight decay, of everything that moves in any phase; each has its peak rate as
        ``peak_lr``.
    """
    from rnfl.models import adapters

    backbone, rates = model.backbone, protocol.rates
    for part in (phase.part for phase in protocol.phases):
        if part.adapter is not None:
            adapters.attach(backbone, part.adapter, part.blocks, seed)
    phases = [moving(phase.part, backbone) for phase in protocol.phases]
    ever = {id(p) for phase in phases for stage in phase for p in stage}
    inside = {id(parameter) for parameter in backbone.parameters()}
    head = [parameter for parameter in model.parameters() if id(parameter) not in inside]
    parts = [("encoder", backbone.parameters(), rates.encoder)]
    if rates.layer_decay < 1:
        n = len(backbone.stages)
        peaks = [rates.encoder * rates.layer_decay**i for i in reversed(range(n))]
        by_stage = [[p for phase in phases for p in phase[i]] for i in range(n)]
        unique = [list({id(p): p for p in stage}.values()) for stage in by_stage]
        parts = [("encoder", stage, peak) for stage, peak in zip(unique, peaks, strict=True)]
    groups = []
    for name, parameters, rate in (*parts, ("head", head, rates.head)):
        chosen = [p for p in parameters if name == "head" or id(p) in ever]
        for group in decay_groups(chosen, rates.weight_decay):
            groups.append(group | {"name": name, "lr": rate * lr_scale, "peak_lr": rate * lr_scale})
    enter(backbone, protocol.phases[0])
    return [group for group in groups if group["params"]]


def enter(backbone: "Backbone", phase: Phase) -> None:
    """Let a phase's part of a backbone move, and nothing else of it."""
    backbone.let_move(p for stage in moving(phase.part, backbone) for p in stage)


def n_trainable(model: "nn.Module", protocol: Protocol) -> tuple[int, int]:
    """Return how many numbers learn, of the backbone and in all, in the phase with the most."""
    backbone = model.backbone
    counts = [
        sum(p.numel() for stage in moving(phase.part, backbone) for p in stage)
        for phase in protocol.phases
    ]
    inside = {id(p) for p in backbone.parameters()}
    head = sum(p.numel() for p in model.parameters() if id(p) not in inside)
    return max(counts), max(counts) + head


def decay_groups(parameters: Iterable["nn.Parameter"], weight_decay: float) -> list[dict]:
    """Split parameters to train into weights, which decay, and vectors, which do not."""
    trained: Sequence = list(parameters)
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
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
