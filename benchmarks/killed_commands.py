"""Kill commands that publish something at random moments and see whether the next call ends well.

    PYTHONPATH=tests/support python benchmarks/killed_commands.py

SIGKILL, SIGTERM and SIGINT come in turn, each at a moment drawn uniformly from the command's
duration; a moment that comes after the end is drawn again. What has its final name by then must be
whole. The command is then asked for again, and must leave what a call leaves that nobody disturbed:
the same bytes, no other file, no lock that is held and no process. Two calls at once, of which the
second may begin later, must leave what two in turn leave. Files that two undisturbed calls write
differently are compared by name.
"""

import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import killed_runs
import measure
import numpy as np
import psutil
from filelock import FileLock, Timeout
from PIL import Image
from tqdm import tqdm

from rnfl.storage import provenance

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
DATASET, OTHER = "phantom-cfp-24", "phantom-cfp-24-s1"
# Imported by the server that forks, so that most of a command's duration is its own work.
MODULES = [
    *("analysis.reports.evaluation", "analysis.reports.eye", "analysis.reports.study", "onnx"),
    *("rnfl.inference.readings", "rnfl.study.external_validation", "rnfl.study.notebooks"),
]
NOTEBOOK = "08_audit"
KINDS = ("prepare", "evaluate", "predict", "export", "transfer", "notebook", "reproduce")


@dataclass(frozen=True)
class Outcome:
    """What became of a command that was killed and asked for again, or called twice at once."""

    command: str
    signal: str  # "" for two at once
    said: bool  # a signal that the command heard was answered in words, without a traceback
    whole: bool  # what had its name when it was killed
    status: int  # of the second call
    identical: bool
    strays: tuple[str, ...]  # files that should not be there, or are missing
    held: tuple[str, ...]  # locks
    orphans: int

    @property
    def is_good(self) -> bool:
        """Whether nothing of the kill is left."""
        clean = not (self.strays or self.held or self.orphans)
        return self.said and self.whole and self.status == 0 and self.identical and clean


class Command:
    """A command, and what one call, or two in turn, leave in a data root that nobody disturbs."""

    def __init__(
        self,
        name: str,
        arguments: Iterable[str],
        folder: Path,
        template: Path | None,
        pairs: bool = True,
    ):
        self.name, self.arguments, self.folder = name, list(arguments), folder / name
        self.pairs = pairs
        self.template, self.number = template, 0
        self.folder.mkdir()
        first, second = self._undisturbed(), self._undisturbed()
        self.varying = {file for file in first if first[file] != second.get(file)}
        self.files = second

    def _undisturbed(self) -> dict[str, str]:
        root, began = self.fresh(), time.monotonic()
        self._once(root)
        self.seconds, found = time.monotonic() - began, files(root)
        if self.pairs:
            self._once(root)
            self.twice = files(root)
        shutil.rmtree(root.parent)
        return found

    def _once(self, root: Path) -> None:
        status, said = self.ended(self.start(root))
        if status:
            raise RuntimeError(f"{self.name}: status {status}\n{said}")

    def fresh(self) -> Path:
        """Return a new data root with what the command needs."""
        self.number += 1
        root = self.folder / str(self.number) / "data"
        return Path(shutil.copytree(self.template, root)) if self.template else root

    def start(self, root: Path, log: str = "log"):
        """Start the command in a process of its own."""
        self.log = self.folder / f"{self.number}-{log}.txt"
        return killed_runs.start([one.format(root=root) for one in self.arguments], root, self.log)

    def ended(self, process) -> tuple[int, str]:
        """Wait for a process; return its status and what it said."""
        status = killed_runs.ended(process)
        return status, self.log.read_text(errors="replace") if self.log.exists() else ""

    def kill(self, number: signal.Signals, random_: random.Random) -> Outcome:
        """Send a signal at a random moment, ask again and compare."""
        while True:
            root = self.fresh()
            process = self.start(root)
            process.join(random_.uniform(0, self.seconds))
            family = descendants(process.pid)
            if process.exitcode is None:
                with suppress(psutil.NoSuchProcess):  # it has just ended
                    psutil.Process(process.pid).send_signal(number)
                status, said = self.ended(process)
                if status:
                    break
            shutil.rmtree(root.parent)
        orphans = psutil.wait_procs(family, timeout=5)[1]
        # Before the command has begun, a signal ends the process as it ends any other.
        heard = number != signal.SIGKILL and status == 128 + number
        said = "cli.main()" not in said and (not heard or f"{number.name}: " in said)
        found = files(root)
        whole = all(self.same(found, file) for file in found if file in self.files)
        status, _ = self.ended(self.start(root))
        found = files(root)
        outcome = Outcome(
            self.name, number.name, said, whole, status,
            all(self.same(found, file) for file in self.files),
            tuple(sorted(found.keys() ^ self.files.keys())), held(root), len(orphans),
        )  # fmt: skip
        shutil.rmtree(root.parent)
        return outcome

    def pair(self, random_: random.Random) -> Outcome:
        """Call the command twice at once and compare with two calls in turn."""
        root = self.fresh()
        first = self.start(root, "first")
        first.join(random_.choice((0, random_.uniform(0, self.seconds))))
        second = self.start(root, "second")
        status = max(abs(killed_runs.ended(one)) for one in (first, second))
        found = files(root)
        outcome = Outcome(
            self.name, "", True, True, status,
            all(self.same(found, file, self.twice) for file in self.twice),
            tuple(sorted(found.keys() ^ self.twice.keys())), held(root), 0,
        )  # fmt: skip
        shutil.rmtree(root.parent)
        return outcome

    def same(self, found: dict[str, str], file: str, left: dict[str, str] | None = None) -> bool:
        """Whether a file is as an undisturbed call leaves it."""
        left = self.files if left is None else left
        return file in found and (file in self.varying or found[file] == left[file])


