"""Run experiments: a configuration in, a finished folder out, computed at most once.

A finished run returns at once, without importing torch; an interrupted one resumes; of processes
that ask for the same run one computes it, and the others wait, are told for whom, and take over
should it die.
"""

from collections.abc import Callable

from rnfl import datasets
from rnfl.datasets.prepared import Prepared
from rnfl.runs import address, results
from rnfl.runs.predictions import predict_with, segment_with
from rnfl.runs.results import RunResult
from rnfl.storage import locks, provenance
from rnfl.storage.paths import runs_root
from rnfl.training.config import RunConfig


def run(config: RunConfig, report: Callable[[dict], None] | None = None) -> RunResult:
    """Train, predict the test split and publish the run, or return it if that is done.

    Parameters
    ----------
    report : callable, optional
        Receives the history row of each epoch, in place of a progress bar.

    Returns
    -------
    RunResult
        Folder with config.json, provenance.json, history.csv, predictions.parquet (of masks
        segmentation.parquet), model.safetensors, summary.json and files.json with
        the SHA-256 of the others; it appears only when complete.

    Raises
    ------
    ValueError
        If the dataset, backbone or protocol is unknown, the dataset is absent or has nothing to
        learn from, or ``start`` has another backbone or has seen eyes to be tested on. Also if the
        dataset is deleted or replaced during the run; checkpoints are kept.
    FloatingPointError
        If training diverged; its checkpoints are kept.
    OSError
        If something cannot be written, such as on a full disk; what is written so far is kept.
    KeyboardInterrupt, SystemExit
        If SIGINT or SIGTERM came; a checkpoint is written before.
    """
    prepared = datasets.load(config.dataset)
    run_id = address.run_id(config, prepared.hash)
    if results.finished(run_id, config) is None:
        _compute_once(config, prepared, run_id, report)
    provenance.clear_aside(runs_root())
    locks.remove_remains(results.partial_folder(run_id))
    result = results.finished(run_id, config)
    measure = segment_with if config.task == "masks" else predict_with
    for dataset in config.eval_on:
        measure(result, dataset)
    return result


def _compute_once(
    config: RunConfig, prepared: Prepared, run_id: str, report: Callable[[dict], None] | None
) -> None:
    """Compute a run under its lock; of processes that train together, the first one holds it."""
    from rnfl.runs import fit
    from rnfl.training import distributed

    if distributed.is_first():
        alone = distributed.size() == 1  # else the others are waiting for this process
        with locks.locked(results.partial_folder(run_id), waiting=alone):
            unfinished = results.finished(run_id, config) is None
            if distributed.agreed(unfinished):
                fit.compute(config, prepared, run_id, report)
    elif distributed.agreed(None):
        fit.compute(config, prepared, run_id, report)
    distributed.wait()
