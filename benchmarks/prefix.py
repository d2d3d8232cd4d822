"""What an epoch costs with a frozen, cached prefix, as a share of one with nothing frozen.

    python benchmarks/prefix.py

ViT-B/16 at 224 px through ``rnfl.training.finetuning.fit``, with 0, 25, 50 and 100 % of the blocks
frozen.
*Cached* runs have no augmentation: their first epoch computes the frozen blocks once, and later
ones start behind them. *Uncached* runs have the usual augmentation, which comes before the blocks,
so that every epoch computes them. All times are per image, from one epoch's end to the next, with
validation on two images and the checkpoint; where epochs are short there are more images, as
in a real run, so that the checkpoint does not stand for the epoch.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import measure
import synthetic
import torch
from throughput import BACKBONES, SMOKE, configured, ready
from torch import nn

from rnfl.study.ablations import all_but
from rnfl.training import finetuning
from rnfl.training.batches import Batches
from rnfl.training.config import RunConfig
from rnfl.training.protocols import Phase, Protocol

FRACTIONS = (0.0, 0.25, 0.5, 1.0)
BOUND = 0.05  # of a full epoch: what a later one may cost behind a wholly frozen backbone
MORE = {1.0: 8}  # times as many images where all blocks are frozen


def protocol(fraction: float) -> Protocol:
    """Return the protocol that freezes this share of the blocks; 0 freezes nothing at all."""
    name = f"freeze_{100 * fraction:.0f}pct"
    return Protocol(name, (Phase(part=all_but(fraction)),))


def epochs(
    model: nn.Module, data: dict[str, Batches], n: int, config: RunConfig
) -> tuple[float, float]:
    """Train on the first ``n`` images and return the first and the later epochs' time per image."""
    train_data = data["train"].select(torch.arange(n))
    ends = []
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        finetuning.fit(
            model,
            train_data,
            data["val"],
            config,
            Path(folder),
            report=lambda row: ends.append(time.perf_counter()),
        )
    lasted = [end - start for start, end in zip([begun, *ends], ends, strict=False)]
    return lasted[0] / n, statistics.median(lasted[1:]) / n


def run(
    device: torch.device,
    name: str,
    n: int,
    batch_size: int,
    repeats: int,
    n_epochs: int = 3,
    more: dict[float, int] = MORE,
    fractions: tuple[float, ...] = FRACTIONS,
    **changes,
) -> dict:
    """Measure all shares and return the record.

    Parameters
    ----------
    n : int
        Images of an epoch.
    more : dict of share to int
        Times as many images for cached runs of this share.
    """
    base = {"epochs": n_epochs, "patience": n_epochs, "lr_scale": 0.1, **changes}
    cells = {(0.0, "full"): ("intensity", n)}
    for fraction in fractions:
        if fraction:
            cells[fraction, "uncached"] = "intensity", n
            cells[fraction, "cached"] = None, n * more.get(fraction, 1)
    first: dict = {cell: [] for cell in cells}
    later: dict = {cell: [] for cell in cells}
    with synthetic.workspace():
        most = max(images for _, images in cells.values())
        model, data = ready(configured("noise", name, batch_size, **base), most, device)
        for _ in range(repeats):
            for cell, (augment, images) in cells.items():
                given = {**base, "protocol": protocol(cell[0]), "augment": augment}
                one = configured("noise", name, batch_size, **given)
                taken = epochs(model, data, images, one)
                first[cell].append(taken[0])
                later[cell].append(taken[1])
    whole = later[0.0, "full"]
    rows = [
        {
            "frozen %": 100 * fraction,
            "way": way,
            "images": cells[fraction, way][1],
            "first ms/img": 1000 * statistics.median(first[fraction, way]),
            "later ms/img": 1000 * statistics.median(later[fraction, way]),
            "later of full": 1 / measure.paired_ratio(whole, later[fraction, way]),
            "later epochs": later[fraction, way],
        }
        for fraction, way in cells
    ]
    shown = [{k: v for k, v in row.items() if k != "later epochs"} for row in rows]
    measure.show(shown, "Epochs behind a frozen prefix")
    ratios = {f"{row['frozen %']:.0f} % {row['way']}": row["later of full"] for row in rows}
    return {
        "settings": {
            "device": device.type,
            "backbone": name,
            "image_px": model.backbone.spec.input_size,
            "batch_size": batch_size,
            "epochs": n_epochs,
            "repeats": repeats,
            "bound": BOUND,
            **changes,
        },
        "rows": rows,
        "medians": {name: row["later ms/img"] for name, row in zip(ratios, rows, strict=True)},
        "ratios": ratios,
    }


def main(arguments: list[str] | None = None) -> Path:
    """Measure on the CPU, print the table, write the JSON and return its path."""
    parser = measure.parser(__doc__.splitlines()[0])
    parser.add_argument("--backbone", choices=BACKBONES, default="ViT-B/16")
    parser.add_argument("--images", type=int, default=48, help="of an epoch")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=2)
    given = parser.parse_args(arguments)
    device = torch.device("cpu")
    if given.smoke:
        record = run(device, SMOKE["tiny"], 4, 2, 1, n_epochs=2, more={}, fractions=(0.5, 1.0))
    else:
        name = BACKBONES[given.backbone]
        record = run(device, name, given.images, given.batch_size, given.repeats)
    return measure.publish("prefix", record, given)


if __name__ == "__main__":
    main()
