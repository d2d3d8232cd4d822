"""Damaged files of every format that is read: refused in words that name the file, or what else?

    PYTHONPATH=tests/support python benchmarks/mutations.py

Files and damage are those of ``tests/support/mutated_files.py``. A second process reads them, so
that one that hangs or takes the memory ends that one alone. Then single bits are flipped in files
of a run, a dataset and an exported bundle. About ten minutes on one core.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import measure
from mutated_files import FILES, bit_flips, damaged, make, outcome, special
from tqdm import tqdm

SEED = 20261130
SLOW = 20.0  # s of the processor's time, which a busy machine does not stretch
PATIENCE = 6 * SLOW  # s
MUCH = 10**9  # bytes above what the process held before
OUTCOMES = ("accepted", "refused", "nameless", "traceback", "slow", "memory")


def inputs(kind: str, whole: bytes, n: int) -> Iterator[tuple[str, bytes]]:
    """Yield kinds of damage and what the damaged files of a format hold."""
    yield from special(kind, whole).items()
    for i in range(n):
        yield damaged(whole, [SEED, zlib.crc32(kind.encode()), i])


def work(pipe, folder: str, n: int) -> None:
    """Read what the other end asks for: a format and the place of one of its inputs."""
    warnings.simplefilter("ignore")  # libraries warn of damaged files; how they end is counted
    os.environ["RNFL_DATA"] = folder
    held: dict[str, list[tuple[str, bytes]]] = {}
    while (asked := pipe.recv()) is not None:
        kind, place = asked
        if kind not in held:
            whole = make(kind, Path(folder) / "whole" / kind.replace(" ", "-"))
            held = {kind: list(inputs(kind, whole, n))}
        if place is None:
            pipe.send(len(held[kind]))
            continue
        how, data = held[kind][place]
        before, started = _most_memory(), time.process_time()
        said = outcome(kind, data, Path(folder) / "damaged")
        pipe.send((how, said, time.process_time() - started, _most_memory() - before))


def _most_memory() -> int:
    """Return the most memory that this process ever held, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class Reader:
    """A process that reads damaged files, and is replaced when it is gone or hangs."""

    def __init__(self, folder: Path, n: int) -> None:
        self.given, self.process = (str(folder), n), None

    def ask(self, kind: str, place: int | None, patience: float = PATIENCE) -> tuple | int | None:
        """Return its answer, None where it died or did not answer in time."""
        if self.process is None:
            self.pipe, theirs = multiprocessing.Pipe()
            context = multiprocessing.get_context("spawn")
            self.process = context.Process(target=work, args=(theirs, *self.given), daemon=True)
            self.process.start()
            theirs.close()
            self.ask(kind, None, 300.0)  # imports and whole files take their time
        self.pipe.send((kind, place))
        try:
            if self.pipe.poll(patience):
                return self.pipe.recv()
        except EOFError:
            pass
        self.close()
        return None

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None


def judge(answer: tuple | None) -> tuple[str, str]:
    """Return one of the outcomes, and what is to be looked at."""
    if answer is None:
        return "slow", "no answer"
    _, said, seconds, peak = answer
    if seconds > SLOW:
        return "slow", f"{seconds:.0f} s"
    if peak > MUCH:
        return "memory", f"{peak / 1e9:.1f} GB"
    kind = said if said in ("accepted", "refused") else "traceback"
    return ("nameless" if said.startswith("nameless") else kind), said


def main(arguments: list[str] | None = None) -> int:
    """Read, print two tables and write ``mutations.json``; 1 if one input was not refused well."""
    parser = measure.parser(__doc__.splitlines()[0])
    parser.add_argument("--formats", nargs="+", choices=FILES, help="these alone, without bits")
    parser.add_argument("--inputs", type=int, default=100, help="damaged files of each format")
    given = parser.parse_args(arguments)
    n = 2 if given.smoke else given.inputs
    kinds = list(FILES)[:2] if given.smoke else given.formats or list(FILES)
    rows, faults, started = [], [], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        reader = Reader(Path(folder), n)
        for kind in tqdm(kinds, "formats"):
            found = Counter()
            for place in range(reader.ask(kind, None, 300.0)):
                answer = reader.ask(kind, place)
                state, said = judge(answer)
                found[state] += 1
                if state not in ("accepted", "refused"):
                    faults.append({"format": kind, "damage": answer and answer[0], "said": said})
            rows.append({"format": kind, **{state: found[state] for state in OUTCOMES}})
        reader.close()
        flips = {} if given.smoke or given.formats else bit_flips(Path(folder) / "bits", 100, SEED)
    total = {state: sum(row[state] for row in rows) for state in OUTCOMES}
    measure.show([*rows, {"format": "all", **total}], "damaged files")
    if flips:
        measure.show([flips], "single bits of a run, a dataset and an export")
    for fault in faults:
        print(json.dumps(fault))
    record = {
        "settings": {"seed": SEED, "inputs": n, "slow s": SLOW, "much bytes": MUCH},
        "rows": rows,
        "total": {"inputs": sum(total.values()), **total},
        "faults": faults,
        "single bits": flips,
        "seconds": round(time.monotonic() - started),
    }
    measure.publish("mutations-more" if given.formats else "mutations", record, given)
    return int(bool(faults or flips.get("believed")))


if __name__ == "__main__":
    raise SystemExit(main())
