"""The ``rnfl`` command: each subcommand calls one or two functions and prints where things are."""

from __future__ import annotations

import os
import sys

from rnfl.cli import checkpoints, data, models, statistics, studies, use
from rnfl.cli.app import app
from rnfl.cli.studies import NOTEBOOKS

__all__ = [
    "NOTEBOOKS",
    "app",
    "checkpoints",
    "data",
    "main",
    "models",
    "statistics",
    "studies",
    "use",
]


def main() -> None:
    """Run the command; an error the user can act on is one message, not a traceback."""
    try:
        app()
    except (ValueError, FileNotFoundError, ConnectionError, RuntimeError) as error:
        if os.environ.get("RNFL_TRACEBACK"):
            raise
        sys.exit(f"error: {error}\n(RNFL_TRACEBACK=1 shows where it arose)")
