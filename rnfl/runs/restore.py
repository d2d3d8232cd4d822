"""The model of a run: untrained, from the run it starts from, or as a finished run left it.

Where a backbone's weights can be had again, a run's file holds what training changed, with a
fingerprint of what it did not (:func:`to_store`); a model is whole, and its adapters merged,
whenever it is loaded.

A start brings what it has seen along: no patient that it was trained or validated on, through all
the runs that it itself started from, may be tested on.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from rnfl import datasets
from rnfl.core.identity import bare
from rnfl.datasets.prepared import Prepared
from rnfl.models import adapters
from rnfl.models.backbone import Backbone, build
from rnfl.models.encoder import spec_of
from rnfl.models.readout import Readout
from rnfl.models.regressor import RNFLRegressor
from rnfl.models.segmenter import Segmenter
from rnfl.runs import results
from rnfl.runs.results import RunResult
from rnfl.storage.readers import readable
from rnfl.training import batches, predict, protocols
from rnfl.training.config import RunConfig
from rnfl.training.pretraining import masking
from rnfl.training.pretraining.tasks import MaskedAutoencoder
from rnfl.training.protocols import Averaged, Matched, Protocol, Solved

RESAMPLED = ("pos_embed", "relative_position", "rel_pos")
BASE = "base_sha256"  # metadata of a file that holds changes alone: the fingerprint of the rest


def untrained(
    config: RunConfig, prepared: Prepared
) -> RNFLRegressor | Segmenter | MaskedAutoencoder:
    """Return the model that training begins with: new, or that of the run to start from.

    Between pictures and labels, the backbone alone goes on.
    """
    channels = 3 if config.task == "pictures" and prepared.images.ndim == 4 else 1
    if config.start is None:
        backbone = build(config.backbone, config.pretrained)
        if config.pretrained and channels == 3:
            return masking.around(backbone, 3, masking.published_decoder(backbone))
        return _around(backbone, config, channels)
    start = load_model(_start(config, prepared))
    whole = isinstance(start, MaskedAutoencoder) == (config.task == "pictures")
    if whole and getattr(start, "channels", channels) == channels:
        return start
    return _around(start.backbone, config, channels)  # what is new is drawn from the run's seed


def _around(
    backbone: Backbone, config: RunConfig, channels: int = 1
) -> RNFLRegressor | Segmenter | MaskedAutoencoder:
    """Return the model of a run's task on a backbone."""
    if config.task == "pictures":
        return masking.around(backbone, channels)
    if config.task == "masks":
        return Segmenter(backbone)
    return RNFLRegressor(backbone, config.radius_ratio)


def backbones(config: RunConfig, prepared: Prepared) -> list[Backbone]:
    """Return the backbones that a readout reads, pretrained or of the run to start from."""
    if config.start is None:
        return [build(name, config.pretrained) for name in config.backbones]
    return [load_model(_start(config, prepared)).backbone]


def _start(config: RunConfig, prepared: Prepared) -> RunResult:
    """Return the run to start from, unless it does not fit or knows patients to be tested on."""
    start = results.load_run(config.start)
    if isinstance(start.config.protocol, Solved) and not isinstance(config.protocol, Solved):
        raise ValueError(
            f"{config.slug}: start {config.start} is a readout: its backbone is what it was "
            "before, and no gradient goes on from its linear map. Leave the start out"
        )
    unread = protocols.UNREAD[type(config.protocol)]
    fields = ("task", "backbone", "radius_ratio", "output_scale")
    if "pictures" in (start.config.task, config.task):  # the backbone alone goes on
        fields = ("backbone",)
    _refuse_other(start, config, [name for name in fields if name not in unread])
    _refuse_shared(start, config, prepared)
    return start


def _refuse_other(run: RunResult, config: RunConfig, names: list[str]) -> None:
    """Refuse a run to start from, or to average, that differs in one of these fields."""
    for name in names:
        theirs, ours = getattr(run.config, name), getattr(config, name)
        if theirs != ours:
            raise ValueError(
                f"{config.slug}: run {run.run_id} has {name} {theirs!r}, expected {ours!r}"
            )


