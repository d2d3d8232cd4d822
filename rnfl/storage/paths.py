"""Where the project keeps its files: the one place that knows folder names."""

from __future__ import annotations

import os
from pathlib import Path


def project_root() -> Path:
    """Return the folder of the checkout, or the working folder of an installed package.

    Returns
    -------
    Path
        The nearest place that holds ``pyproject.toml`` beside the package.
    """
    checkout = Path(__file__).resolve().parents[2]
    return checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()


def data_root() -> Path:
    """Return the data folder: ``$RNFL_DATA``, by default ``<project root>/data``."""
    override = os.environ.get("RNFL_DATA")
    return Path(override).expanduser().resolve() if override else project_root() / "data"


def prepared_root() -> Path:
    """Return the folder of prepared datasets, ``<data root>/prepared``."""
    return data_root() / "prepared"


def runs_root() -> Path:
    """Return the folder of finished and partial runs, ``<data root>/runs``."""
    return data_root() / "runs"


def cache_root() -> Path:
    """Return the folder of what can be made again at any time, ``<data root>/cache``."""
    return data_root() / "cache"
