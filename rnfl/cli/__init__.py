"""The ``rnfl`` command: each subcommand calls one or two functions and prints where things are."""

from __future__ import annotations

import os
import sys
from importlib import import_module

from rnfl.cli.app import app

# Each module adds its commands to the root when it is imported, in the order that --help shows.
for group in ("prepare", "train", "predict", "backbones", "evaluate", "reproduce"):
    import_module(f"rnfl.cli.{group}")


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
