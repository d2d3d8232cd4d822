"""From a DICOM photograph to its structured report: seconds on one core, no page drawn.

    PYTHONPATH=tests/support python benchmarks/dicom.py

A photograph of 1,600 px, stored in three ways, in turns: header, pixels, disc, crop, curve, table
and report, from file to file. The model is a bundle (onnxruntime, one thread) with random weights:
what a network has learnt takes no time. The first photograph of a program also loads libraries.
Other programs stretch the seconds, and less so those of the processor.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from unittest import mock

import measure
import numpy as np
import torch
from dicom_photograph import as_jpeg, as_rle, make, save

import rnfl
from rnfl import datasets
from rnfl.inference import bundle, dicom_report, golden, photographs, readings, trained

GOAL_S = 1.0  # at most, in 19 of 20 photographs
BACKBONE, SMOKE = "phantom_mae", "phantom_scratch@32"


def report(photo: Path, used: trained.Trained, folder: Path, spent: list[float]) -> None:
    """Read a photograph and write its report; note the processor's seconds."""
    started = time.process_time()
    wanted, excluded = photographs.collect([photo])
    row = readings.read(wanted, used, excluded).table.iloc[0]
    dicom_report.write_report(folder / "report.dcm", photo, row, used.card, used.bands)
    spent.append(time.process_time() - started)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write ``dicom.json``."""
    parser = measure.parser(__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=40, help="photographs of each kind")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):  # photographs are read in threads
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    side, repeats = (400, 2) if given.smoke else (1600, given.repeats)
    how = {"epochs": 1, "warmup_epochs": 0, "batch_size": 6, "pretrained": False}
    with (
        tempfile.TemporaryDirectory() as name,
        mock.patch.dict(os.environ, {"RNFL_DATA": name}),
    ):
        folder = Path(name)
        datasets.prepare("phantom-cfp-24")
        backbone = SMOKE if given.smoke else BACKBONE
        run = rnfl.run(rnfl.RunConfig("phantom-cfp-24", backbone, "naive", **how), lambda row: None)
        path = folder / f"model{bundle.SUFFIX}"
        bundle.write(trained.load(run.folder), path)
        used = bundle.load(path, threads=1)
        drawn = golden.draw(0, "OD", False, side, "CFP")
        jpeg = make(drawn)
        as_jpeg(jpeg, drawn)
        kinds = {"plain": make(drawn), "RLE": as_rle(make(drawn)), "JPEG": jpeg}
        photos = {kind: save(made, folder / f"{kind}.dcm") for kind, made in kinds.items()}
        started = time.perf_counter()
        report(photos["plain"], used, folder, [])
        first = time.perf_counter() - started
        spent: dict[str, list[float]] = {kind: [] for kind in photos}
        calls = {
            kind: (lambda kind=kind: report(photos[kind], used, folder, spent[kind]))
            for kind in photos
        }
        times = measure.interleaved(calls, repeats)
        rows = []
        for kind, taken in times.items():
            p50, p95 = np.percentile(taken, (50, 95)).tolist()
            cpu = float(np.percentile(spent[kind][1:], 95))  # the first call warms up
            size = photos[kind].stat().st_size / 1e6
            rows.append({"stored": kind, "MB": size, "p50 s": p50, "p95 s": p95,
                         "p95 processor s": cpu, "within the goal": p95 < GOAL_S})  # fmt: skip
    measure.show(rows)
    print(f"first photograph of the program: {first:.2f} s; goal: p95 below {GOAL_S:g} s")
    settings = {"photograph_px": side, "repeats": repeats, "threads": 1, "backbone": backbone}
    record = {"settings": settings | {"goal s": GOAL_S}, "rows": rows, "first s": first}
    record |= {"medians": {row["stored"]: row["p50 s"] for row in rows}}
    measure.publish("dicom", record, given)


if __name__ == "__main__":
    main()
