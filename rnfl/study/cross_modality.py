"""Quadrants predicted across modalities: the models and baselines of Table 2, on each domain.

A quadrant frame holds predicted and measured means of the four quadrants (see
:func:`rnfl.core.schema.quadrant_frame`). A model is always shown eyes it was not trained on: on the
phantom those of the test split, elsewhere all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from rnfl import datasets
from rnfl.core import schema
from rnfl.runs.predictions import oracle_predictions, predict_with, template_predictions
from rnfl.runs.results import RunResult
from rnfl.study import baselines
from rnfl.study.presets import REFERENCE, Preset
from rnfl.training.config import RunConfig

Models = Mapping[str, Sequence[RunResult]]


def configs(study: Preset) -> dict[str, list[RunConfig]]:
    """Return the runs to transfer by training dataset: one backbone, both modalities, all seeds."""
    seeds = [study.config(study.featured, REFERENCE, seed) for seed in study.seeds]
    return {name: [replace(one, dataset=name) for one in seeds] for name in (study.slo, study.cfp)}


def model_quadrants(
    results: Sequence[RunResult], dataset: str, split: str | None = "test"
) -> pd.DataFrame:
    """Return the quadrant frame of trained models, one run per seed, on a prepared dataset."""
    tables = [predict_with(result, dataset, split) for result in results]
    samples = datasets.load(dataset).samples
    return schema.quadrant_frame(pd.concat(tables, ignore_index=True), samples)


def phantom_quadrants(models: Models, dataset: str) -> dict[str, pd.DataFrame]:
    """Return quadrant frames on a phantom's test split: template, label-noise floor and each model.

    Parameters
    ----------
    models : mapping of str to sequence of RunResult
        Name as it is to appear in the table, and its runs (seeds).
    dataset : str
        Prepared phantom; its training split makes the template.
    """
    ends = {"template": template_predictions, "oracle floor": oracle_predictions}
    samples = datasets.load(dataset).samples
    frames = {name: schema.quadrant_frame(end(dataset), samples) for name, end in ends.items()}
    return frames | {name: model_quadrants(runs, dataset) for name, runs in models.items()}


def external_quadrants(models: Models, dataset: str) -> dict[str, pd.DataFrame]:
    """Return quadrant frames on a dataset that no model was trained on, zero-shot.

    Beside the models stand a constant and PCA + ridge, which are cross-validated on this very
    dataset: they know its mean level. A transferred model has seen none of its eyes, but where it
    comes from a phantom and goes to GRAPE it knows that level in part: phantoms are calibrated to
    the means and SDs of GRAPE's quadrants and to its colours, but for those named ``-lei``, whose
    eyes are not (their cameras are).
    """
    zero_shot = {name: model_quadrants(runs, dataset, split=None) for name, runs in models.items()}
    prepared = datasets.load(dataset)
    return {name: one(prepared) for name, one in baselines.BY_NAME.items()} | zero_shot


def available(dataset: str | None) -> str:
    """Prepare an external dataset and return ``""``, or return why it cannot be had.

    Only the absence of its raw files is an answer; damaged or unexpected files are errors.
    """
    if dataset is None:
        return "this preset has no external dataset"
    try:
        datasets.prepare(dataset)
    except FileNotFoundError:
        return f"the files of {dataset} are not at hand, data/README.md says where to get them"
    return ""
