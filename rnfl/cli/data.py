"""Commands about data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from rnfl.cli.app import app


@app.command()
def prepare(
    name: Annotated[str, typer.Argument(help="dataset, such as phantom-slo-2400 or grape")],
    source: Annotated[Path | None, typer.Option(help="folder of raw files")] = None,
) -> None:
    """Prepare a dataset, unless that is done."""
    from rnfl import prepare as preparing

    prepared = preparing.prepare(name, source)
    typer.echo(f"{prepared.folder}: {json.dumps(prepared.manifest['counts'])}")
