"""The ``rnfl`` command: each subcommand calls one or two functions and prints where things are."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import typer

from rnfl.cli import evaluate, predict, prepare, reproduce, train, verify
from rnfl.storage import errors

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="RNFL thickness profiles from fundus images: data, training, notebooks, figures.",
)
for command in (  # in the order that --help shows
    prepare.prepare,
    train.train,
    train.adapt,
    train.transfer,
    predict.predict,
    predict.calibrate,
    predict.export,
    predict.bundle,
    train.convert,
    train.backbones,
    evaluate.evaluate,
    evaluate.audit,
    evaluate.power,
    reproduce.figures,
    reproduce.notebook,
    reproduce.reproduce,
    verify.verify,
):
    app.command()(command)


def main() -> None:
    """Run the command; an error the user can act on is one message, not a traceback.

    SIGTERM unwinds the program as SIGINT does, so that nothing half-written is left; what is kept
    is said, and the exit status is 130 after SIGINT and 143 after SIGTERM.
    """
    together = int(os.environ.get("WORLD_SIZE", 1)) > 1
    if not together and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _leave)
    try:
        app()
    except SystemExit as end:
        errors.say_stopped("what was finished is kept, and nothing half-written is left", end)
        raise
    except (ValueError, FloatingPointError, ImportError, OSError, RuntimeError) as error:
        if os.environ.get("RNFL_TRACEBACK"):
            raise
        message = error.strerror if isinstance(error, OSError) and not error.filename else error
        said = "\n".join(map(str, [message or error, *getattr(error, "__notes__", ())]))
        said = f"error: {said}\n(RNFL_TRACEBACK=1 shows where it arose)"
        if together:
            # At once: threads of Gloo abort an interpreter that shuts down after its peers died.
            print(said, file=sys.stderr, flush=True)
            os._exit(1)
        sys.exit(said)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
