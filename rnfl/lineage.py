"""What a model has seen: the patients it learnt from, through all the runs it started from."""

from collections.abc import Iterator

import numpy as np

from rnfl import runs
from rnfl.prepare import Prepared
from rnfl.runs import RunResult


def ancestry(result: RunResult) -> Iterator[RunResult]:
    """Yield a run, the run it started from, the one that started from, and so on."""
    yield result
    while result.config.start is not None:
        result = runs.recorded(result.config.start)
        yield result


def shared_patients(result: RunResult, prepared: Prepared, rows: np.ndarray) -> set[str]:
    """Return the patients of ``rows`` that a model was trained or validated on.

    Patients are compared within one source alone (the manifest's ``dataset``): elsewhere, the same
    id is another person. Two folders prepared from one source are one source.

    Raises
    ------
    ValueError
        If a dataset that the model learnt from is not there to be compared.
    """
    patients, shared = set(prepared.samples["patient_id"].iloc[rows]), set()
    for run in ancestry(result):
        learnt = runs.open_dataset(run.config.dataset)
        if learnt.manifest["dataset"] == prepared.manifest["dataset"]:
            samples = runs.divided(learnt, run.config.split).samples
            shared |= patients & set(samples.loc[samples["split"] != "test", "patient_id"])
    return shared
