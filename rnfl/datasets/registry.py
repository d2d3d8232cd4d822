"""The registry of datasets: a name leads to the module that prepares it.

A dataset is a module with two functions: ``settings(name, source=None) -> dict``, all that decides
the result, and ``prepare(name, source=None) -> Prepared``, which ends in
:func:`rnfl.datasets.write` with those settings in the manifest. It is imported when one of its
names is asked for, not before.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True)
class Dataset:
    """Names a module answers to, as a pattern and as a form to show, and the module's path."""

    pattern: str
    form: str
    module: str


DATASETS = (
    Dataset(
        r"phantom-(slo|cfp)-[1-9]\d*(-s\d+)?",
        "phantom-{slo|cfp}-<eyes>[-s<seed>], as phantom-slo-2400",
        "rnfl.datasets.phantom",
    ),
    Dataset(r"grape([-_]\w+)*", "grape[-<label>]", "rnfl.datasets.grape"),
    Dataset(r"harvard_gf([-_]\w+)*", "harvard_gf[-<label>]", "rnfl.datasets.harvard_gf"),
    Dataset(r"fairfedmed([-_]\w+)*", "fairfedmed[-<label>]", "rnfl.datasets.fairfedmed"),
    Dataset(r"folder([-_]\w+)*", "folder-<label>", "rnfl.datasets.folder"),
)


def is_registered(name: str) -> bool:
    """Return whether a dataset of the registry answers to this name."""
    return any(re.fullmatch(dataset.pattern, name) for dataset in DATASETS)


def find(name: str) -> ModuleType:
    """Return the module that prepares the dataset of this name.

    Raises
    ------
    ValueError
        For a name no dataset answers to, listing the valid forms.
    """
    for dataset in DATASETS:
        if re.fullmatch(dataset.pattern, name):
            return importlib.import_module(dataset.module)
    forms = "; ".join(dataset.form for dataset in DATASETS)
    raise ValueError(f"dataset {name!r} is unknown: expected {forms}")
