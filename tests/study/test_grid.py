"""Which engine computes a grid, and how the processes of one machine share it."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info
from training_data import make_dataset
from typer.testing import CliRunner

from rnfl import cli, datasets
from rnfl.cli import reproduce
from rnfl.study import grid
from rnfl.study.grid import local, resources
from rnfl.study.grid.resources import Share, divide
from rnfl.training.config import RunConfig

SMALL = RunConfig("tiny-slo", "phantom_scratch", "naive")
LARGE = replace(SMALL, backbone="imagenet_vitb16")


@pytest.fixture
def machine(monkeypatch):
    """Return a function that pretends a number of cores and GPUs."""

    def pretend(n_cores, n_gpus=0):
        monkeypatch.setattr(resources, "cores", lambda: list(range(n_cores)))
        monkeypatch.setattr(resources, "gpus", lambda: [str(i) for i in range(n_gpus)])

    return pretend


@pytest.mark.parametrize(("n_cores", "workers"), [(2, 2), (8, 3), (7, 4), (64, 4)])
def test_workers_have_cores_of_their_own_and_as_many_threads(machine, n_cores, workers):
    machine(n_cores)
    parts = divide(tasks=100, workers=workers)
    assert sorted(core for part in parts for core in part.cores) == list(range(n_cores))
    assert {part.threads for part in parts} == {n_cores // workers}
    assert all(len(part.cores) >= part.threads for part in parts)


def test_by_default_a_worker_per_core_or_gpu_and_none_that_idles(machine):
    machine(2)
    assert len(divide(tasks=9)) == 2 and len(divide(tasks=1)) == 1
    machine(32)
    assert len(divide(tasks=9)) == resources.MAX_WORKERS
    machine(16, n_gpus=8)
    parts = divide(tasks=100)
    assert [part.gpu for part in parts] == list("01234567")
    assert all(len(part.cores) == part.threads == 2 for part in parts)


def test_more_workers_than_cores_or_gpus_take_turns(machine):
    machine(2, n_gpus=2)
    parts = divide(tasks=9, workers=4)
    assert [part.gpu for part in parts] == ["0", "1", "0", "1"]
    assert all(len(part.cores) == part.threads == 1 for part in parts)
    assert {part.cores for part in parts} == {(0,), (1,)}


def test_gpus_keep_the_names_that_the_environment_gives_them(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert resources.gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-1a2b")
    assert resources.gpus() == ["5", "GPU-1a2b"]


def situation():
    import torch

    pinned = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    told = os.environ["OMP_NUM_THREADS"], os.environ["CUDA_VISIBLE_DEVICES"]
    algebra = {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
    return pinned, torch.get_num_threads(), algebra, *told


def test_worker_processes_keep_to_their_share():
    have = resources.cores()
    parts = [Share((core,), 1, gpu) for core, gpu in ((have[0], "3"), (have[-1], "4"))]
    with local._pool(parts) as pool:
        found = {future.result() for future in [pool.submit(situation_as_text) for _ in range(8)]}
    pinned = [part.cores if hasattr(os, "sched_getaffinity") else None for part in parts]
    expected = {repr(([*cores] if cores else None, 1, {1}, "1", part.gpu))
                for cores, part in zip(pinned, parts, strict=True)}  # fmt: skip
    assert found and found <= expected


def situation_as_text():
    return repr(situation())


@pytest.mark.parametrize(
    ("n_cores", "n_gpus", "configs", "expected"),
    [
        (2, 0, [SMALL, replace(SMALL, seed=1)], "local"),
        (1, 0, [SMALL, replace(SMALL, seed=1)], "serial"),
        (2, 0, [SMALL], "serial"),
        (8, 0, [SMALL, LARGE], "serial"),
        (8, 1, [SMALL, LARGE], "serial"),
        (8, 2, [SMALL, LARGE], "local"),
        (8, 2, [LARGE], "serial"),
    ],
)
def test_auto_chooses_by_machine_and_runs(machine, n_cores, n_gpus, configs, expected):
    machine(n_cores, n_gpus)
    assert grid._choose_engine(configs) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"engine": "slurm"}, r"unknown engine 'slurm'; valid ones are \['auto', 'serial', 'local"),
        ({"workers": 0}, "workers must be positive, got 0"),
        ({"engine": "local", "scheduler": "tcp://a:1"}, "'local' has no scheduler, got 'tcp://a:1"),
        ({"scheduler": "tcp://a:1", "workers": 2}, "a cluster has its own workers"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        grid.run_grid([], **arguments)


def test_who_names_a_scheduler_means_dask(monkeypatch):
    assert grid.check("auto", None, "tcp://a:1") == ("dask", "tcp://a:1")
    monkeypatch.setenv(grid.SCHEDULER, "tcp://b:2")
    assert grid.check("auto", None, None) == ("dask", "tcp://b:2")
    assert grid.check("dask", None, "tcp://a:1") == ("dask", "tcp://a:1")
    assert grid.check("local", 2, None) == ("local", None)


def test_reproduce_hands_its_options_to_the_grid_and_its_notebooks(monkeypatch):
    class Prepared:
        name, hash = "phantom", "0"

    asked = []
    monkeypatch.setenv(grid.SCHEDULER, "")
    monkeypatch.setattr(datasets, "prepare", lambda name: Prepared)
    monkeypatch.setattr(grid, "run_grid", lambda configs, *options: asked.append(options) or [])

    def execute(study, inputs):
        asked.append(os.environ[grid.SCHEDULER])
        return Path("report.html")

    monkeypatch.setattr(reproduce, "_execute", execute)
    command = ["reproduce", "--preset", "smoke", "--engine"]
    for options in (["local", "--workers", "3"], ["dask", "--scheduler", "tcp://a:1"]):
        result = CliRunner().invoke(cli.app, [*command, *options])
        assert result.exit_code == 0, result.exception
    assert asked == [("local", 3, None), "", ("dask", None, "tcp://a:1"), "tcp://a:1"]
    result = CliRunner().invoke(cli.app, [*command, "magic"])
    assert "unknown engine 'magic'" in str(result.exception) and len(asked) == 4


GRID = """
from dataclasses import replace
import rnfl
if __name__ == "__main__":
    config = rnfl.RunConfig(
        "tiny-slo", "phantom_scratch", "naive", epochs=500, warmup_epochs=0, batch_size=6
    )
    rnfl.run_grid([config, replace(config, seed=43)], engine="local", workers=2)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_grid_ended_by_a_signal_leaves_no_semaphores(tmp_path, monkeypatch, number):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))
    make_dataset("tiny-slo", n=12)
    script = tmp_path / "grid.py"
    script.write_text(GRID)
    process = subprocess.Popen([sys.executable, script], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while not list(tmp_path.glob("runs/.partial/*/state.json")) and time.monotonic() < until:
        time.sleep(0.1)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode in (128 + number, -number)
    assert "semaphore" not in said and "resource_tracker" not in said
    assert len(list(tmp_path.glob("runs/.partial/*/checkpoint.pt"))) >= 1
