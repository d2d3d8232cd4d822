"""What a model has seen: the patients it learnt from, through all the runs it started from."""

from collections.abc import Iterator

import numpy as np

from rnfl import datasets
from rnfl.datasets.prepared import Prepared
from rnfl.runs import results
from rnfl.runs.results import RunResult


def ancestry(result: RunResult) -> Iterator[RunResult]:
    """Yield a run, the run it started from, the one that started from, and so on."""
    yield result
    while result.config.start is not None:
        result = results.load_run(result.config.start)
        yield result


def shared_patients(result: RunResult, prepared: Prepared, rows: np.ndarray) -> set[str]:
    """Return the patients of ``rows`` that a model was trained or validated on.

    Patients are compared within one source alone (the manifest's ``dataset``): elsewhere, the same
    id is another person. Two folders prepared from one source are one source.

    Raises
    ------
    ValueError
        If a dataset that the model learnt from is not there to be compared, or has changed since.
    """
    patients, shared = set(prepared.samples["patient_id"].iloc[rows]), set()
    for run in ancestry(result):
        learnt = _taught(run)
        if learnt.manifest["dataset"] == prepared.manifest["dataset"]:
            samples = results.divided(learnt, run.config.split).samples
            shared |= patients & set(samples.loc[samples["split"] != "test", "patient_id"])
    return shared


def _taught(run: RunResult) -> Prepared:
    """Return the dataset that a run was trained on, unless other eyes bear its name by now."""
    learnt = datasets.open_dataset(run.config.dataset)
    if learnt.hash != run.resolved["dataset_hash"]:
        raise ValueError(
            f"{run.run_id}: dataset {run.config.dataset!r} was prepared anew after this run, so "
            "whose eyes taught it is not known: prepare the files of then again, or train it again"
        )
    return learnt
