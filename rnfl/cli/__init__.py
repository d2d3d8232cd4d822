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
    """Run the command; an error the user can act on is one message, not a traceback.

    Interrupted training has said what is saved; the exit status is 130 after SIGINT and 143 after
    SIGTERM.
    """
    try:
        app()
    except (ValueError, FloatingPointError, ImportError, OSError, RuntimeError) as error:
        if os.environ.get("RNFL_TRACEBACK"):
            raise
        message = error.strerror if isinstance(error, OSError) and not error.filename else error
        lines = [message or error, *getattr(error, "__notes__", ())]
        said = "\n".join(map(str, lines))
        sys.exit(f"error: {said}\n(RNFL_TRACEBACK=1 shows where it arose)")