def files(root: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a data root by its path, locks and notes aside."""
    return {name: provenance.sha256_file(root / name) for name in killed_runs.files(root)}


def held(root: Path) -> tuple[str, ...]:
    """Return the locks that somebody still holds."""
    found = []
    for path in root.rglob("*.lock"):
        try:
            FileLock(path).acquire(timeout=0).lock.release()
        except Timeout:
            found.append(path.name)
    return tuple(found)


def descendants(number: int) -> list[psutil.Process]:
    """Return the processes that a process has started, those of its own included."""
    try:
        return psutil.Process(number).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def commands(folder: Path, kinds: Iterable[str], pairs: bool = True) -> Iterator[Command]:
    """Yield the commands, with a data root in which a small model is trained."""
    template, pictures = folder / "template", folder / "pictures"
    pictures.mkdir()
    noise = np.random.default_rng(0).integers(0, 40, (3, 300, 300, 3), np.uint8)
    for number, picture in enumerate(noise):
        Image.fromarray(90 + picture).save(pictures / f"{number}_OD.png")
    if set(kinds) & {"evaluate", "predict", "export", "transfer"}:
        _call(template, "prepare", DATASET)
        _call(template, "prepare", OTHER)
        _call(template, "train", DATASET, "phantom_mae", "--epochs", "1", "--warmup-epochs", "0")
    if "reproduce" in kinds:
        _call(folder / "reproduced", "reproduce", "--preset", "smoke")
        (folder / "reproduced" / "reproduced" / "smoke" / "report.html").unlink()
    (run,) = [path.parent.name for path in template.glob("runs/*/summary.json")] or [""]
    eyes = ["--eye", "from-name", "--crops", "--model", run]
    given = {
        "prepare": (["prepare", DATASET], None),
        "evaluate": (["evaluate", f"{{root}}/runs/{run}/predictions.parquet"], template),
        "predict": (["predict", str(pictures), *eyes], template),
        "export": (["export", run], template),
        "transfer": (["transfer", run, "--on", OTHER], template),
        "notebook": (["notebook", NOTEBOOK, "--preset", "smoke"], None),
        "reproduce": (["reproduce", "--preset", "smoke"], folder / "reproduced"),  # the report
    }
    for kind, (arguments, root) in given.items():
        if kind in kinds:
            yield Command(kind, arguments, folder, root, pairs)


def _call(root: Path, *arguments: str) -> None:
    if killed_runs.ended(killed_runs.start(list(arguments), root), seconds=3600):
        raise RuntimeError(f"rnfl {' '.join(arguments)} failed")


def row(command: Command, outcomes: list[Outcome]) -> dict:
    """Count what kills and pairs of one command left."""
    return {
        "command": f"rnfl {command.name}",
        "undisturbed s": command.seconds,
        "killed": sum(bool(one.signal) for one in outcomes),
        "pairs": sum(not one.signal for one in outcomes),
        "finished": sum(one.status == 0 for one in outcomes),
        "same bytes": sum(one.whole and one.identical for one in outcomes),
        "said": sum(one.said for one in outcomes),
        "litter": sum(len(one.strays) for one in outcomes),
        "locks held": sum(len(one.held) for one in outcomes),
        "orphans": sum(one.orphans for one in outcomes),
        "varying": sorted(command.varying),
    }


def tried(command: Command, kills: int, pairs: int, seed: int) -> list[Outcome]:
    """Kill a command and call it twice at once, so many times."""
    found, total = [], kills + pairs
    for i in tqdm(range(total), command.name, unit="try"):
        draw = random.Random(f"{seed} {command.name} {i}")
        one = command.kill(SIGNALS[i % len(SIGNALS)], draw) if i < kills else command.pair(draw)
        found.append(one)
        if not one.is_good:
            print(f"NOT AS UNDISTURBED: {one}")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Kill, print a table and write ``killed_commands.json``; 1 if a single try left a trace."""
    parser = measure.parser(__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, help="of each command; by default 20")
    parser.add_argument("--pairs", type=int, help="of each command; by default 20")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS)
    given = parser.parse_args(arguments)
    kinds = given.only[:1] if given.smoke else given.only
    kills, pairs = (
        (1 if given.smoke else 20) if one is None else one for one in (given.kills, given.pairs)
    )
    print(f"{kills} kills and {pairs} pairs of each command, seed {given.seed}")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also in a shell's background
    if not given.smoke:
        killed_runs.PRELOADED.extend(MODULES)
    rows, every = [], []
    with tempfile.TemporaryDirectory() as folder:
        for command in commands(Path(folder), kinds, pairs > 0):
            found = tried(command, kills, pairs, given.seed)
            rows.append(row(command, found))
            every += found
            good = sum(one.is_good for one in every)
            settings = {"kills": kills, "pairs": pairs, "seed": given.seed}
            record = {
                "settings": settings | {"signals": [one.name for one in SIGNALS]},
                "rows": rows,
                "medians": {one["command"]: one["undisturbed s"] for one in rows},
                "ratios": {"without a trace": good / len(every)},
                "total": {"tried": len(every), "without a trace": good},
            }
            measure.publish("killed_commands", record, given)
    measure.show([{k: v for k, v in one.items() if k != "varying"} for one in rows], "killed")
    return int(good < len(every))


if __name__ == "__main__":
    raise SystemExit(main())
