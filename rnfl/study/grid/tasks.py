"""One run of a grid in a worker, and how it tells those who wait what it is doing.

Workers and client talk through the run's folder, which they share in any case.
"""

import json
from collections.abc import Callable, Iterable
from contextlib import suppress

from tqdm import tqdm

from rnfl.runs import results
from rnfl.storage import provenance
from rnfl.training.config import RunConfig


class Attempts:
    """How often a run lost its worker without having come any further.

    Parameters
    ----------
    most : int
        How often that may happen.
    """

    def __init__(self, run_id: str, most: int):
        self.checkpoint = results.partial_folder(run_id) / "checkpoint.pt"
        self.most, self.lost, self.reached = most, 0, self._time()

    def _time(self) -> int:
        with suppress(FileNotFoundError):
            return self.checkpoint.stat().st_mtime_ns
        return 0

    def another(self) -> bool:
        """Whether to try once more: pre-empted workers may, those out of memory may not."""
        before, self.reached = self.reached, self._time()
        self.lost = self.lost + 1 if self.reached == before else 0
        return self.lost <= self.most


def work(run_id: str, config: RunConfig, check: Callable[[], None] = lambda: None) -> None:
    """Compute a run and keep ``state.json`` in its folder, while it is unfinished, up to date.

    ``check`` is called after each epoch; what it raises ends the run, which can be resumed.
    """
    from rnfl.runs.run import run

    path = results.partial_folder(run_id) / "state.json"

    def report(row: dict) -> None:
        provenance.write_json(path, {"text": state(config, row)})
        check()

    run(config, report)


def state(config: RunConfig, row: dict) -> str:
    """Say how far a run has come, from a row of its history."""
    return f"{config.slug} {row['epoch'] + 1}/{config.epochs} val {row['val_mae']:.2f} µm"


def states(run_ids: Iterable[str]) -> str:
    """Say how far the unfinished runs have come that have started."""
    texts = []
    for run_id in run_ids:
        try:
            text = (results.partial_folder(run_id) / "state.json").read_text(encoding="utf-8")
        except OSError:
            continue  # not begun, or just ended
        texts.append(json.loads(text)["text"])
    return " | ".join(texts)


def announce(bar: tqdm, run_id: str, text: str) -> str:
    """Write above the bar that a run failed, and return the text."""
    bar.write(f"run {run_id} failed:\n{text}")
    return text
