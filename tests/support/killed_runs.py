"""Training in processes that die: one kill, what it left, and whether the run ends as if unkilled.

A server process imports torch once and forks a child for every attempt, so that an attempt costs
what its training costs. The server never computes and has one thread, so that forking it is safe.
"""

import errno
import hashlib
import io
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pandas as pd
import torch
from tqdm import tqdm
from training_data import make_dataset

from rnfl.training.config import RunConfig

PRELOADED = ["timm", "pyarrow.parquet", "rnfl.cli", "rnfl.runs.run", "rnfl.runs.fit"]
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
SERVER = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
SIGNALS = (signal.SIGTERM, signal.SIGINT)
NOTES = "cache/hashed/"  # where a file lies is part of their names
# What may differ between two runs of one configuration; a history has the first alone.
BY_DESIGN = ("seconds", "seconds_per_epoch", "seconds_to_best")


def _die(*args: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _dies_half_way(write: Callable, number: int) -> Callable:
    """Return a writer whose call of this number writes half of its bytes and kills the process."""
    calls = iter(range(number + 1))

    def half(content, target, **options):
        if next(calls) < number:
            return write(content, target, **options)
        write(content, buffer := io.BytesIO(), **options)
        file = open(target, "wb") if isinstance(target, Path) else target
        file.write(buffer.getvalue()[: len(buffer.getvalue()) // 2])
        file.flush()
        _die()

    return half


def _dies_at(act: Callable, name: str, number: int, before: bool) -> Callable:
    """Return ``act`` that kills the process at its call of this number for a path of this name."""
    calls = iter(range(number + 1))

    def deadly(*args, **options):
        here = Path(args[1]).name == name and next(calls) == number
        if here and before:
            _die()
        act(*args, **options)
        if here:
            _die()

    return deadly


def _dies_removing(remove: Callable) -> Callable:
    """Return a remover of folders that kills the process half-way into that of the checkpoints."""

    def half(folder, **options):
        if Path(folder).parent.name != ".partial":
            return remove(folder, **options)
        (Path(folder) / "checkpoint.pt").unlink()
        _die()

    return half


def _fails_on_a_full_disk(write: Callable, number: int) -> Callable:
    """Return a writer whose call of this number, and all later ones, find the disk full."""
    calls = itertools.count()

    def full(content, file):
        if next(calls) < number:
            return write(content, file)
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return full


def _signalled(number: int, step: int) -> Callable:
    """Return the loss of a step, in the course of which a signal comes."""
    from rnfl.training.losses import supervised

    calls = iter(range(1000))

    def loss(*args):
        if next(calls) == step:
            os.kill(os.getpid(), number)
        return supervised(*args)

    return loss


def _instants(run_id: str) -> dict[str, tuple[str, Callable]]:
    """Return the moments that a clock would hardly hit: what to replace, and by what."""
    save, table = torch.save, pd.DataFrame.to_parquet
    replace, rename, rmtree = os.replace, os.rename, shutil.rmtree
    aside, parquet = "checkpoint.previous.pt", "pandas.DataFrame.to_parquet"
    return {
        "half the first checkpoint": ("torch.save", _dies_half_way(save, 0)),
        "half a checkpoint": ("torch.save", _dies_half_way(save, 5)),
        "checkpoint before its renames": ("os.replace", _dies_at(replace, aside, 3, True)),
        "checkpoint between its renames": ("os.replace", _dies_at(replace, aside, 3, False)),
        "half a table of the run": (parquet, _dies_half_way(table, 0)),
        # The first of this name would move away what was there.
        "before the run appears": ("os.rename", _dies_at(rename, run_id, 1, True)),
        "when the run has appeared": ("os.rename", _dies_at(rename, run_id, 1, False)),
        "half the checkpoints removed": ("shutil.rmtree", _dies_removing(rmtree)),
        "half a table beside the run": (parquet, _dies_half_way(table, 1)),
        "full disk": ("torch.save", _fails_on_a_full_disk(save, 1)),
        **{s.name: ("rnfl.training.losses.supervised", _signalled(s, 5)) for s in SIGNALS},
    }


def work(
    config: RunConfig | list[str], root: Path, log: Path | None, pause: tuple[int, Path] | None,
    run_id: str, instant: str | None,
) -> None:  # fmt: skip
    """Do one attempt in a child of the server: a configuration, or the arguments of ``rnfl``."""
    from rnfl import cli
    from rnfl.runs.run import run

    torch.set_num_threads(1)
    os.environ["RNFL_DATA"] = str(root)
    sys.stderr = open(log or os.devnull, "w", buffering=1)
    tqdm.set_lock(threading.RLock())  # else a killed process leaves semaphores to be cleaned up

    def report(row: dict) -> None:
        print(f"epoch {row['epoch']}", file=sys.stderr)
        while pause and row["epoch"] == pause[0] and not pause[1].exists():
            time.sleep(0.01)

    if instant:
        mock.patch(*_instants(run_id)[instant]).start()
    if isinstance(config, RunConfig):
        run(config, report)
    else:
        sys.argv, sys.stdout = ["rnfl", *config], sys.stderr
        cli.main()


def start(
    config: RunConfig | list[str], root: Path, log: Path | None = None,
    pause: tuple[int, Path] | None = None, run_id: str = "", instant: str | None = None,
) -> multiprocessing.Process:  # fmt: skip
    """Start one attempt.

    Parameters
    ----------
    config : RunConfig or list of str
        What to train, or the arguments of the command.
    root : Path
        Data root.
    log : Path, optional
        File for the standard error, with one line per epoch.
    pause : (int, Path), optional
        After this epoch, wait until the file exists.
    run_id, instant : str, optional
        Die at this instant of this run.
    """
    SERVER.set_forkserver_preload(PRELOADED)
    with mock.patch.dict(os.environ, dict.fromkeys(ONE_THREAD, "1")):
        process = SERVER.Process(target=work, args=(config, root, log, pause, run_id, instant))
        process.start()
    return process


def ended(process: multiprocessing.Process, seconds: float = 300) -> int:
    """Wait for a process; return its exit status, negative for a signal."""
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"no end after {seconds} s")
    return process.exitcode


def files(root: Path) -> set[str]:
    """Return every file under a data root, locks and notes of what was hashed where aside."""
    found = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return {name for name in found if not name.endswith(".lock") and not name.startswith(NOTES)}


def content(folder: Path) -> dict[str, str]:
    """Return what a finished run says, file by file, without how long it took."""
    said = {}
    for path in sorted(one for one in folder.iterdir() if one.is_file()):
        if path.name == "history.csv":
            history = pd.read_csv(path, dtype=str)
            said[path.name] = history.drop(columns=BY_DESIGN[0]).to_csv()
        elif path.name == "summary.json":
            summary = json.loads(path.read_text())
            said[path.name] = str({k: v for k, v in summary.items() if k not in BY_DESIGN})
        elif path.name == "files.json":  # the hashes of the two above differ by design
            said[path.name] = str(sorted(json.loads(path.read_text())))
        else:
            said[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return said


@dataclass(frozen=True)
class Outcome:
    """What a kill hit, and how the run ended when it was asked for again.

    Attributes
    ----------
    phase : str
        What the run was doing.
    status : int
        Exit status of the second attempt.
    resumed : bool
        Whether that began with the epoch of the last checkpoint, or the first where none was.
    identical : bool
        Whether the run is that of an undisturbed process, to the bit.
    strays : tuple of str
        Files that should not be there, or are missing.
    """

    phase: str
    status: int
    resumed: bool
    identical: bool
    strays: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        """Whether nothing of the kill is left."""
        return self.status == 0 and self.resumed and self.identical and not self.strays


class Undisturbed:
    """A run that nobody killed, to compare with runs that somebody did.

    Parameters
    ----------
    config : RunConfig
        On the datasets 'tiny-slo' and 'tiny-cfp', which are made.
    folder : Path
        For data roots.
    template : Path, optional
        A data root that holds what the run needs; by default the two datasets.
    """

    def __init__(self, config: RunConfig, folder: Path, template: Path | None = None):
        self.config, self.folder = config, folder
        self._numbers = itertools.count()
        self._template = template or folder / "template"
        if template is None:
            with mock.patch.dict(os.environ, {"RNFL_DATA": str(self._template)}):
                make_dataset(n=16)
                make_dataset("tiny-cfp", n=8, colour=True)
        before = self._runs(self._template)
        self.root, log = self.fresh(), folder / "undisturbed.txt"
        for root in (self.fresh(), self.root):  # the first attempt also starts the server
            began = time.monotonic()
            status = ended(start(config, root, log))
            if status:
                raise RuntimeError(f"undisturbed: status {status}\n{log.read_text()}")
            self.seconds = time.monotonic() - began
        (self.run_id,) = self._runs(self.root) - before
        self.content = content(self.root / "runs" / self.run_id)
        self.files = files(self.root)

    @staticmethod
    def _runs(root: Path) -> set[str]:
        return {path.parent.name for path in root.glob("runs/*/summary.json")}

    def fresh(self) -> Path:
        """Return a new data root in which nothing is trained yet."""
        root = self.folder / f"root-{next(self._numbers)}"
        return Path(shutil.copytree(self._template, root))

    def partial(self, root: Path) -> Path:
        """Return the folder of the unfinished run."""
        return root / "runs" / ".partial" / self.run_id

    def phase(self, root: Path) -> str:
        """Say what a run was doing when it was killed, by what it left."""
        partial, runs = self.partial(root), root / "runs"
        if (runs / self.run_id).exists():
            return "after the run appeared"
        if any(runs.glob(f".{self.run_id[:40]}*")):
            return "publishing the run"
        if any(partial.glob(".checkpoint*")):
            return "writing a checkpoint"
        if (partial / "checkpoint.pt").exists():
            return "training"
        return "between two renames" if any(partial.glob("*.pt")) else "before a checkpoint"

    def epochs_to_come(self, root: Path) -> list[str]:
        """Return what the next attempt will report, by the newest checkpoint."""
        if (root / "runs" / self.run_id).exists():
            return []
        for name in ("checkpoint.pt", "checkpoint.previous.pt"):
            if (path := self.partial(root) / name).exists():
                progress = torch.load(path, weights_only=True)["progress"]
                return [f"epoch {i}" for i in range(progress["epoch"], self.config.epochs)]
        return [f"epoch {i}" for i in range(self.config.epochs)]

    def appeared_whole(self, root: Path) -> bool:
        """Whether the run is not there yet, or all of it is."""
        folder = root / "runs" / self.run_id
        later = "predictions-", "kept.json"  # of other datasets, when the run is there
        own = {k: v for k, v in self.content.items() if not k.startswith(later)}
        return not folder.exists() or content(folder).items() >= own.items()

    def kill(self, moment: float | str) -> Outcome | None:
        """Kill the run at a moment, ask for it again and compare.

        Parameters
        ----------
        moment : float or str
            Seconds after the start of the process, or an instant.

        Returns
        -------
        Outcome or None
            None if the run had ended before the moment.
        """
        root, instant = self.fresh(), moment if isinstance(moment, str) else None
        process = start(self.config, root, run_id=self.run_id, instant=instant)
        if instant is None:
            process.join(moment)
            process.kill()
        outcome = None
        if ended(process) == -signal.SIGKILL:
            outcome = self.ask_again(root)
        elif instant:
            raise RuntimeError(f"{instant}: never reached")
        shutil.rmtree(root)
        return outcome

    def ask_again(self, root: Path) -> Outcome:
        """Ask for a run that was interrupted and compare it."""
        log = root.with_suffix(".txt")
        phase, to_come = self.phase(root), self.epochs_to_come(root)
        whole = self.appeared_whole(root)
        status = ended(start(self.config, root, log))
        reported = [line for line in log.read_text().splitlines() if line.startswith("epoch")]
        same = whole and status == 0 and content(root / "runs" / self.run_id) == self.content
        strays = tuple(sorted(files(root) ^ self.files))
        return Outcome(phase, status, reported == to_come, same, strays)
