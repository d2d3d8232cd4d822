"""Training images per second: the project's loop against a plain one, and against the hardware.

    python benchmarks/throughput.py

Full fine-tuning of ViT-S/16, B/16 and L/16 at 224 px from random weights, both loops in turns on
the same model. Ours is ``rnfl.training.loop.fit`` itself; what the other does is in
``reference_loop.py``. Times run from the beginning of one batch to that of the next, so that
feeding counts and validation and checkpoints, which come once per epoch, do not. The fraction is
that of the rate the same machine reaches with large square matrix products in the same dtype and
the same run; a training step counts three forward passes.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path

import measure
import reference_loop
import synthetic
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from rnfl.runs import restore
from rnfl.training import batches, devices
from rnfl.training import loop as train
from rnfl.training.batches import Batches
from rnfl.training.config import RunConfig

BACKBONES = {
    "ViT-S/16": "timm:vit_small_patch16_224",
    "ViT-B/16": "timm:vit_base_patch16_224",
    "ViT-L/16": "timm:vit_large_patch16_224",
}
SMOKE = {"tiny": "phantom_scratch"}
N_FILES, N_VAL = 64, 2
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Clocked(Batches):
    """Batches that note when each of them begins."""

    clock: measure.Clock | None = None

    def take(self, index):
        """As of Batches, noted."""
        self.clock.mark(len(index))
        return super().take(index)

    def stream(self, indices):
        """As of Batches, each one noted."""
        for batch in super().stream(indices):
            self.clock.mark(len(batch[1]))
            yield batch


def ours(model: nn.Module, data: dict[str, Batches], config: RunConfig, skip: int) -> float:
    """Train for one epoch with the project's loop and return the time per image (s)."""
    clock = measure.Clock(data["train"].device)
    noted = Clocked(**vars(data["train"]), clock=clock)
    with tempfile.TemporaryDirectory() as folder:
        parts = model, noted, data["val"]
        train.fit(*parts, config.protocol, config, Path(folder), report=lambda row: None)
    return clock.seconds_per_image(skip)


def configured(dataset: str, backbone: str, batch_size: int, **changes) -> RunConfig:
    """Return a run of one epoch that measures; what RunConfig does not have is left out."""
    known = {field.name for field in fields(RunConfig)}
    given = {
        "protocol": "naive",
        "epochs": 1,
        "warmup_epochs": 0,
        "pretrained": False,
        "checkpoint_seconds": 1e9,
        **{name: value for name, value in changes.items() if name in known},
    }
    return RunConfig(dataset, backbone, batch_size=batch_size, **given)


def forward_flops(model: nn.Module, size: int) -> int:
    """Return the floating-point operations of one image's forward pass, attention included."""
    device = next(model.parameters()).device
    model.eval()
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as it:
        model(torch.zeros(1, 1, size, size, device=device))
    return it.get_total_flops()


def measure_backbone(
    label: str,
    name: str,
    device: torch.device,
    batch_size: int,
    steps: int,
    skip: int,
    repeats: int,
    rates: dict[str, float],
    folder: Path,
    **changes,
) -> dict:
    """Return one row: images per second of both loops, their ratio, and fractions of ``rates``.

    Parameters
    ----------
    steps, skip : int
        Batches that count, and batches before them that warm up.
    rates : dict of precision to float
        Matrix products, FLOP/s.
    folder : Path
        Of the npz files.
    **changes
        Of the run's configuration.
    """
    n = batch_size * (steps + skip + 1)
    config = configured("noise", name, batch_size, **changes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = restore.untrained(config, None).to(device)
    size = model.backbone.spec.input_size
    prepared = synthetic.dataset("noise", n, N_VAL, size)
    data = {
        split: batches.load(prepared, prepared.subset(split), size, device)
        for split in ("train", "val")
    }
    model.set_targets(data["train"].labels)
    files = sorted(folder.glob("*.npz")) or synthetic.npz_files(folder, N_FILES)
    npz = reference_loop.NpzImages(files, n, size)
    precision = devices.resolve_precision(config.precision, device, model.backbone.embed_dim)
    plain = "fp16" if device.type == "cuda" else "fp32"
    flops = forward_flops(model, size)
    loops = {
        "ours": lambda: ours(model, data, config, skip),
        "reference": lambda: reference_loop.seconds_per_image(model, npz, batch_size, skip, device),
    }
    times = measure.interleaved(loops, repeats, warm_up=0)
    taken = {loop: statistics.median(times[loop]) for loop in loops}
    row = {
        "backbone": label,
        "batch": batch_size,
        "ours img/s": 1 / taken["ours"],
        "reference img/s": 1 / taken["reference"],
        "ratio": measure.paired_ratio(times["reference"], times["ours"]),
        "ours of matmul": 3 * flops / taken["ours"] / rates[precision],
        "reference of matmul": 3 * flops / taken["reference"] / rates[plain],
        "precision": f"{precision} / {plain}",
        "GFLOP forward": flops / 1e9,
        "times": times,
    }
    return row


def run(
    device: torch.device,
    backbones: dict[str, str],
    batch_size: int,
    steps: int,
    skip: int,
    repeats: int,
    sizes: tuple[int, ...] | None = None,
    **changes,
) -> dict:
    """Measure every backbone and return the record: settings, rows, medians and ratios."""
    plain = "fp16" if device.type == "cuda" else "fp32"
    wanted = (plain, devices.resolve_precision("auto", device, embed_dim=1024))
    rates = {name: measure.matmul_rate(device, DTYPES[name], sizes) for name in wanted}
    measure.show([{name: rate / 1e9 for name, rate in rates.items()}], "Matrix products, GFLOP/s")
    rows = []
    with synthetic.workspace() as folder:
        for label, name in backbones.items():
            given = device, batch_size, steps, skip, repeats, rates, folder / "npz"
            rows.append(measure_backbone(label, name, *given, **changes))
            gc.collect()
            measure.show([shown(row) for row in rows], "Full fine-tuning, images per second")
    return {
        "settings": {
            "device": device.type,
            "batch_size": batch_size,
            "steps": steps,
            "warm_up_steps": skip,
            "repeats": repeats,
            "image_px": 224 if backbones is not SMOKE else 112,
            **changes,
        },
        "matmul_flops_per_s": rates,
        "rows": rows,
        "medians": {row["backbone"]: row["ours img/s"] for row in rows},
        "ratios": {row["backbone"]: row["ratio"] for row in rows},
    }


def shown(row: dict) -> dict:
    """Return a row without the single times."""
    return {name: value for name, value in row.items() if name != "times"}


def main(arguments: list[str] | None = None) -> Path:
    """Measure on the CPU, print tables, write the JSON and return its path."""
    parser = measure.parser(__doc__.splitlines()[0])
    parser.add_argument("--backbones", nargs="+", choices=BACKBONES, default=list(BACKBONES))
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=2, help="batches per turn that count")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args(arguments)
    device = torch.device("cpu")
    if given.smoke:
        record = run(device, SMOKE, 2, steps=1, skip=1, repeats=1, sizes=(64,))
    else:
        chosen = {name: BACKBONES[name] for name in given.backbones}
        record = run(device, chosen, given.batch_size, given.steps, 1, given.repeats)
    return measure.publish("throughput", record, given.output, given.smoke)


if __name__ == "__main__":
    main()
