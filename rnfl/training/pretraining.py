"""Pretrain small encoders on phantom eyes: by classes, by height maps, or by masked pixels."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save as serialise
from torch import Tensor
from tqdm import tqdm

from rnfl.models import backbone
from rnfl.models.registry import WEIGHTS
from rnfl.storage import provenance
from rnfl.training.augmentation import epoch_order, seeded_generator
from rnfl.training.devices import autocast, choose_device, resolve_precision
from rnfl.training.pretraining_tasks import TASKS, augment, to_float
from rnfl.training.protocols import decay_groups, learning_rate

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
    """Pretrain the phantom architecture from random weights and publish the encoder.

    Writes ``<name>.safetensors`` (encoder only, fp16, the key names of timm's
    ``VisionTransformer``) and ``<name>.json`` (recipe, data hash, versions, loss curve). A
    finished recipe returns at once; an interrupted one resumes from its last checkpoint.

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
        File stem, ``phantom_<kind>`` by default.
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
    size = backbone.spec_of("phantom_scratch").input_size
    if images.dtype != torch.uint8 or images.shape[1:3] != (size, size):
        raise ValueError(
            f"images must be uint8 (N, {size}, {size}[, 3]), "
            f"got {images.dtype} {tuple(images.shape)}"
        )
    torch.manual_seed(seed)
    task = TASKS[kind](backbone.build("phantom_scratch", pretrained=False), targets, len(images))
    settings = {
        "kind": kind, "steps": steps, "batch_size": batch_size, "lr": lr, "seed": seed,
        "weight_decay": weight_decay, "warmup_fraction": warmup_fraction, "n_images": len(images),
        "task": task.settings, "data": task.data_hash(images),
    }  # fmt: skip
    out_dir = Path(out_dir)
    published = out_dir / f"{name}.json"
    if published.exists() and (out_dir / f"{name}.safetensors").exists():
        record = json.loads(published.read_text())
        if record["settings"] == settings:
            return record

    fit = _Fit(task.to(device), images.to(device), settings, out_dir / f".{name}.checkpoint.pt")
    fit.run(device, checkpoint_seconds)
    record = {
        "name": name,
        "settings": settings,
        "metric": task.metric,
        "curve": fit.curve,
        "seconds": round(fit.seconds, 1),
        "device": str(device),
        "versions": provenance.versions(("torch", "timm", "numpy")),
        "notes": dict(notes or {}),
    }
    _publish(task.backbone.encoder, record, out_dir, name)
    fit.checkpoint.unlink(missing_ok=True)
    return record


class _Fit:
    """The loop's state: task, optimiser, curve and the checkpoint they are saved in."""

    def __init__(self, task, images: Tensor, settings: dict, checkpoint: Path):
        self.task, self.images, self.settings, self.checkpoint = task, images, settings, checkpoint
        self.optimizer = torch.optim.AdamW(
            decay_groups(task.parameters(), settings["weight_decay"]),
            lr=settings["lr"],
            betas=(0.9, 0.95),
            fused=True,
        )
        self.step, self.seconds, self.curve = 0, 0.0, []
        self.precision = resolve_precision("auto", images.device, task.backbone.embed_dim)
        n = len(images)
        self.n_train = n - max(1, min(1024, n // 20))
        self._load()

    def run(self, device: torch.device, checkpoint_seconds: float) -> None:
        steps, batch = self.settings["steps"], self.settings["batch_size"]
        every = max(1, steps // 40)
        per_epoch = max(1, self.n_train // batch)
        total = torch.zeros((), device=device)
        started = saved = time.monotonic()
        before = self.seconds
        bar = tqdm(total=steps, initial=self.step, desc=f"pretrain {self.settings['kind']}")
        while self.step < steps:
            epoch, within = divmod(self.step, per_epoch)
            order = epoch_order(self.n_train, self.settings["seed"], epoch)
            index = order[within * batch : (within + 1) * batch].to(device)
            total += self._update(index, device)
            self.step += 1
            bar.update()
            if self.step % every == 0 or self.step == steps:
                self._log(total, every, device)
                bar.set_postfix(loss=self.curve[-1]["loss"], metric=self.curve[-1]["val_metric"])
                total.zero_()
                self.seconds = before + time.monotonic() - started
                # Only at a logged step is the running loss empty, so nothing is lost on resuming.
                if time.monotonic() - saved > checkpoint_seconds:
                    self._save()
                    saved = time.monotonic()
        bar.close()

    def _update(self, index: Tensor, device: torch.device) -> Tensor:
        settings = self.settings
        warmup = round(settings["warmup_fraction"] * settings["steps"])
        rate = learning_rate(self.step, settings["steps"], warmup, settings["lr"])
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        random = seeded_generator(settings["seed"], self.step)
        images, target = augment(self.images, self.task.target, index, self.task.cell, random)
        self.task.train()
        with autocast(device, self.precision):
            loss = self.task.loss(images, target, random)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.task.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    @torch.no_grad()
    def _log(self, total: Tensor, every: int, device: torch.device) -> None:
        count = self.step % every or every
        loss = total.item() / count
        if not np.isfinite(loss):
            raise FloatingPointError(
                f"{self.settings['kind']} pretraining: loss is {loss} at step {self.step}; "
                f"lower lr (now {self.settings['lr']:g}) and start again"
            )
        self.task.eval()
        scores, weights = [], []
        for index in torch.arange(self.n_train, len(self.images), device=device).split(256):
            images = to_float(self.images[index])
            target = None if self.task.target is None else self.task.target[index]
            with autocast(device, self.precision):
                scores.append(self.task.score(images, target, seeded_generator(0)))
            weights.append(len(index))
        metric = np.average([float(score) for score in scores], weights=weights)
        point = {"step": self.step, "loss": round(loss, 5), "val_metric": round(float(metric), 5)}
        self.curve.append(point)

    def _save(self) -> None:
        state = {
            "settings": json.dumps(self.settings), "step": self.step, "seconds": self.seconds,
            "curve": self.curve, "task": self.task.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }  # fmt: skip
        with provenance.publish_file(self.checkpoint) as aside:
            torch.save(state, aside)

    def _load(self) -> None:
        if not self.checkpoint.exists():
            return
        state = torch.load(self.checkpoint, weights_only=True, map_location=self.images.device)
        if state["settings"] != json.dumps(self.settings):
            return
        self.task.load_state_dict(state["task"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds, self.curve = state["step"], state["seconds"], state["curve"]


def _publish(encoder: torch.nn.Module, record: dict, out_dir: Path, name: str) -> None:
    out_dir.mkdir(parents=True, exist_ok=True)
    weights = {k: v.detach().cpu().half().contiguous() for k, v in encoder.state_dict().items()}
    with provenance.publish_file(out_dir / f"{name}.safetensors") as aside:
        aside.write_bytes(serialise(weights))
    provenance.write_json(out_dir / f"{name}.json", record)