def _refuse_shared(run: RunResult, config: RunConfig, prepared: Prepared) -> None:
    seen = shared_patients(run, prepared, prepared.subset("test"))
    if seen:
        raise ValueError(
            f"{config.slug}: run {run.run_id} has learnt from {len(seen)} patients that are "
            f"to be tested on: choose one that has not, or split 'all'"
        )


def averaged(config: RunConfig, prepared: Prepared) -> RNFLRegressor | Segmenter:
    """Return the weighted average of the models of finished runs.

    Raises
    ------
    ValueError
        If the runs have no common start (the same run, or the same weights and seed), for then
        their weights have nothing to do with each other; if they differ in architecture; if one of
        them knows patients to be tested on.
    """
    runs = [results.load_run(one) for one in config.protocol.runs]
    for run in runs:
        if isinstance(run.config.protocol, Solved):
            raise ValueError(f"{config.slug}: {run.run_id} is a readout, whose weights are solved")
        fields = ["task", "backbone", "radius_ratio", "pretrained", "output_scale"]
        _refuse_other(run, config, fields)
        _refuse_shared(run, config, prepared)
    origins = [_origins(run) for run in runs]
    if not set.intersection(*origins):
        raise ValueError(
            f"{config.slug}: the runs {', '.join(config.protocol.runs)} have no common start (one "
            "run that all started from, or the same backbone, weights and seed): the average of "
            "their weights is no model. Train them with the same start"
        )
    model, *others = (load_model(run) for run in runs)
    shares, state = config.protocol.shares, model.state_dict()
    states = [state, *(other.state_dict() for other in others)]
    for name, value in state.items():
        if value.is_floating_point():
            parts = (share * one[name].double() for share, one in zip(shares, states, strict=True))
            value.copy_(sum(parts))
    return model


def matched(config: RunConfig, prepared: Prepared) -> nn.Module:
    """Return the model of a finished run, its output moved by one profile.

    The mean output of the shots is then the mean label of the run's training split; where that has
    no profile but quadrants, the mean over angles is. An angle that no eye there has moves by what
    the others move on average.
    """
    run, shots = results.load_run(config.protocol.run), datasets.load(config.protocol.shots)
    run.expect("profile", "masks have no level to be moved")
    _refuse_other(run, config, ["dataset", "backbone", "split"])
    model, rows = load_model(run), prepared.subset("train")
    device = next(model.parameters()).device
    seen = np.arange(len(shots)), model.backbone.spec.input_size, device
    found = predict.predict(model, batches.load(shots, *seen)).cpu().mean(dim=0)
    profiles = torch.from_numpy(np.array(prepared.profiles[rows], dtype=np.float32))
    move = profiles.nanmean(dim=0) - found
    move = torch.where(move.isnan(), move.nanmean(), move)
    if profiles.isnan().all():
        quadrants = torch.from_numpy(batches.measured_quadrants(prepared, rows)).float()
        move = (quadrants.nanmean() - found.mean()).expand_as(found)
    with torch.no_grad():
        if isinstance(model, Readout):
            model.offset += move
        else:
            model.head[-1].bias += move / model.target_sd
    return model


def _origins(run: RunResult) -> set[str]:
    """Return what a run may share with another: itself, as a start, and what it started from."""
    config = run.config
    if isinstance(config.protocol, Averaged | Matched):
        return {run.run_id}
    if config.start is not None:
        return {run.run_id, config.start}
    of_weights = f"{config.backbone} {run.resolved['weights']} {config.pretrained} {config.seed}"
    return {run.run_id, of_weights}


