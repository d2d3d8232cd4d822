"""The command line's root, to which the modules of this package add their commands."""

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="RNFL thickness profiles from fundus images: data, training, notebooks, figures.",
)
