"""The CUDA half of the benchmarks, within a budget of minutes on one card.

    python benchmarks/gpu.py            (make bench-gpu)

Pieces, the most wanted first: full fine-tuning of ViT-L/16, B/16 and S/16 in bf16, compiled and
not, against the plain loop in fp16, and as a fraction of the card's measured matrix products;
strategies of adaptation of ViT-L/16 (all of it, its last half, LoRA, a probe): images per second,
peak memory, and their own operations as a fraction of the same products; feeding and waiting;
epochs behind a frozen prefix; the micro-batch that is found by itself; a run stopped and resumed. A
piece that the budget has no room for is skipped and says so, a piece that fails is written down and
the others go on; then the exit status is 1. The result is ``gpu-<card>.json``, written anew after
every piece. ``--smoke`` runs all of it with the smallest sizes, also on a CPU, which proves the
code and no number.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import feed
import measure
import prefix
import reference_loop
import synthetic
import throughput
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from rnfl.training import devices, finetuning, protocols
from rnfl.training.config import RunConfig
from rnfl.training.protocols import Part, Phase, Protocol

BUDGET = 7.5  # minutes
BOUNDS = {"ViT-L/16 of matmul": 0.5, "ViT-L/16 ratio": 5.0}
#: Seconds that a piece is expected to take; it is skipped where less is left.
EXPECTED = {
    "ViT-L/16 eager": 60,
    "ViT-L/16 compiled": 110,
    "strategies": 60,
    "feed": 40,
    "prefix": 70,
    "micro-batch": 30,
    "resume": 10,
    "ViT-B/16 eager": 30,
    "ViT-B/16 compiled": 60,
    "ViT-S/16 eager": 20,
    "ViT-S/16 compiled": 45,
}


@dataclass(frozen=True)
class Sizes:
    """How much is measured: of the real thing, or of a smoke test."""

    batch: int = 60
    steps: int = 30
    skip: int = 6
    repeats: int = 2
    feed_images: int = feed.N
    feed_batches: int = 100
    prefix_images: int = 1920
    prefix_more: int = 4
    large_batch: int = 960
    matmul: tuple[int, ...] | None = None
    tiny: bool = False

    def backbone(self, label: str) -> str:
        """Return the backbone that stands behind a label here."""
        return throughput.SMOKE["tiny"] if self.tiny else throughput.BACKBONES[label]


SMOKE = Sizes(2, 1, 1, 1, 16, 4, 4, 1, 4, (64,), True)


def loops(
    label: str, compiling: bool, sizes: Sizes, device: torch.device, rates: dict[str, float]
) -> dict:
    """Return one row of :mod:`throughput`, with the peak of the card's memory."""
    torch.compiler.reset()
    on_cuda = device.type == "cuda"
    if on_cuda:
        torch.cuda.reset_peak_memory_stats()
    with synthetic.workspace() as folder:
        row = throughput.measure_backbone(
            label, sizes.backbone(label), device, sizes.batch, sizes.steps, sizes.skip,
            sizes.repeats, rates, folder / "npz", compile=compiling,
        )  # fmt: skip
    row["compiled"] = compiling
    row["peak GB"] = torch.cuda.max_memory_allocated() / 1e9 if on_cuda else None
    throughput.print_rows([row])
    return row


STRATEGIES = {
    "all": protocols.get("aggressive"),
    "last half": Protocol("last_half", (Phase(part=Part(0.5, embedding=False)),)),
    "LoRA": protocols.get("lora"),
    "probe": protocols.get("probe"),
}


def strategies(sizes: Sizes, device: torch.device, rates: dict[str, float]) -> dict:
    """Return what strategies of adaptation take of the largest model, eager, in turns of one."""
    rows, name = [], sizes.backbone("ViT-L/16")
    for label, protocol in STRATEGIES.items():
        config = throughput.configured(
            "noise", name, sizes.batch, protocol=protocol, compile=False, augment="intensity"
        )
        with synthetic.workspace():
            model, data = throughput.ready(config, sizes.batch * (sizes.steps + sizes.skip), device)
            flops = step_flops(model, config)
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            seconds = throughput.ours(model, data, config, sizes.skip)
        precision = devices.decide_precision("auto", device, model.backbone.embed_dim)["precision"]
        row = {"strategy": label, "img/s": 1 / seconds, "GFLOP a step and image": flops / 1e9}
        row["of matmul"] = flops / seconds / rates[precision]
        row["trainable (M)"] = protocols.n_trainable(model, protocol)[1] / 1e6
        on_cuda = device.type == "cuda"
        row["peak GB"] = torch.cuda.max_memory_allocated() / 1e9 if on_cuda else None
        rows.append(row)
        del model, data
    measure.show(rows, "Strategies of adaptation, ViT-L/16")
    return {"rows": rows}


def step_flops(model: torch.nn.Module, config: RunConfig) -> int:
    """Return the operations of one image's forward and backward pass under a protocol."""
    protocols.apply(model, config.protocol)
    size, device = model.backbone.spec.input_size, next(model.parameters()).device
    model.train()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counted:
        model(torch.zeros(1, 1, size, size, device=device)).sum().backward()
    model.zero_grad(set_to_none=True)
    return counted.get_total_flops()


def micro_batch(sizes: Sizes, device: torch.device) -> dict:
    """Let the largest model find how many images fit at once, and take two steps with it."""
    batch, name = sizes.large_batch, sizes.backbone("ViT-L/16")
    config = throughput.configured("noise", name, batch, micro_batch="auto", compile=False)
    with synthetic.workspace() as folder:
        model, data = throughput.ready(config, 2 * batch, device)
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        progress = finetuning.fit(model, *data.values(), config, folder, report=lambda row: None)
    row = {"backbone": "ViT-L/16", "effective batch": batch, "at once": progress.micro_batch}
    if device.type == "cuda":
        row["peak GB"] = torch.cuda.max_memory_allocated() / 1e9
        row["card GB"] = torch.cuda.get_device_properties(device).total_memory / 1e9
    measure.show([row], "Micro-batch found by itself")
    return row


