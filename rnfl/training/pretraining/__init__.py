"""Pretrain small encoders: by classes, by height maps, or by masked pixels."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as serialise
from torch import Tensor

from rnfl.models import backbone
from rnfl.models.checkpoints import packing
from rnfl.models.registry import BACKBONES, WEIGHTS
from rnfl.storage import locks, provenance, readers
from rnfl.storage.paths import runs_root
from rnfl.training import loop
from rnfl.training.augmentation import epoch_order, seeded_generator
from rnfl.training.devices import autocast, choose_device, decide_precision
from rnfl.training.pretraining.tasks import TASKS, Task, augment, to_float
from rnfl.training.protocols import decay_groups, learning_rate
from rnfl.training.state import Progress

Targets = Mapping[str, np.ndarray] | np.ndarray | None


def pretrain(
    kind: str,
    images: np.ndarray | Tensor,
    targets: Targets = None,
    *,
    name: str | None = None,
    steps: int = 4000,
    batch_size: int = 64,
    lr: float = 1e-3,
    weight_decay: float = 0.05,
    warmup_fraction: float = 0.05,
    seed: int = 0,
    out_dir: str | Path = WEIGHTS,
    device: str | None = None,
    notes: Mapping | None = None,
    checkpoint_seconds: float = 60.0,
) -> dict:
    """Pretrain a small architecture from random weights and publish the encoder.

    Writes ``<name>.safetensors`` (encoder only, the key names of timm's ``VisionTransformer``,
    packed as :mod:`rnfl.models.checkpoints.packing` says) and ``<name>.json`` (recipe, data hash,
    versions, loss curve, hash of the weights' file). A finished recipe returns at once; an
    interrupted one goes on exactly where it stopped (:func:`rnfl.training.loop.train`).

    Parameters
    ----------
    kind : {'cls', 'depth', 'mae'}
        Cross-entropy on integer labels, regression of height maps, or masked autoencoding.
    images : uint8 (N, S, S) or (N, S, S, 3)
        Grey or colour images of the backbone's input size. The last 5 % are held out for the
        metric, so keep eyes of one patient adjacent.
    targets : mapping of str to int (N,), or float (N, S, S), or None
        'cls': label columns, -1 = missing. 'depth': one height map per image, any unit.
    name : str, optional
        File stem, ``phantom_<kind>`` by default. A registered backbone's architecture is its own,
        any other's that of ``phantom_scratch``.
    warmup_fraction : float
        Share of the steps spent warming up before the cosine.
    notes : mapping, optional
        Anything to record in the recipe (how the images were made).

    Returns
    -------
    dict
        What the json holds; ``curve`` is a list of ``{step, loss, val_metric}``.

    Raises
    ------
    ValueError
        If the kind is unknown or images and targets do not fit.
    """
    if kind not in TASKS:
        raise ValueError(f"unknown kind of pretraining {kind!r}; valid kinds are {sorted(TASKS)}")
    name = name or f"phantom_{kind}"
    device = choose_device(device)
    images = torch.as_tensor(images)
    spec = BACKBONES.get(name, BACKBONES["phantom_scratch"])
    size = spec.input_size
    if images.dtype != torch.uint8 or images.shape[1:3] != (size, size):
        raise ValueError(
            f"images must be uint8 (N, {size}, {size}[, 3]), "
            f"got {images.dtype} {tuple(images.shape)}"
        )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = backbone.build(spec.name, pretrained=False)
        task = TASKS[kind](encoder, targets, len(images))
    settings = {
        "kind": kind, "steps": steps, "batch_size": batch_size, "lr": lr, "seed": seed,
        "weight_decay": weight_decay, "warmup_fraction": warmup_fraction, "n_images": len(images),
        "encoder": {"timm_name": spec.timm_name, **spec.timm_kwargs}, "task": task.settings,
        "data": task.data_hash(images),
    }  # fmt: skip
    out_dir = Path(out_dir)
    address = f"pretraining-{name}-{provenance.sha256_json(settings)[:10]}"
    unfinished = runs_root() / ".partial" / address
    if record := published(out_dir, name, settings):
        return record
    with locks.locked(unfinished):
        if record := published(out_dir, name, settings):  # by whom this process waited for
            return record
        training = Pretraining(task.to(device), images.to(device), settings, checkpoint_seconds)
        progress = loop.train(training, unfinished)
        record = {
            "name": name,
            "settings": settings,
            "metric": task.metric,
            "curve": progress.history,
            "seconds": round(progress.seconds, 1),
            "device": str(device),
            "versions": provenance.versions(("torch", "timm", "numpy")),
            "notes": dict(notes or {}),
        }
        publish(task.backbone.encoder, record, out_dir, name)
        shutil.rmtree(unfinished)
    return record


class Pretraining(loop.Steps):
    """A recipe: see :func:`pretrain`. An epoch ends with a point of the curve."""

    def __init__(
        self,
        task: Task,
        images: Tensor,
        settings: dict,
        checkpoint_seconds: float,
        n_train: int | None = None,
    ):
        self.model, self.images, self.settings = task, images, settings
        self.checkpoint_seconds, self.n_steps = checkpoint_seconds, settings["steps"]
        self.name = f"{settings['kind']} pretraining"
        self.remedy = f"Lower lr (now {settings['lr']:g}) and start again"
        self.device = images.device
        self.optimizer = torch.optim.AdamW(
            decay_groups(
                [p for p in task.parameters() if p.requires_grad], settings["weight_decay"]
            ),
            lr=settings["lr"],
            betas=(0.9, 0.95),
            fused=True,
        )
        self.decided = decide_precision("auto", self.device, task.backbone.embed_dim)
        self.every = max(1, self.n_steps // 40)
        # The others, which come last, are held out.
        self.n_train = n_train or len(images) - max(1, min(1024, len(images) // 20))

    def batches(self, progress: Progress) -> Iterator[Tensor]:
        """Yield the rows of each batch; the last images of a pass that fill none are left out."""
        size, seed = self.settings["batch_size"], self.settings["seed"]
        per_pass = max(1, self.n_train // size)
        for number in self.left(progress):
            turn, within = divmod(number, per_pass)
            order = epoch_order(self.n_train, seed, turn)
            yield order[within * size : (within + 1) * size].to(self.device)

    def step(self, batch: Tensor, number: int, progress: Progress) -> Tensor:
        settings, task = self.settings, self.model
        warmup = round(settings["warmup_fraction"] * self.n_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(number, self.n_steps, warmup, settings["lr"])
        random = seeded_generator(settings["seed"], number)
        images, target = augment(self.images, task.target, batch, task.cell, random)
        with autocast(self.device, self.precision):
            loss = task.loss(images, target, random)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(task.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def row(self, progress: Progress, loss: float) -> dict[str, Any]:
        """Score the held-out images; the loss is the mean of the steps since the last point."""
        return {
            "step": self.steps_before(progress.epoch + 1),
            "loss": round(loss / progress.step, 5),
            "val_metric": round(self.score(), 5),
        }

    @torch.no_grad()
    def score(self) -> float:
        """Mean score of the held-out images."""
        task = self.model.eval()
        scores, weights = [], []
        for index in torch.arange(self.n_train, len(self.images), device=self.device).split(256):
            target = None if task.target is None else task.target[index]
            with autocast(self.device, self.precision):
                score = task.score(to_float(self.images[index]), target, seeded_generator(0))
            scores.append(float(score))
            weights.append(len(index))
        return float(np.average(scores, weights=weights))


def published(out_dir: Path, name: str, settings: dict) -> dict | None:
    """Return the record of these settings where it is published with the very file it names."""
    record, file = out_dir / f"{name}.json", out_dir / f"{name}.safetensors"
    if not (record.exists() and file.exists()):
        return None
    found = readers.read_json(record, f"delete {record} and ask again")
    whole = found.get("weights", {}).get("sha256") == provenance.sha256_file(file)
    return found if whole and found["settings"] == settings else None


def publish(model: torch.nn.Module, record: dict, out_dir: Path, name: str) -> None:
    """Write a model's weights, packed, and the record that then names their SHA-256."""
    file = out_dir / f"{name}.safetensors"
    metadata = {packing.KEY: packing.PACKING}  # alone: two entries are written in any order
    with provenance.publish_file(file) as aside:
        aside.write_bytes(serialise(packing.pack(model.state_dict()), metadata))
    record["weights"] = {"sha256": provenance.sha256_file(file), "packing": packing.PACKING}
    provenance.write_json(out_dir / f"{name}.json", record)
