"""Commands about backbones and their published checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rnfl.cli.app import app


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(help="checkpoint as published")],
    backbone: Annotated[str, typer.Option(help="the backbone it belongs to, see rnfl backbones")],
    output: Annotated[Path | None, typer.Option(help="safetensors file to write")] = None,
    under: Annotated[str | None, typer.Option(help="key of the weights, if another")] = None,
    prefix: Annotated[str | None, typer.Option(help="what their names begin with")] = None,
    drop: Annotated[list[str] | None, typer.Option(help="beginning of names to leave out")] = None,
) -> None:
    """Convert a published checkpoint to safetensors, and say what became of its keys."""
    from rnfl.models.checkpoints import loading

    told = (under, prefix, drop) != (None, None, None)
    place = (under or "", prefix or "", drop or ()) if told else None
    written, report = loading.convert(file, backbone, output, place)
    typer.echo(f"{report.text}\n{written}")


@app.command()
def backbones(
    markdown: Annotated[bool, typer.Option(help="as the table of BACKBONES.md")] = False,
) -> None:
    """List the registered backbones and where their weights are."""
    from rnfl.models.checkpoints import files

    typer.echo(files.markdown() if markdown else files.listing(), nl=False)
