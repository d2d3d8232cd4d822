"""How far any reader gets on the phantom: one that learns from ten times the eyes.

    python benchmarks/reachable_floor.py [--eyes 24000] [--epochs 20]

The label-noise floor is the error of the truth itself; no picture tells the truth. The *reachable
floor* is the error, on the test eyes of the study's data set, of a backbone that was fine-tuned on
another, ten times larger population. How near that is to its plateau is in the results, as what the
last quarter of the epochs still gained, and so are the minutes. Beside it stand the template and a
linear reader of noise-free cues (:mod:`rnfl.study.known`). Runs are kept and go on where they were
stopped.
"""

from __future__ import annotations

from pathlib import Path

import measure
import numpy as np

import rnfl
from rnfl.core import metrics, schema
from rnfl.datasets import phantom
from rnfl.runs.predictions import predict_with
from rnfl.study import known

SEED = 24  # of the population that is learnt from


def floor(camera: str, eyes: int, epochs: int, backbone: str, study: int) -> dict[str, object]:
    """Fine-tune on many eyes, predict the study's test eyes, and say whether it still improves."""
    many = rnfl.prepare(f"phantom-{camera}-{eyes}-s{SEED}").name
    name = rnfl.prepare(f"phantom-{camera}-{study}").name
    config = rnfl.RunConfig(
        many, backbone, "naive", epochs=epochs, warmup_epochs=1, batch_size=32, lr_scale=8.0
    )
    result = rnfl.run(config)
    seen = predict_with(result, name)
    predicted, target = schema.matrix(seen), schema.matrix(seen, "target")
    curve = result.history.groupby("epoch")["val_mae"].mean().to_numpy()
    last = len(curve) * 3 // 4 or 1
    gain = 1 - np.nanmin(curve) / np.nanmin(curve[:last])
    bounds = known.floors(name).set_index("floor")["mae"]
    return {
        "camera": camera.upper(), "mae": round(metrics.mae(predicted, target), 3),
        "r_mean": round(metrics.global_r(predicted, target), 3), "n": len(seen),
        "gain of the last quarter %": round(100 * float(gain), 2),
        "minutes": round(result.summary["seconds"] / 60, 1),
        **{kind: round(float(value), 3) for kind, value in bounds.items()},
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> Path:
    """Train, print a table, write the JSON and return its path."""
    parser = measure.parser(__doc__.splitlines()[0])
    parser.add_argument("--eyes", type=int, default=24_000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--backbone", default="phantom_mae")
    given = parser.parse_args(arguments)
    eyes, epochs, study = (64, 1, 64) if given.smoke else (given.eyes, given.epochs, 2400)
    backbone = "phantom_scratch" if given.smoke else given.backbone
    cameras = ("slo",) if given.smoke else ("slo", "cfp")
    rows = [floor(camera, eyes, epochs, backbone, study) for camera in cameras]
    measure.show(rows, f"{backbone} on {eyes:,} eyes, {epochs} epochs; µm")
    settings = {"eyes": eyes, "epochs": epochs, "backbone": backbone, "phantom": phantom.VERSION}
    return measure.publish("reachable_floor", {"settings": settings, "rows": rows}, given)


if __name__ == "__main__":
    main()
