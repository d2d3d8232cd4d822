"""The ``rnfl`` command: each subcommand calls one or two functions and prints where things are."""

from __future__ import annotations

import os
import sys

import typer

from rnfl.cli import evaluate, predict, prepare, reproduce, train, verify

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
    predict.export,
    train.convert,
    train.backbones,
    evaluate.evaluate,
    evaluate.audit,
    reproduce.figures,
    reproduce.notebook,
    reproduce.reproduce,
    verify.verify,
):
    app.command()(command)


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
        said = "\n".join(map(str, [message or error, *getattr(error, "__notes__", ())]))
        said = f"error: {said}\n(RNFL_TRACEBACK=1 shows where it arose)"
        if int(os.environ.get("WORLD_SIZE", 1)) > 1:
            # At once: threads of Gloo abort an interpreter that shuts down after its peers died.
            print(said, file=sys.stderr, flush=True)
            os._exit(1)
        sys.exit(said)
