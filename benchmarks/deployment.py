"""What reading a photograph costs: a run (PyTorch) against its bundle (onnxruntime), one thread.

    python benchmarks/deployment.py

*Cold* is a program of its own that imports, loads the model and reads its first photograph: its
seconds from the first import on, and the most memory that it ever held. *Warm* are the two models
beside each other in this process, in turns: a photograph of 1,600 px from the file to the curve
(finding the disc and cropping are the same code in both), and the network alone on one crop. No
page is drawn. Weights are random: what a network has learnt takes no time.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import measure
import numpy as np
import torch
from PIL import Image

import rnfl
from rnfl import datasets
from rnfl.imaging import crops
from rnfl.inference import bundle, golden, trained
from rnfl.inference.onnx import relative

BACKBONES = {"phantom ViT, 112 px": "phantom_mae", "ViT-S/16, 224 px": "timm:vit_small_patch16_224"}
SMOKE = {"tiny": "phantom_scratch@32"}
COLD = """
import json, re, sys, time
started = time.perf_counter()
from pathlib import Path
from rnfl.imaging import crops
from rnfl.inference import {module}
used = {module}.load(sys.argv[1])
loaded = time.perf_counter() - started
crop = crops.prepare(crops.read(Path(sys.argv[2])), "OD")
used.predict(crop.image[None])
first = time.perf_counter() - started
status = Path("/proc/self/status")  # getrusage would begin with what the parent held
peak = re.search(r"VmHWM:\\s*(\\d+)", status.read_text())[1] if status.exists() else "nan"
print(json.dumps({{"load_s": loaded, "first_s": first, "peak_mb": float(peak) * 1024 / 1e6}}))
"""


def cold(module: str, model: Path, photo: Path) -> dict[str, float]:
    """Return seconds and memory of a program that reads one photograph with one thread."""
    command = [sys.executable, "-c", COLD.format(module=module), str(model), str(photo)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def read(photo: Path, model: trained.Trained) -> np.ndarray:
    """Return the profile (360,) of a photograph of a right eye, µm."""
    crop = crops.prepare(crops.read(photo), "OD")
    return model.predict(crop.image[None])[0]


def compared(name: str, run: Path, folder: Path, photo: Path, given) -> dict:
    """Return the row of a run and its bundle."""
    used = trained.load(run)
    path = folder / f"{run.name}{bundle.SUFFIX}"
    bundle.write(used, path)
    places = {"run": ("trained", run), "bundle": ("bundle", path)}
    starts: dict[str, list[dict]] = {"run": [], "bundle": []}
    for _ in range(1 if given.smoke else 5):
        for kind, (module, place) in places.items():
            starts[kind].append(cold(module, place, photo))
    models = {"run": used, "bundle": bundle.load(path, threads=1)}
    image = crops.prepare(crops.read(photo), "OD").image[None]
    times = measure.interleaved(
        {
            **{kind: (lambda m=m: read(photo, m) is None) for kind, m in models.items()},
            **{f"{kind} net": (lambda m=m: m.predict(image) is None) for kind, m in models.items()},
        },
        repeats=3 if given.smoke else given.repeats,
        warm_up=2,
    )
    row = {"backbone": name, "bundle MB": path.stat().st_size / 1e6}
    row["apart"] = relative(*(read(photo, models[kind]) for kind in ("bundle", "run")))
    for kind in places:
        for key in ("load_s", "first_s", "peak_mb"):
            row[f"{kind} {key}"] = statistics.median(one[key] for one in starts[kind])
        for label, taken in ((kind, times[kind]), (f"{kind} net", times[f"{kind} net"])):
            p50, p95 = 1000 * np.percentile(taken, (50, 95))
            row |= {f"{label} p50 ms": float(p50), f"{label} p95 ms": float(p95)}
    return row


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write ``deployment.json``."""
    parser = measure.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=40, help="photographs read in turns")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows, side = [], 400 if given.smoke else 1600
    how = {"epochs": 1, "warmup_epochs": 0, "batch_size": 6, "pretrained": False}
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.dict(os.environ, {"RNFL_DATA": folder}),
    ):
        photo = Path(folder) / "photo.jpg"
        Image.fromarray(golden.draw(0, "OD", False, side, "CFP")).save(photo, quality=90)
        datasets.prepare("phantom-cfp-24")
        for name, backbone in (SMOKE if given.smoke else BACKBONES).items():
            config = rnfl.RunConfig("phantom-cfp-24", backbone, "naive", **how)
            run = rnfl.run(config, lambda row: None).folder
            rows.append(compared(name, run, Path(folder), photo, given))
    measure.show(rows)
    keys = ("load_s", "first_s", "peak_mb", "p50 ms", "p95 ms", "net p50 ms")
    ratios = {f"{r['backbone']}, {k}": r[f"run {k}"] / r[f"bundle {k}"] for r in rows for k in keys}
    medians = {
        f"{row['backbone']}, {kind}": row[f"{kind} p50 ms"]
        for row in rows
        for kind in ("run", "bundle")
    }
    settings = {"photograph_px": side, "repeats": given.repeats, "threads": 1}
    record = {"settings": settings, "rows": rows, "medians": medians, "ratios": ratios}
    measure.publish("deployment", record, given)


if __name__ == "__main__":
    main()
