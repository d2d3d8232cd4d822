"""Commands about data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rnfl.cli.app import app


@app.command()
def prepare(
    name: Annotated[str, typer.Argument(help="dataset, such as phantom-slo-2400 or grape")],
    source: Annotated[Path | None, typer.Option(help="folder or archive of raw files")] = None,
) -> None:
    """Prepare a dataset, unless that is done; after an interruption, go on where it stopped."""
    from rnfl import datasets
    from rnfl.datasets.reading import kept_folders

    try:
        prepared = datasets.prepare(name, source)
    except KeyboardInterrupt:
        if kept_folders(name):
            typer.echo("interrupted: the same command goes on with the eyes not read yet", err=True)
        raise
    typer.echo("\n".join(_describe(prepared.folder, prepared.manifest)))


def _describe(folder: Path, manifest: dict) -> list[str]:
    """Say where a prepared dataset is, who is in it, who is not, and what to look at."""
    from rnfl.core.schema import SPLITS
    from rnfl.datasets import contact_sheet, summary

    counts = manifest["counts"]
    splits = ", ".join(f"{counts[split]:,} {split}" for split in SPLITS)
    eyes = f"{manifest['n']:,} {'phantom eyes' if manifest['phantom'] else 'eyes'}"
    lines = [
        f"{manifest['name']}: {eyes} of {counts['patients']:,} patients ({splits})",
        f"  {'folder':<14} {folder}",
    ]
    reasons: dict[str, int] = {}
    for one in manifest["exclusions"]:
        reasons[one["reason"]] = reasons.get(one["reason"], 0) + 1
    lines.append(f"  {'left out':<14} {len(manifest['exclusions']):,}")
    for reason, n in sorted(reasons.items(), key=lambda pair: -pair[1]):
        lines.append(f"  {'':<14} {n:>6,} {reason}")
    if "unsure" in manifest:
        n = len(manifest["unsure"])
        hint = ": first on the contact sheet, listed in manifest.json" if n else ""
        lines.append(f"  {'unsure disc':<14} {n:,}{hint}")
    for label, file in (("contact sheet", contact_sheet.FILE), ("summary", summary.MARKDOWN)):
        if (folder / file).is_file():
            lines.append(f"  {label:<14} {folder / file}")
        else:
            lines.append(f"  {label:<14} none: remove the folder and prepare it again to have one")
    return lines
