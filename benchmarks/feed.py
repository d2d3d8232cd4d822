"""How fast images reach the model, and how much of a training step is spent waiting for them.

    python benchmarks/feed.py

The size of FairFedMed: 11,539 grey images of 224 px, 0.6 GB, warm. *stored* are uint8 batches in
the order of an epoch, *float* the same in [0, 1], *augmented* the same with the default jitter; the
yardstick is a plain ``Dataset`` that reads an npz per sample (``reference_loop.py``). On a CPU the
share of a step is the time of feeding over that of a training step of ViT-S/16, one after the
other; on CUDA it is what a loop over fed batches takes longer than one over a single resident
batch, for images on the GPU and for images in host memory.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import measure
import reference_loop
import synthetic
import torch
from throughput import BACKBONES, N_FILES, SMOKE, configured
from torch import nn
from torch.utils.data import DataLoader

from rnfl.runs import restore
from rnfl.training import batches, devices, protocols
from rnfl.training.augmentation import augmented, epoch_order
from rnfl.training.batches import Batch, Batches, as_float
from rnfl.training.config import RunConfig
from rnfl.training.step import Step

N, SIZE, BATCH = 11_539, 224, 60


def feed(data: Batches, way: str, batch_size: int, n_batches: int) -> Iterator[Batch]:
    """Yield the first batches of an epoch: 'stored', 'float' or 'augmented'."""
    random = torch.Generator().manual_seed(0)
    order = epoch_order(len(data), 0, 0).split(batch_size)[:n_batches]
    for batch in data.stream(order):
        if way == "stored":
            yield batch
            continue
        images, profiles, quadrants = as_float(batch)
        if way == "augmented":
            images = augmented(images, "intensity", random)
        yield images, profiles, quadrants


def seconds_per_image(device: torch.device, fed: Iterator) -> float:
    """Return the time per image of taking every batch, without the first."""
    clock = measure.Clock(device)
    for images, *_ in fed:
        clock.mark(len(images))
    return clock.seconds_per_image()


def places(prepared, device: torch.device, size: int) -> dict[str, Batches]:
    """Return the images in each place they can lie: on a GPU too, where there is one."""
    cpu = torch.device("cpu")
    host = batches.load(prepared, prepared.subset("train"), size, cpu)
    if device.type == "cpu":
        return {"host": host}
    resident = batches.load(prepared, prepared.subset("train"), size, device)
    profiles = host.profiles.to(device)
    return {"GPU": resident, "host": replace(host, profiles=profiles, device=device)}


def feeding(
    places: dict[str, Batches], files: list[Path], size: int, batch_size: int, n: int, repeats: int
) -> tuple[list[dict], dict[str, float]]:
    """Return rows of images per second for every place and way, and the ratios to the yardstick."""
    device = next(iter(places.values())).device
    npz = reference_loop.NpzImages(files, batch_size * max(n // 8, 3), size)
    workers = reference_loop.WORKERS[device.type]

    def plain() -> float:
        loader = DataLoader(npz, batch_size, shuffle=True, num_workers=workers)
        moved = (tuple(part.to(device) for part in batch) for batch in loader)
        return seconds_per_image(device, moved)

    ways = {
        f"{where}, {way}": lambda data=data, way=way: seconds_per_image(
            device, feed(data, way, batch_size, n)
        )
        for where, data in places.items()
        for way in ("stored", "float", "augmented")
    }
    times = measure.interleaved({**ways, "npz per sample": plain}, repeats)
    rows = [
        {
            "feed": name,
            "img/s": 1 / statistics.median(taken),
            "ratio": measure.paired_ratio(times["npz per sample"], taken),
        }
        for name, taken in times.items()
    ]
    measure.show(rows, "Feeding")
    return rows, {row["feed"]: row["ratio"] for row in rows}


def waiting(
    places: dict[str, Batches], model: nn.Module, config: RunConfig, n: int, repeats: int
) -> list[dict]:
    """Return, per place, the share of a training step that goes into waiting for its images."""
    device = next(iter(places.values())).device
    batch_size = config.batch_size
    precision = devices.resolve_precision("auto", device, model.backbone.embed_dim)
    optimizer = torch.optim.AdamW(protocols.apply(model, config.protocol), fused=True)
    step = Step(model, optimizer, config, precision)
    model.train()
    rows = []
    for where, data in places.items():
        one = next(feed(data, "stored", batch_size, 1))

        def loop(fed) -> float:
            clock = measure.Clock(device)
            for number, batch in enumerate(fed):
                clock.mark(len(batch[1]))
                step(batch, len(batch[1]), number)
            return clock.seconds_per_image(skip=min(3, n - 2))

        loops = {
            "fed": lambda data=data, loop=loop: loop(feed(data, "stored", batch_size, n)),
            "resident": lambda one=one, loop=loop: loop(islice(iter(lambda: one, None), n)),
        }
        times = measure.interleaved(loops, repeats)
        bare = statistics.median(times["resident"])
        if device.type == "cpu":  # too little to be seen as a difference: taken by itself
            share = seconds_per_image(device, feed(data, "float", batch_size, 20 * n)) / bare
        else:
            share = max(0.0, 1 - 1 / measure.paired_ratio(times["fed"], times["resident"]))
        rows.append({"images on": where, "step img/s": 1 / bare, "waiting %": 100 * share})
    measure.show(rows, "Waiting for images")
    return rows


def run(
    device: torch.device,
    backbone: str,
    n: int,
    batch_size: int,
    n_batches: int,
    n_steps: int,
    repeats: int,
    **changes,
) -> dict:
    """Measure feeding and waiting, and return the record."""
    config = configured("noise", backbone, batch_size, **changes)
    model = restore.untrained(config, None).to(device)
    size = model.backbone.spec.input_size
    with synthetic.workspace() as folder:
        prepared = synthetic.dataset("noise", n, 0, size)
        files = synthetic.npz_files(folder / "npz", min(N_FILES, n))
        where = places(prepared, device, size)
        model.set_targets(next(iter(where.values())).labels)
        rows, ratios = feeding(where, files, size, batch_size, n_batches, repeats)
        waits = waiting(where, model, config, n_steps, repeats)
    return {
        "settings": {
            "device": device.type,
            "images": n,
            "image_px": size,
            "batch_size": batch_size,
            "batches": n_batches,
            "step_of": backbone,
            "repeats": repeats,
        },
        "rows": rows,
        "waiting": waits,
        "medians": {row["feed"]: row["img/s"] for row in rows},
        "ratios": ratios,
    }


def main(arguments: list[str] | None = None) -> Path:
    """Measure on the CPU, print tables, write the JSON and return its path."""
    parser = measure.parser(__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=N)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args(arguments)
    device = torch.device("cpu")
    if given.smoke:
        record = run(device, SMOKE["tiny"], 16, 4, 4, 3, repeats=1)
    else:
        record = run(device, BACKBONES["ViT-S/16"], given.images, BATCH, 60, 3, given.repeats)
    return measure.publish("feed", record, given)


if __name__ == "__main__":
    main()
