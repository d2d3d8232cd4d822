"""Adapting vision foundation models to RNFL thickness, with statistics that say what to believe.

What people type lies here; each name is imported when it is first used, so that ``import rnfl``
loads neither torch nor pandas.
"""

import os
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

# Nothing is told to anybody of who uses this and how, whatever a library's default is.
os.environ.update(
    dict.fromkeys(("DO_NOT_TRACK", "HF_HUB_DISABLE_TELEMETRY", "DISABLE_TELEMETRY"), "1")
)

try:
    __version__ = version("rnfl")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "unknown"

# Name → the module that holds it.
_HOMES = {
    "Prepared": "rnfl.datasets.prepared",
    "load": "rnfl.datasets.prepared",
    "write": "rnfl.datasets.prepared",
    "prepare": "rnfl.datasets",
    "Protocol": "rnfl.training.protocols",
    "RunConfig": "rnfl.training.config",
    "RunResult": "rnfl.runs.results",
    "run": "rnfl.runs.run",
    "predict_with": "rnfl.runs.predictions",
    "segment_with": "rnfl.runs.predictions",
    "load_run": "rnfl.runs.results",
    "find_run": "rnfl.runs.results",
    "load_model": "rnfl.runs.restore",
    "runs_table": "rnfl.runs.results",
    "predictions_of": "rnfl.runs.results",
    "histories_of": "rnfl.runs.results",
    "configs_of": "rnfl.runs.results",
    "template_predictions": "rnfl.runs.predictions",
    "oracle_predictions": "rnfl.runs.predictions",
    "turned_predictions": "rnfl.runs.predictions",
    "run_grid": "rnfl.study.grid",
}

__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'rnfl' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
