"""The loop that ours is compared with: how a network is commonly fine-tuned in plain PyTorch.

It is meant to be correct and ordinary, not slow on purpose: a ``Dataset`` that reads, crops,
resizes and scales one npz per sample in every epoch, or one that did so beforehand; a
``DataLoader`` (no workers on a CPU, where they would take the cores from the model; four and pinned
memory for a GPU); float32 on a CPU, fp16 autocast with a ``GradScaler`` on CUDA; ``AdamW`` as
PyTorch chooses it without being asked, which is one tensor after the other on a CPU and ``foreach``
on CUDA, neither fused; ``loss.item()`` in every step. Model, loss, batch,
augmentation and gradient clipping are those of the project.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from measure import Clock
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

WORKERS = {"cpu": 0, "cuda": 4}
PRECISION = {"cpu": "fp32", "cuda": "fp16"}
JITTER = 0.2


class NpzImages(Dataset):
    """SLO images and profiles, one npz each; with fewer files than samples they come again."""

    def __init__(self, files: Sequence[Path], n: int, size: int, augment: bool = True) -> None:
        self.files, self.n, self.size, self.augment = files, n, size, augment

    def __len__(self) -> int:
        return self.n

    def read(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Crop (S, S) in [0, 1] and profile (360,) in µm."""
        with np.load(self.files[i % len(self.files)]) as arrays:
            slo, profile = arrays["slo_fundus"], arrays["rnfl"]
        height, width = slo.shape
        half = max(min(height, width) // 4, 150)
        box = width // 2 - half, height // 2 - half, width // 2 + half, height // 2 + half
        crop = Image.fromarray(slo).crop(box).resize((self.size,) * 2, Image.Resampling.BILINEAR)
        return np.asarray(crop, dtype=np.float32) / 255, profile

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        """Image (3, S, S) in [0, 1] and profile (360,) in µm."""
        image, profile = self.read(i)
        if self.augment:
            contrast, brightness = torch.empty(2).uniform_(-JITTER, JITTER).tolist()
            mean = image.mean()
            image = np.clip(mean + (image - mean) * (1 + contrast) + mean * brightness, 0, 1)
        return torch.from_numpy(np.stack([image] * 3)), torch.from_numpy(profile)


class InMemory(NpzImages):
    """The same, read, cropped and resized once and for all."""

    def __init__(self, files: Sequence[Path], n: int, size: int, augment: bool = True) -> None:
        super().__init__(files, n, size, augment)
        self.kept = [super(InMemory, self).read(i) for i in range(min(n, len(files)))]

    def read(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """As of NpzImages."""
        return self.kept[i % len(self.kept)]


def seconds_per_image(
    model: nn.Module, data: NpzImages, batch_size: int, skip: int, device: torch.device
) -> float:
    """Train for one epoch and return the time per image, without the first ``skip`` batches."""
    on_cuda = device.type == "cuda"
    loader = DataLoader(
        data,
        batch_size,
        shuffle=True,
        num_workers=WORKERS[device.type],
        pin_memory=on_cuda,
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05)
    scaler = torch.amp.GradScaler(device.type, enabled=on_cuda)
    clock, total = Clock(device), 0.0
    model.train()
    for images, profiles in loader:
        clock.mark(len(images))
        images, profiles = images.to(device), profiles.to(device)
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.float16, enabled=on_cuda):
            loss = F.l1_loss(model(images), profiles)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        total += loss.item()
    clock.mark(0)
    optimizer.zero_grad()
    return clock.seconds_per_image(skip)
