"""The registry of datasets: a name leads to the module that prepares it.

A dataset has two functions: ``settings(name, source=None) -> dict``, all that decides the result,
and ``prepare(name, source=None) -> Prepared``, which ends in :func:`rnfl.datasets.write` with those
settings in the manifest. One of raw files is a class, :class:`rnfl.datasets.base.RawDataset`; the
phantom is a module. It is imported when one of its names is asked for, not before.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from types import ModuleType

from rnfl.storage import plugins


@dataclass(frozen=True)
class Dataset:
    """Names a dataset answers to, as a pattern and as a form to show, and where it is."""

    pattern: str
    form: str
    module: str  # under rnfl.datasets
    kind: str = ""  # class of the module; none where the module itself is the dataset


DATASETS = (
    Dataset(
        r"phantom-(slo|cfp)-[1-9]\d*(-[a-z]+[\d.]*)*",
        "phantom-{slo|cfp}-<eyes>[-s<seed>][-gap<0 to 1>] and more, as phantom-slo-2400",
        "phantom",
    ),
    Dataset(r"grape([-_]\w+)*", "grape[-<label>]", "grape", "Grape"),
    Dataset(r"harvard_gf([-_]\w+)*", "harvard_gf[-<label>]", "harvard_gf", "HarvardGF"),
    Dataset(r"fairfedmed([-_]\w+)*", "fairfedmed[-<label>]", "fairfedmed", "FairFedMed"),
    Dataset(r"folder([-_]\w+)*", "folder-<label>", "folder", "Folder"),
)


def is_registered(name: str) -> bool:
    """Return whether a dataset of the registry, or of an installed package, answers to a name."""
    return any(re.fullmatch(dataset.pattern, name) for dataset in DATASETS) or bool(_added(name))


def _added(name: str) -> str | None:
    """Return the dataset of an installed package that answers to ``<its name>[-<label>]``."""
    fits = (n for n in plugins.names("datasets") if re.fullmatch(rf"{re.escape(n)}(-\w+)*", name))
    return max(fits, key=len, default=None)


def find(name: str) -> type | ModuleType:
    """Return what prepares the dataset of this name.

    Raises
    ------
    ValueError
        For a name no dataset answers to, listing the valid forms.
    """
    for dataset in DATASETS:
        if re.fullmatch(dataset.pattern, name):
            module = importlib.import_module(f"rnfl.datasets.{dataset.module}")
            return getattr(module, dataset.kind) if dataset.kind else module
    if added := _added(name):
        return plugins.find("datasets", added, type | ModuleType)
    raise ValueError(f"dataset {name!r} is unknown: expected {forms()}")


def forms() -> str:
    """Return in words which names datasets answer to."""
    added = [f"{name}[-<label>], of an installed package" for name in plugins.names("datasets")]
    return "; ".join([*(dataset.form for dataset in DATASETS), *added])
