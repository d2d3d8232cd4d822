"""Training images per second: precisions, plain loops, and what the hardware could do.

    python benchmarks/throughput.py            ten minutes on two cores
    python benchmarks/throughput.py --quick    two of them: ViT-S and B, in smaller batches

Full fine-tuning of ViT-S/16, B/16 and L/16 at 224 px from random weights. All loops train the same
model in turns: ours, ``rnfl.training.finetuning.fit`` itself, in fp32, in bf16 where the CPU has
instructions for it, and in what ``auto`` chooses; and two plain ones (``reference_loop.py``), fed
from files and from memory. Times run from the beginning of one batch to that of the next, so that
feeding counts; what comes once per epoch, validation and the checkpoint, is timed by itself. The
fraction is that of the rate the same machine reaches with large square matrix products in the same
dtype and the same run; a training step counts three forward passes.
"""

from __future__ import annotations

import gc
import tempfile
import time
from dataclasses import dataclass, fields
from functools import partial
from itertools import pairwise
from pathlib import Path

import measure
import reference_loop
import synthetic
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from rnfl.runs import restore
from rnfl.training import batches, devices, finetuning, protocols, state
from rnfl.training.batches import Batches
from rnfl.training.checkpointing import Checkpoints
from rnfl.training.config import RunConfig
from rnfl.training.predict import predict

BACKBONES = {
    "ViT-S/16": "timm:vit_small_patch16_224",
    "ViT-B/16": "timm:vit_base_patch16_224",
    "ViT-L/16": "timm:vit_large_patch16_224",
}
SMOKE = {"tiny": "phantom_scratch"}
N_FILES, N_VAL = 64, 2
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
BOUND = 0.95  # of the faster precision: what 'auto' reaches at least


@dataclass(frozen=True)
class Clocked(Batches):
    """Batches that note when each of them begins, and when the last one is done."""

    clock: measure.Clock | None = None

    def stream(self, indices):
        """As of Batches, each one noted."""
        for batch in super().stream(indices):
            self.clock.mark(len(batch[1]))
            yield batch
        self.clock.mark(0)


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


def untrained(config: RunConfig, device: torch.device) -> tuple[nn.Module, int]:
    """Return a model of random weights, the same each time, and the side of its images, px."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = restore.untrained(config, None).to(device)
    return model, model.backbone.spec.input_size


def ready(config: RunConfig, n: int, device: torch.device) -> tuple[nn.Module, dict[str, Batches]]:
    """Return an untrained model and ``n`` images of noise to train it, with some to validate."""
    model, size = untrained(config, device)
    prepared = synthetic.dataset("noise", n, N_VAL, size)
    data = {
        split: batches.load(prepared, prepared.subset(split), size, device)
        for split in ("train", "val")
    }
    model.set_targets(data["train"].labels)
    return model, data


def ours(model: nn.Module, data: dict[str, Batches], config: RunConfig, skip: int) -> float:
    """Train for one epoch with the project's loop and return the time per image (s)."""
    clock = measure.Clock(data["train"].device)
    noted = Clocked(**vars(data["train"]), clock=clock)
    with tempfile.TemporaryDirectory() as folder:
        parts = model, noted, data["val"]
        finetuning.fit(*parts, config, Path(folder), report=lambda row: None)
    return clock.seconds_per_image(skip)


def once_per_epoch(
    model: nn.Module, data: dict[str, Batches], config: RunConfig, precision: str
) -> dict[str, float]:
    """Return what an epoch costs beside its steps: validating, and a checkpoint after a step.

    Of the checkpoint, training waits for the copy alone; it is written in the background.
    """
    device, n = data["train"].device, min(len(data["train"]), config.batch_size)
    some = data["train"].select(torch.arange(n))
    optimizer = torch.optim.AdamW(protocols.apply(model, config.protocol), fused=True)
    model.train()
    model(some.take(torch.arange(min(n, 2)))[0]).mean().backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    taken = [measure.now(device)]
    predict(model, some, precision)
    taken.append(measure.now(device))
    with tempfile.TemporaryDirectory() as folder, Checkpoints(Path(folder)) as checkpoints:
        checkpoints.save(state.collected(model, optimizer, state.Progress()))
        taken.append(time.perf_counter())
    taken.append(time.perf_counter())
    validation, waits, writing = (b - a for a, b in pairwise(taken))
    return {
        "validation ms/img": 1000 * validation / n,
        "checkpoint waits s": waits,
        "checkpoint written s": waits + writing,
    }


