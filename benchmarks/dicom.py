"""From a photograph in DICOM to its report in DICOM: milliseconds of one thread, p50 and p95.

A bundle of the phantom's own small network, a drawn photograph of 1600 px: opening the file,
finding the disc, cropping, the network and writing the Comprehensive SR, without a page. Loading
the model is not in it, see ``deployment.py``. Wanted: p95 below 1 s.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from pathlib import Path
from unittest import mock

import dicom_photograph as synthetic
import measure
import numpy as np
import pydicom
import torch

import rnfl
from rnfl import datasets
from rnfl.inference import bundle, dicom_report, golden, photographs, readings, trained

TASKS = ("all", "of it reading", "of it reporting")


def files(folder: Path, side: int) -> dict[str, Path]:
    """Return a photograph of ``side`` px as DICOM, by how its pixels are stored."""
    picture = golden.draw(0, "OD", False, side, "CFP")
    made = {kind: synthetic.make(picture, "R") for kind in ("uncompressed", "RLE", "JPEG")}
    made["RLE"].compress(pydicom.uid.RLELossless)
    synthetic.as_jpeg(made["JPEG"], picture, quality=90)
    return {kind: synthetic.save(one, folder / f"{kind}.dcm") for kind, one in made.items()}


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write ``dicom.json``."""
    parser = measure.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=40, help="photographs of a kind, in turns")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    side, repeats = (400, 3) if given.smoke else (1600, given.repeats)
    how = {"epochs": 1, "warmup_epochs": 0, "batch_size": 6, "pretrained": False}
    with (
        tempfile.TemporaryDirectory() as temporary,
        mock.patch.dict(os.environ, {"RNFL_DATA": temporary}),
        contextlib.redirect_stderr(io.StringIO()),  # bars of progress
    ):
        folder = Path(temporary)
        datasets.prepare("phantom-cfp-24")
        backbone = "phantom_scratch@32" if given.smoke else "phantom_mae"
        config = rnfl.RunConfig("phantom-cfp-24", backbone, "naive", **how)
        path = folder / f"model{bundle.SUFFIX}"
        bundle.write(trained.load(rnfl.run(config, lambda row: None).folder), path)
        used = bundle.load(path, threads=1)
        held = files(folder, side)

        def read(source: Path) -> readings.Readings:
            wanted, _ = photographs.collect([source])
            return readings.read(wanted, used)

        done = {kind: read(source) for kind, source in held.items()}

        def report(kind: str, reading: readings.Readings) -> None:
            row = reading.table.to_dict("records")[0]
            dicom_report.write(held[kind], row, used.card, folder / kind)

        tasks = {}
        for kind, source in held.items():
            tasks[kind, "all"] = lambda k=kind, s=source: report(k, read(s))
            tasks[kind, "of it reading"] = lambda s=source: read(s) is None
            tasks[kind, "of it reporting"] = lambda k=kind: report(k, done[k])
        times = measure.interleaved(tasks, repeats=repeats, warm_up=1 if given.smoke else 2)
        sizes = {kind: source.stat().st_size / 1e6 for kind, source in held.items()}
    rows = []
    for kind in held:
        row = {"pixels": kind, "MB": sizes[kind]}
        for task in TASKS:
            p50, p95 = 1000 * np.percentile(times[kind, task], (50, 95))
            row |= {f"{task} p50 ms": float(p50), f"{task} p95 ms": float(p95)}
        rows.append(row)
    measure.show(rows)
    settings = {"photograph_px": side, "repeats": repeats, "threads": 1, "backbone": backbone}
    settings |= {"goal": "all p95 below 1000 ms", "load_average": os.getloadavg()[0]}
    medians = {row["pixels"]: row["all p50 ms"] for row in rows}
    record = {"settings": settings, "rows": rows, "medians": medians}
    measure.publish("dicom", record, given)


if __name__ == "__main__":
    main()