class _Stopped(Exception):
    pass


def resume(sizes: Sizes, device: torch.device) -> dict:
    """Train for three epochs at once, and in two pieces; return how far the weights differ."""
    name = throughput.SMOKE["tiny"]
    config = throughput.configured("noise", name, 8, epochs=3, patience=3, compile=False)

    def stop(row: dict) -> None:
        raise _Stopped

    def weights(*reports: Callable[[dict], None]) -> dict:
        with tempfile.TemporaryDirectory() as folder:
            for report in reports:
                model, data = throughput.ready(config, 64, device)
                parts = model, *data.values(), config, Path(folder)
                try:
                    finetuning.fit(*parts, report=report)
                except _Stopped:
                    continue
        return model.state_dict()

    with synthetic.workspace():
        whole, pieces = weights(len), weights(stop, len)
    apart = max(float((whole[key] - pieces[key]).abs().max()) for key in whole)
    row = {"largest difference of a weight": apart, "to the bit": apart == 0.0}
    measure.show([row], "Stopped after an epoch and resumed, against undisturbed")
    return row


def pieces(
    sizes: Sizes, device: torch.device, rates: dict[str, float]
) -> dict[str, Callable[[], dict]]:
    """Return what is measured by name, the most wanted first."""
    found: dict[str, Callable[[], dict]] = {}
    for label in ("ViT-L/16", "ViT-B/16", "ViT-S/16"):
        for way, compiling in (("eager", False), ("compiled", True)):
            # Compiling on a CPU takes half a minute and is no part of what is smoked.
            given = label, compiling and not sizes.tiny, sizes, device, rates
            found[f"{label} {way}"] = lambda given=given: loops(*given)
    found["strategies"] = lambda: strategies(sizes, device, rates)
    found["feed"] = lambda: feed.run(
        device, sizes.backbone("ViT-S/16"), sizes.feed_images, sizes.batch, sizes.feed_batches,
        sizes.feed_batches // 2, sizes.repeats, compile=False,
    )  # fmt: skip
    found["prefix"] = lambda: prefix.run(
        device, sizes.backbone("ViT-B/16"), sizes.prefix_images, sizes.batch, 1,
        more={1.0: sizes.prefix_more}, compile=False,
    )  # fmt: skip
    found["micro-batch"] = lambda: micro_batch(sizes, device)
    found["resume"] = lambda: resume(sizes, device)
    return {name: found[name] for name in EXPECTED}


def collected(done: dict[str, dict], rates: dict[str, float], sizes: Sizes, rest: dict) -> dict:
    """Return the record of the pieces that are done."""
    rows = [{"piece": name, **row} for name, row in done.items() if "ours img/s" in row]
    largest = [row for row in rows if row["backbone"] == "ViT-L/16"]
    reached = {}
    if largest:
        best = max(largest, key=lambda row: row["ours img/s"])
        reached = dict(zip(BOUNDS, (best["ours of matmul"], best["ratio"]), strict=True))
    return {
        "settings": {**vars(replace(sizes)), "bounds": BOUNDS},
        "matmul_flops_per_s": rates,
        "rows": rows,
        **{name.replace("-", "_"): done[name] for name in done if "ours img/s" not in done[name]},
        "medians": {row["piece"]: row["ours img/s"] for row in rows},
        "ratios": {row["piece"]: row["ratio"] for row in rows},
        "bars": reached,
        **rest,
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure within the budget; return the exit status."""
    parser = measure.parser(__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=BUDGET)
    parser.add_argument("--pieces", nargs="+", choices=EXPECTED, default=list(EXPECTED))
    given = parser.parse_args(arguments)
    if not (torch.cuda.is_available() or given.smoke):
        print("No CUDA device: nothing is measured. 'make bench' measures the CPU.")
        return 1
    begun = time.monotonic()
    device = devices.choose_device()
    sizes = SMOKE if given.smoke else Sizes()
    wanted = {
        reference_loop.PRECISION[device.type],
        devices.resolve_precision("auto", device, embed_dim=128 if sizes.tiny else 1024),
    }
    rates = {
        name: measure.matmul_rate(device, throughput.DTYPES[name], sizes.matmul) for name in wanted
    }
    measure.show([{name: rate / 1e12 for name, rate in rates.items()}], "Products, TFLOP/s")
    card = re.sub(r"[^a-z0-9]+", "-", devices.describe(device).lower()).strip("-")
    if given.smoke and given.output is None:  # one folder for what is written again and again
        given.output = Path(tempfile.mkdtemp(prefix="rnfl-benchmark-"))
    done, skipped, failed = {}, {}, {}
    record = collected(done, rates, sizes, {})
    for name, piece in pieces(sizes, device, rates).items():
        left = 60 * given.minutes - (time.monotonic() - begun)
        if name not in given.pieces:
            continue
        if left < EXPECTED[name] and not given.smoke:
            skipped[name] = f"{left:.0f} s are left, about {EXPECTED[name]} s are needed"
            print(f"{name} is skipped: {skipped[name]}", flush=True)
            continue
        try:
            done[name] = piece()
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error}"
            traceback.print_exc()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        rest = {"skipped": skipped, "failed": failed, "seconds": time.monotonic() - begun}
        record = collected(done, rates, sizes, rest)
        measure.publish(f"gpu-{card}", record, given)
    throughput.print_rows(record["rows"], card)
    measure.show([record["bars"] | {"wanted": str(BOUNDS)}])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