def forward_flops(model: nn.Module, size: int) -> int:
    """Return the floating-point operations of one image's forward pass, attention included."""
    device = next(model.parameters()).device
    model.eval()
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as it:
        model(torch.zeros(1, 1, size, size, device=device))
    return it.get_total_flops()


def precisions(device: torch.device) -> list[str]:
    """Return the precisions that are compared here; on a GPU 'auto' alone."""
    if device.type == "cuda":
        return ["auto"]
    return ["fp32", *(["bf16"] if devices.cpu_has_bf16() else []), "auto"]


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
    """Return one row: images per second of all loops, their ratios, and fractions of ``rates``.

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
    n = batch_size * (steps + skip)
    model, data = ready(configured("noise", name, batch_size, **changes), n, device)
    size, width = model.backbone.spec.input_size, model.backbone.embed_dim
    files = sorted(folder.glob("*.npz")) or synthetic.npz_files(folder, N_FILES)
    loops = {
        one: partial(
            ours, model, data, configured("noise", name, batch_size, **changes, precision=one), skip
        )
        for one in precisions(device)
    }
    decision = devices.decide_precision("auto", device, width)  # now, so that no loop waits for it
    for kind in (reference_loop.NpzImages, reference_loop.InMemory):
        given = model, kind(files, n, size), batch_size, skip, device
        loops[kind.__name__] = partial(reference_loop.seconds_per_image, *given)
    times = measure.interleaved(loops, repeats, warm_up=0)
    taken = measure.medians(times)
    chosen, plain = decision["precision"], reference_loop.PRECISION[device.type]
    flops = forward_flops(model, size)
    row = {
        "backbone": label,
        "batch": batch_size,
        "ours img/s": 1 / taken["auto"],
        "reference img/s": 1 / taken["NpzImages"],
        "in memory img/s": 1 / taken["InMemory"],
        "ratio": measure.paired_ratio(times["NpzImages"], times["auto"]),
        "ratio in memory": measure.paired_ratio(times["InMemory"], times["auto"]),
        "ours of matmul": 3 * flops / taken["auto"] / rates[chosen],
        "reference of matmul": 3 * flops / taken["NpzImages"] / rates[plain],
        "precision": f"{chosen} / {plain}",
        "GFLOP forward": flops / 1e9,
    }
    explicit = [one for one in precisions(device) if one != "auto"]
    if explicit:
        best = min(explicit, key=taken.get)
        row |= {f"{one} img/s": 1 / taken[one] for one in explicit}
        row |= {
            "ratio in fp32": measure.paired_ratio(times["InMemory"], times["fp32"]),
            "best": best,
            "auto of best": measure.paired_ratio(times[best], times["auto"]),
        }
    row |= once_per_epoch(model, data, configured("noise", name, batch_size), chosen)
    spread = {name: (max(each) - min(each)) / taken[name] for name, each in times.items()}
    return row | {"decision": decision, "spread": spread, "times": times}


def run(
    device: torch.device,
    backbones: dict[str, tuple[str, int]],
    steps: int,
    skip: int,
    repeats: int,
    sizes: tuple[int, ...] | None = None,
    **changes,
) -> dict:
    """Measure every backbone and return the record: settings, rows, medians and ratios.

    Parameters
    ----------
    backbones : dict of label to (name, batch size)
    """
    known = {*precisions(device), reference_loop.PRECISION[device.type]} - {"auto"}
    rates = {name: measure.matmul_rate(device, DTYPES[name], sizes) for name in sorted(known)}
    measure.show([{name: rate / 1e9 for name, rate in rates.items()}], "Matrix products, GFLOP/s")
    rows = []
    with synthetic.workspace() as folder:
        for label, (name, batch_size) in backbones.items():
            given = device, batch_size, steps, skip, repeats, rates, folder / "npz"
            rows.append(measure_backbone(label, name, *given, **changes))
            gc.collect()
            print_rows(rows)
    ratios = {row["backbone"]: row["ratio"] for row in rows}
    for kind in ("ratio in memory", "ratio in fp32", "auto of best"):
        ratios |= {f"{row['backbone']}, {kind}": row[kind] for row in rows if kind in row}
    return {
        "settings": {
            "device": device.type,
            "batch_size": {label: batch for label, (_, batch) in backbones.items()},
            "steps": steps,
            "warm_up_steps": skip,
            "repeats": repeats,
            "bound": BOUND,
            **changes,
        },
        "matmul_flops_per_s": rates,
        "rows": rows,
        "medians": {row["backbone"]: row["ours img/s"] for row in rows},
        "ratios": ratios,
    }


def print_rows(rows: list[dict], title: str = "Full fine-tuning, images per second") -> None:
    """Print rows as three tables: speeds, ratios, and what comes once per epoch; no single times.

    A speed is followed by the spread of its turns, (largest - smallest) / median.
    """
    speeds = {"auto": "ours", "NpzImages": "reference", "InMemory": "in memory"}
    parts: dict[str, list[dict]] = {title: [], "Ratios": [], "Once per epoch": []}
    for row in rows:
        head = {name: row[name] for name in ("piece", "backbone", "batch") if name in row}
        speed = {
            column: f"{row[f'{speeds.get(column, column)} img/s']:.3g} ±{50 * spread:.0f} %"
            for column, spread in row["spread"].items()
        }
        parts[title].append(head | speed)
        kept = ("ratio", "of matmul", "precision", "best")
        parts["Ratios"].append(head | {k: v for k, v in row.items() if any(w in k for w in kept)})
        kept = ("validation", "checkpoint", "peak")
        later = {k: v for k, v in row.items() if k.startswith(kept)}
        parts["Once per epoch"].append(head | later)
    for name, part in parts.items():
        measure.show(part, name)


def main(arguments: list[str] | None = None) -> Path:
    """Measure on the CPU, print tables, write the JSON and return its path."""
    parser = measure.parser(__doc__.splitlines()[0])
    parser.add_argument("--backbones", nargs="+", choices=BACKBONES, default=list(BACKBONES))
    parser.add_argument("--batch-size", type=int, default=8, help="of ViT-L half of it")
    parser.add_argument("--steps", type=int, default=2, help="batches per turn that count")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="ViT-S and B, batches of 4")
    given = parser.parse_args(arguments)
    device = torch.device("cpu")
    if given.smoke:
        backbones = {label: (name, 2) for label, name in SMOKE.items()}
        record = run(device, backbones, steps=1, skip=1, repeats=1, sizes=(64,))
        return measure.publish("throughput", record, given)
    if given.quick:
        given.backbones, given.batch_size = ["ViT-S/16", "ViT-B/16"], 4
    size = {"ViT-L/16": max(1, given.batch_size // 2)}
    backbones = {
        label: (BACKBONES[label], size.get(label, given.batch_size)) for label in given.backbones
    }
    record = run(device, backbones, given.steps, 1, given.repeats)
    for row in record["rows"]:
        if row.get("auto of best", 1) < BOUND:
            print(f"{row['backbone']}: auto reaches {row['auto of best']:.2f} of {row['best']}")
    return measure.publish("throughput-quick" if given.quick else "throughput", record, given)


if __name__ == "__main__":
    main()