def load_model(result: RunResult) -> nn.Module:
    """Build the model of a finished run with its trained weights, in evaluation mode.

    Raises
    ------
    ValueError
        If a file of the run is damaged, or it holds changes of weights that are no longer those
        that it began with.
    FileNotFoundError, ConnectionError
        If these weights are neither here nor to be had.
    """
    config = result.config
    result.check()
    with (
        readable(result.model_path, "weights", result.remedy),
        safe_open(result.model_path, "pt") as file,
    ):
        state, base = {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}
    read = [build(name, pretrained=BASE in base) for name in config.backbones]
    if "decoder" in state:
        model = Readout(read, len(state["level"]), len(state.get("places", [0])))
    else:
        model = _of_pictures(*read, state) if "pixels.bias" in state else _around(*read, config)
    if BASE in base:
        _change(model, config, state, base[BASE], result)
    else:
        model.load_state_dict(state, strict=True)
    return model.eval()


def _of_pictures(backbone: Backbone, state: dict[str, Tensor]) -> MaskedAutoencoder:
    """Return an autoencoder of the shapes of a run's weights, its decoder's kind included."""
    channels = len(state["pixels.bias"]) // backbone.spec.patch**2
    whole = state["position"].shape[1] > backbone.grid[0] * backbone.grid[1]
    decoder = {name: one for name, one in state.items() if not name.startswith("backbone.")}
    return masking.around(backbone, channels, decoder if whole else None)


def _change(
    model: nn.Module, config: RunConfig, state: dict[str, Tensor], base: str, result: RunResult
) -> None:
    """Put a run's changes into the model that it began with, and merge them."""
    if isinstance(config.protocol, Protocol):
        protocols.apply(model, config.protocol)
    kept = {name: value for name, value in model.state_dict().items() if name not in state}
    if digest_of(kept) != base:
        raise ValueError(
            f"{result.model_path} holds what training changed of {config.backbone!r}, and the "
            f"weights of that backbone are not those that it began with (then "
            f"{result.resolved['weights']}, SHA-256): get these files again, or train it again"
        )
    model.load_state_dict(state | kept, strict=True)
    adapters.merge(model)


@dataclass(frozen=True)
class Stored:
    """What a run's file holds: tensors, and the fingerprint of the others if they are left out."""

    tensors: dict[str, Tensor]
    base: str | None


def to_store(model: nn.Module, config: RunConfig) -> Stored:
    """Return what to keep of a trained model.

    Changes alone, where the backbone's weights come from a file that can be had again and some of
    them never move; else everything, with adapters merged.
    """
    can_be_had = config.pretrained and config.start is None and _has_weights(config)
    still: set[str] = set()
    if can_be_had and isinstance(config.protocol, Solved):
        still = {name for name, _ in model.named_parameters()}
    elif can_be_had and isinstance(config.protocol, Protocol):
        phases = [protocols.moving(p.part, model.backbone) for p in config.protocol.phases]
        ever = {id(p) for phase in phases for stage in phase for p in stage}
        inside = model.backbone.named_parameters(prefix="backbone")
        still = {name for name, parameter in inside if id(parameter) not in ever}
    # Positions of another grid are interpolated when they are loaded, in last digits by the
    # processor: they are kept.
    still = {name for name in still if not any(one in name for one in RESAMPLED)}
    if not still:
        adapters.merge(model)
    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    if not still:
        return Stored(state, None)
    kept = {name: state.pop(name) for name in still}
    return Stored(state, digest_of(kept))


def _has_weights(config: RunConfig) -> bool:
    return all(spec_of(name).weights is not None for name in config.backbones)


def digest_of(tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 of tensors with their names; an adapted weight goes by its own."""
    digest = hashlib.sha256()
    named = {name.replace(".parametrizations.weight.original", ".weight"): t
             for name, t in tensors.items()}  # fmt: skip
    for name in sorted(named):
        value = named[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


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
        split = results.divided(learnt, run.config.split, run.config.lesson).samples["split"]
        yield learnt, np.flatnonzero(split.isin(["train", "val"]))
        protocol = run.config.protocol
        made_of = [protocol.run] if isinstance(protocol, Matched) else getattr(protocol, "runs", ())
        for one in made_of:
            yield from learnt_from(results.load_run(one))
        run = results.load_run(run.config.start) if run.config.start is not None else None
