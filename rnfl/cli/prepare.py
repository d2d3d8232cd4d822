"""Commands about data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer


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
    from rnfl.storage import errors

    try:
        prepared = datasets.prepare(name, source, resample)
    except (KeyboardInterrupt, SystemExit) as end:
        if kept_folders(name):
            errors.say_stopped("the same command goes on with the eyes not read yet", end)
        raise
    typer.echo("\n".join(_describe(prepared.folder, prepared.manifest)))


def _describe(folder: Path, manifest: dict) -> list[str]:
    """Say where a prepared dataset is, who is in it, who is not, and what to look at."""
    from rnfl.core.schema import SPLITS
    from rnfl.datasets import contact_sheet, summary

    counts, excluded = manifest["counts"], manifest["exclusions"]
    splits = ", ".join(f"{counts[split]:,} {split}" for split in SPLITS)
    eyes = f"{manifest['n']:,} {'phantom eyes' if manifest['phantom'] else 'eyes'}"
    rows = [("folder", folder), ("left out", f"{len(excluded):,}")]
    detailed = [one for one in excluded if one.get("detail")]
    example = {one["reason"]: f", as {one['id']}: {one['detail']}" for one in detailed[::-1]}
    for why, n in Counter(one["reason"] for one in excluded).most_common():
        rows.append(("", f"{n:>6,} {why}{example.get(why, '')}"))
    if (unsure := manifest.get("unsure")) is not None:
        hint = ": first on the contact sheet, listed in manifest.json" if unsure else ""
        rows.append(("unsure", f"{len(unsure):,}{hint}"))
        doubts = Counter(said.split(":")[0] for one in unsure for said in one.get("doubts", ()))
        rows += [("", f"{n:>6,} {kind}") for kind, n in doubts.most_common()]
    warnings = (text for text in manifest.get("findings", ()) if text.startswith("WARNING: "))
    rows += [("warning", text.removeprefix("WARNING: ")) for text in warnings]
    none = "none: remove the folder and prepare it again to have one"
    for label, file in (("contact sheet", contact_sheet.FILE), ("summary", summary.MARKDOWN)):
        rows.append((label, folder / file if (folder / file).is_file() else none))
    head = f"{manifest['name']}: {eyes} of {counts['patients']:,} patients ({splits})"
    return [head, *(f"  {label:<14} {said}" for label, said in rows)]
