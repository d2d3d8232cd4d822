"""Commands about data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from rnfl.cli.app import app


@app.command()
def prepare(
    name: Annotated[str, typer.Argument(help="dataset, such as phantom-slo-2400 or grape")],
    source: Annotated[Path | None, typer.Option(help="folder or archive of raw files")] = None,
    resample: Annotated[
        bool, typer.Option(help="profiles may have another number of points than 360")
    ] = False,
) -> None:
    """Prepare a dataset, unless that is done; after an interruption, go on where it stopped."""
    from rnfl import datasets
    from rnfl.datasets.reading import kept_folders

    try:
        prepared = datasets.prepare(name, source, resample)
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
    reasons = Counter(one["reason"] for one in manifest["exclusions"])
    lines.append(f"  {'left out':<14} {len(manifest['exclusions']):,}")
    detailed = [one for one in manifest["exclusions"] if one.get("detail")]
    example = {one["reason"]: f", as {one['id']}: {one['detail']}" for one in detailed[::-1]}
    lines += [f"  {'':<14} {n:>6,} {why}{example.get(why, '')}" for why, n in reasons.most_common()]
    if "unsure" in manifest:
        hint = ": first on the contact sheet, listed in manifest.json"
        lines.append(
            f"  {'unsure':<14} {len(manifest['unsure']):,}{hint * bool(manifest['unsure'])}"
        )
        doubts = (
            said.split(":")[0] for one in manifest["unsure"] for said in one.get("doubts", ())
        )
        lines += [f"  {'':<14} {n:>6,} {kind}" for kind, n in Counter(doubts).most_common()]
    warnings = (text for text in manifest.get("findings", ()) if text.startswith("WARNING: "))
    lines += [f"  {'warning':<14} {text.removeprefix('WARNING: ')}" for text in warnings]
    for label, file in (("contact sheet", contact_sheet.FILE), ("summary", summary.MARKDOWN)):
        if (folder / file).is_file():
            lines.append(f"  {label:<14} {folder / file}")
        else:
            lines.append(f"  {label:<14} none: remove the folder and prepare it again to have one")
    return lines
