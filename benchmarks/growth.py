"""Time and memory at 1,000, 10,000 and 100,000 eyes, and the exponents of their growth.

    python benchmarks/growth.py

Four jobs, each through the door that users take. **prepare**: FairFedMed's raw files (npz of
512 × 664 px, attributes, a profile CSV) to a prepared dataset. **epoch**:
``rnfl.training.finetuning.fit`` for one epoch of the smallest phantom encoder, frozen, with
augmentation, so that every image passes through it; loading counts. **evaluation**: every statistic
of ``rnfl evaluate`` for one model and the template, with 500 resamples and permutations.
**figures**: the figures of that evaluation.

CPU time is that of all cores and is what to look at when the machine was not left alone.
Memory is the peak beyond what the process held before. Each exponent is the slope of a straight
line through the logarithms of all sizes; beside it stands that between the two largest sizes
alone, which a fixed cost at the smallest cannot lower much. Eyes are noise; beyond a thousand,
raw files are hard links to the first thousand.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import measure
import numpy as np
import pandas as pd
import synthetic
import torch
from throughput import configured

from analysis import figures
from analysis.reports.evaluation import sections, template_of, write_sections
from analysis.resampling import Resampling
from rnfl import datasets
from rnfl.core import schema
from rnfl.datasets.phantom import VERSION
from rnfl.runs import restore
from rnfl.study import ablations
from rnfl.training import batches, finetuning

SIZES = (1000, 10_000, 100_000)
BOUND = 1.1  # of the exponents of prepare, epoch and evaluation
N_VAL = 32
WARM_UP = 120  # eyes of a first turn that does not count: imports, fonts, threads
JOBS = ("prepare", "epoch", "evaluation", "figures")


def prepare_job(n: int, folder: Path) -> Iterator[tuple[str, Callable]]:
    """Prepare ``n`` eyes from raw files."""
    source = synthetic.fairfedmed_tree(folder / "tree", n)
    yield "prepare", lambda: datasets.prepare("fairfedmed", source)


def epoch_job(n: int, folder: Path) -> Iterator[tuple[str, Callable]]:
    """Train on ``n`` eyes for one epoch."""
    (protocol,) = ablations.freezing([1.0])
    config = configured("noise", "phantom_scratch", 60, protocol=protocol)
    model = restore.untrained(config, None)
    size = model.backbone.spec.input_size
    prepared = synthetic.dataset("noise", n, N_VAL, size)

    def epoch() -> None:
        data = [
            batches.load(prepared, prepared.subset(split), size, torch.device("cpu"))
            for split in ("train", "val")
        ]
        model.set_targets(data[0].labels)
        finetuning.fit(model, *data, config, folder, report=lambda row: None)

    yield "epoch", epoch


def evaluation_job(n: int, folder: Path, n_boot: int) -> Iterator[tuple[str, Callable]]:
    """Evaluate one model on ``n`` eyes, then draw the figures of it."""
    samples = synthetic.samples(n, split="test")
    target = synthetic.profiles(n)
    noise = np.random.default_rng(3).standard_normal(target.shape, np.float32)
    prediction = target.mean(axis=0) + 0.5 * (target - target.mean(axis=0)) + noise
    ids = samples["eye_id"], samples["patient_id"]
    predictions = schema.predictions_frame("noise-naive", *ids, prediction, target)
    predictions = pd.concat([predictions, template_of(predictions)], ignore_index=True)
    runs = pd.DataFrame([{"run_id": "noise-naive", "backbone": "imported", "protocol": "naive"}])
    del target, noise, prediction
    study = sections.Study(
        predictions, samples, runs, VERSION, "", "noise", Resampling(n_boot, n_boot)
    )

    yield "evaluation", lambda: write_sections(study, folder / "results")
    yield "figures", lambda: figures.make_all(folder / "results", folder / "figures")


def measure_jobs(sizes: list[int], jobs: list[str], n_boot: int) -> list[dict]:
    """Return one row per job and size: seconds, peak memory, and both per eye."""
    rows = []
    for n in sizes:
        makers = {
            "prepare": lambda folder, n=n: prepare_job(n, folder),
            "epoch": lambda folder, n=n: epoch_job(n, folder),
            "evaluation": lambda folder, n=n: evaluation_job(n, folder, n_boot),
        }
        wanted = {"evaluation" if job == "figures" else job for job in jobs}
        for job in (name for name in makers if name in wanted):
            with synthetic.workspace() as folder:
                for name, task in makers[job](folder):
                    found = measure.peak_memory(task)
                    rows.append(
                        {
                            "job": name,
                            "eyes": n,
                            "seconds": found.seconds,
                            "ms per eye": 1000 * found.seconds / n,
                            "CPU seconds": found.cpu_seconds,
                            "peak MB": found.peak_bytes / 1e6,
                            "kB per eye": found.peak_bytes / 1e3 / n,
                        }
                    )
                    del found
        measure.show(rows, "Growth")
    return rows


def exponents(rows: list[dict]) -> dict[str, dict[str, float]]:
    """Return the exponents of each job: of its time and memory, over all sizes and the last two."""
    found = {}
    for job in dict.fromkeys(row["job"] for row in rows):
        of = [row for row in rows if row["job"] == job]
        eyes = [row["eyes"] for row in of]
        found[job] = {
            f"{what}{suffix}": fit(eyes, [max(row[column], 1e-3) for row in of])
            for what, column in (
                ("time", "seconds"),
                ("CPU time", "CPU seconds"),
                ("memory", "peak MB"),
            )
            for suffix, fit in (("", measure.growth_exponent), (" last", measure.last_exponent))
        }
    return found


def main(arguments: list[str] | None = None) -> Path:
    """Measure, print tables, write the JSON and return its path."""
    parser = measure.parser(__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--n-boot", type=int, default=500, help="resamples and permutations")
    given = parser.parse_args(arguments)
    sizes, n_boot = (sorted(given.sizes), given.n_boot)
    if given.smoke:
        sizes, n_boot = [60, 120], 20
    need = 200_000 * max(sizes)
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if "prepare" in given.jobs and need > free:
        raise SystemExit(
            f"{max(sizes)} eyes take {need / 1e9:.0f} GB in {tempfile.gettempdir()} for a while, "
            f"{free / 1e9:.0f} GB are free: choose smaller --sizes or another TMPDIR"
        )
    if not given.smoke:
        measure_jobs([WARM_UP], given.jobs, n_boot=10)
    rows = measure_jobs(sizes, given.jobs, n_boot)
    found = exponents(rows)
    measure.show(
        [{"job": job, **values} for job, values in found.items()],
        f"Exponents of growth (1 = linear; at most {BOUND} is wanted)",
    )
    record = {
        "settings": {"sizes": sizes, "n_boot": n_boot, "bound": BOUND},
        "rows": rows,
        "exponents": found,
        "medians": {f"{row['job']} {row['eyes']}": row["seconds"] for row in rows},
        "ratios": {f"{job} {what}": b for job, of in found.items() for what, b in of.items()},
    }
    name = "-".join(["growth", *([] if set(given.jobs) == set(JOBS) else given.jobs)])
    return measure.publish(name, record, given)


if __name__ == "__main__":
    main()
