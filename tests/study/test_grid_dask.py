"""A grid on Dask: joined or started here, its workers killed, its client gone."""

import os
import sys
import threading
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import grid_log
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tqdm import tqdm
from training_data import make_dataset

from rnfl import datasets
from rnfl.runs import address
from rnfl.runs import results as runs
from rnfl.study.grid import run_grid, tasks
from rnfl.study.grid.resources import divide
from rnfl.training.config import RunConfig

dask = pytest.importorskip("dask", reason="dask is not installed: pip install 'rnfl[cluster]'")
distributed = pytest.importorskip("distributed", reason="distributed is not installed")
engine = pytest.importorskip("rnfl.study.grid.cluster")
Witness = engine.Witness

CONFIG = RunConfig(
    "tiny-slo", "phantom_scratch", "naive",
    epochs=4, warmup_epochs=0, batch_size=4, lr_scale=5.0, checkpoint_seconds=0.0,
)  # fmt: skip
PARTS = ["pid", "seed", "epoch", "cores", "threads"]


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path / "data"))
    make_dataset(n=16)
    return tmp_path


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def in_threads(n_workers=1, threads_per_worker=1, **options):
    """Return a cluster in threads of this process, which spares the start of others."""
    return distributed.LocalCluster(
        n_workers=n_workers, threads_per_worker=threads_per_worker,
        processes=False, protocol="tcp", dashboard_address=":0", **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def cluster():
    with in_threads(resources={"GPU": 1}) as cluster:
        yield cluster


def read_log(path):
    if not path.exists():
        return pd.DataFrame(columns=PARTS)
    lines = [line.split(",") for line in path.read_text().splitlines() if line.count(",") == 4]
    table = pd.DataFrame(lines, columns=PARTS)
    return table.astype({"pid": int, "seed": int, "epoch": int})


def test_all_runs_finish_as_in_one_process_though_a_worker_is_killed(data, monkeypatch, one_thread):
    configs = [replace(CONFIG, seed=seed) for seed in range(8)]
    log = data / "log.csv"
    monkeypatch.setenv("GRID_LOG", str(log))
    killed = []

    def kill_who_has_trained_two_epochs():
        while (far := (table := read_log(log))[table["epoch"] >= 1]).empty:
            time.sleep(0.01)
        killed.append(far["pid"].iloc[-1])
        os.kill(killed[0], 9)

    killer = threading.Thread(target=kill_who_has_trained_two_epochs, daemon=True)
    killer.start()
    preload = str(Path(grid_log.__file__))
    with dask.config.set({"distributed.worker.preload": [preload]}):
        results = run_grid(configs, engine="dask", workers=2)
    killer.join(timeout=1)

    table = read_log(log)
    assert killed and len(results) == 8
    last = table[table["pid"] == killed[0]]["seed"].iloc[-1]
    again = table[table["seed"] == last]
    assert again["pid"].nunique() == 2 and again["epoch"].is_monotonic_increasing
    # It went on and did not begin again; what was done since the last checkpoint is done twice.
    assert again["epoch"].tolist().count(0) == 1 and set(again["epoch"]) == {0, 1, 2, 3}
    others = table[table["seed"] != last].groupby("seed")
    assert (others["pid"].nunique() == 1).all() and len(others) == 7
    assert all(rows["epoch"].tolist() == [0, 1, 2, 3] for _, rows in others)

    shares = divide(8, 2)
    found = set(zip(table["cores"], table["threads"], strict=True))
    assert found == {("+".join(map(str, s.cores)), str(s.threads)) for s in shares}

    torch.set_num_threads(shares[0].threads)
    monkeypatch.setenv("RNFL_DATA", str(data / "reference"))
    make_dataset(n=16)
    for result, expected in zip(results, run_grid(configs, engine="serial"), strict=True):
        assert result.run_id == expected.run_id and result.folder != expected.folder
        weights, reference = load_file(result.model_path), load_file(expected.model_path)
        assert weights.keys() == reference.keys()
        assert all(torch.equal(weights[key], value) for key, value in reference.items())
        pd.testing.assert_frame_equal(result.predictions, expected.predictions, check_exact=True)


def test_a_cluster_is_joined_and_failures_come_with_their_traceback(data, cluster, capfd):
    bad, good = replace(CONFIG, backbone="vgg"), replace(CONFIG, epochs=1)
    with pytest.raises(RuntimeError, match=r"vgg-naive.* failed(.|\n)*run\.py(.|\n)*'vgg'"):
        run_grid([bad, good], engine="dask", scheduler=cluster.scheduler_address)
    assert runs.find_run(good) is not None
    assert "unknown backbone 'vgg'" in capfd.readouterr().out
    before = os.stat(runs.find_run(good).folder).st_mtime_ns
    assert run_grid([good], scheduler=cluster.scheduler_address)[0].folder.stat().st_mtime_ns == (
        before
    )


def test_two_clients_share_a_run(data, cluster, monkeypatch):
    started = defaultdict(int)
    plain = tasks.work

    def counted(run_id, *rest):
        started[run_id] += 1
        plain(run_id, *rest)

    monkeypatch.setattr(tasks, "work", counted)
    configs = [replace(CONFIG, seed=seed, epochs=2) for seed in (1, 2)]
    address, found = cluster.scheduler_address, []
    threads = [
        threading.Thread(target=lambda: found.append(run_grid(configs, scheduler=address)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2 and found[0] == found[1] and None not in found[0]
    assert sorted(started.values()) == [1, 1]


def test_a_run_stops_and_is_kept_when_its_client_is_gone(data, cluster, monkeypatch):
    config = replace(CONFIG, epochs=300)
    partial = runs.partial_folder(address.run_id(config, datasets.load("tiny-slo").hash))

    def interrupt(run_ids):
        if (partial / "state.json").exists():
            raise KeyboardInterrupt
        return ""

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "states", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_grid([config], scheduler=cluster.scheduler_address)
    with distributed.Client(cluster, set_as_default=False) as client:
        until = time.monotonic() + 20
        while any(client.run(lambda dask_worker: len(dask_worker.state.tasks)).values()):
            assert time.monotonic() < until, "it trains on, for nobody"
            time.sleep(0.05)
    assert (partial / "checkpoint.pt").exists() and runs.find_run(config) is None


def refused(address, message):
    with pytest.raises(ValueError, match=message):
        run_grid([CONFIG], engine="dask", scheduler=address)


def test_unfit_workers_are_refused_before_anything_is_sent(data, cluster, monkeypatch):
    address, here = cluster.scheduler_address, Witness.here()
    with monkeypatch.context() as patch:
        elsewhere = replace(here, file=Path("runs/.partial/witness-elsewhere"))
        patch.setattr(Witness, "here", lambda: elsewhere)
        patch.setattr(engine, "PATIENCE", 0.0)
        refused(address, r"data folder .* is not the client's(.|\n)*RNFL_DATA")
    with monkeypatch.context() as patch:
        patch.setattr(Witness, "here", lambda: replace(here, code="other"))
        refused(address, r"worker tcp://.*its code .* the client's other(.|\n)*install the same")
    with in_threads(threads_per_worker=2) as two:
        refused(two.scheduler_address, "has 2 Dask threads.*--nthreads 1")


def test_a_cluster_without_workers_is_waited_for(data, monkeypatch):
    said = []

    def show(bar, text):
        said.append(text)
        empty.scale(1)

    monkeypatch.setattr(tqdm, "set_postfix_str", show)
    with in_threads(n_workers=0) as empty:
        (result,) = run_grid([replace(CONFIG, epochs=1)], scheduler=empty.scheduler_address)
    assert result.folder.exists()
    assert said[0] == "waiting for workers" and said.count("waiting for workers") == 1


class FakeFuture:
    """The future of a task whose worker dies again and again."""

    def __init__(self, checkpoint=None, deaths=100):
        self.checkpoint, self.deaths, self.retried = checkpoint, deaths, 0

    def done(self):
        return True

    def cancelled(self):
        return False

    def exception(self):
        state = distributed.scheduler.WorkerState(
            address="tcp://a:1", status="closed", pid=1, name="a", memory_limit=0, nthreads=1,
            local_directory="", nanny="", server_id="a",
        )  # fmt: skip
        ended = self.retried >= self.deaths
        return None if ended else distributed.KilledWorker("run", state, 3)

    def retry(self):
        self.retried += 1
        if self.checkpoint:
            self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
            self.checkpoint.touch()
            os.utime(self.checkpoint, ns=(self.retried, self.retried))


def test_who_loses_worker_after_worker_is_given_up_unless_it_comes_further(data, monkeypatch):
    monkeypatch.setattr(engine, "wait", lambda *a, **k: None)
    (runs.runs_root() / "preempted").mkdir(parents=True)
    futures = {
        "greedy": FakeFuture(),
        "preempted": FakeFuture(runs.partial_folder("preempted") / "checkpoint.pt", deaths=40),
    }

    monkeypatch.setattr(engine, "_workers", lambda client: {"tcp://a:1": {}})
    failures = engine._collect(None, futures, tqdm(disable=True))
    assert list(failures) == ["greedy"] and "out of memory" in failures["greedy"]
    assert [future.retried for future in futures.values()] == [engine.MAX_RESTARTS, 40]


def test_no_scheduler_is_a_connection_error(data, monkeypatch):
    monkeypatch.setattr(engine, "CONNECT_SECONDS", 0.3)
    for place in ("tcp://127.0.0.1:9", "nowhere"):
        with pytest.raises(ConnectionError, match=rf"no Dask scheduler answers at '{place}'"):
            run_grid([CONFIG], engine="dask", scheduler=place)


@pytest.mark.parametrize("status", ["connecting", "closed", "running"])
def test_a_scheduler_that_leaves_is_a_connection_error(data, monkeypatch, status):
    class Unreachable:
        scheduler = SimpleNamespace(address="tcp://a:1")

        def run_on_scheduler(self, function):
            raise OSError("no answer")

    client = Unreachable()
    client.status = status
    futures = {"run": SimpleNamespace(done=lambda: True, cancelled=lambda: True)}
    monkeypatch.setattr(engine, "wait", lambda *a, **k: None)
    with pytest.raises(ConnectionError, match=r"scheduler tcp://a:1 is gone.*asked for again"):
        engine._collect(client, futures, tqdm(disable=True))
    monkeypatch.setattr(engine, "_workers", lambda client: {"tcp://b:1": {}})
    if status == "running":
        failures = engine._collect(client, futures, tqdm(disable=True))
        assert failures == {"run": "its task was cancelled on the cluster"}
    else:
        with pytest.raises(ConnectionError, match="is gone"):
            engine._collect(client, futures, tqdm(disable=True))


def test_without_dask_the_error_says_what_to_install(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "rnfl.study.grid.cluster", raising=False)
    monkeypatch.delattr("rnfl.study.grid.cluster", raising=False)
    with pytest.raises(ImportError, match=r"needs distributed: pip install 'rnfl\[cluster\]'"):
        run_grid([CONFIG], engine="dask")
