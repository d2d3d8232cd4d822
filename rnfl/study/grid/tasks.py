"""Runs of a grid: one of them in a worker, and all of them for those who wait.

Workers and client talk through the run's folder, which they share in any case.
"""

import json
from collections.abc import Callable, Iterable
from contextlib import suppress

from tqdm import tqdm

from rnfl.runs import results
from rnfl.storage import provenance
from rnfl.training.config import RunConfig


class Watch:
    """The runs that are waited for, under one bar: which are left, and what went wrong.

    ``most`` says how often a run may lose its worker without having come any further.
    """

    def __init__(self, run_ids: Iterable[str], bar: tqdm, most: int = 0):
        self.bar, self.most, self.shown = bar, most, ""
        # How often each lost its worker since it came further, and when it last did.
        self.left = {run_id: (0, _reached(run_id)) for run_id in run_ids}
        self.failures: dict[str, str] = {}

    def show(self, text: str) -> None:
        """Write behind the bar what the runs are doing."""
        if text != self.shown:
            self.bar.set_postfix_str(text)
            self.shown = text

    def done(self, run_id: str, failure: str = "") -> None:
        """Count a run that is finished, or that failed, which is written above the bar."""
        if failure:
            self.bar.write(f"run {run_id} failed:\n{failure}")
            self.failures[run_id] = failure
        del self.left[run_id]
        self.bar.update()

    def another(self, run_id: str) -> bool:
        """Whether to try once more: pre-empted workers may, those out of memory may not."""
        (lost, before), reached = self.left[run_id], _reached(run_id)
        lost = lost + 1 if reached == before else 0
        self.left[run_id] = lost, reached
        return lost <= self.most


def _reached(run_id: str) -> int:
    """Return when a run wrote its newest checkpoint."""
    with suppress(FileNotFoundError):
        return (results.partial_folder(run_id) / "checkpoint.pt").stat().st_mtime_ns
    return 0


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
    if config.task == "masks":
        said = f"val Dice {1 - row['val_dice_error']:.2f}"
    elif config.task == "pictures":
        said = f"val R² {1 - row['val_masked_error']:.3f}"
    else:
        said = f"val {row['val_mae']:.2f} µm"
    return f"{config.slug} {row['epoch'] + 1}/{config.epochs} {said}"


def states(run_ids: Iterable[str]) -> str:
    """Say how far the unfinished runs have come that have started."""
    texts = []
    for run_id in run_ids:
        with suppress(OSError):  # not begun, or just ended
            text = (results.partial_folder(run_id) / "state.json").read_text(encoding="utf-8")
            texts.append(json.loads(text)["text"])
    return " | ".join(texts)
