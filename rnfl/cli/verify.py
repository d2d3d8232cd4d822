"""The command that looks whether what is on disk is still what was written."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from rnfl.storage.provenance import refuse_damaged

WHOLE, UNKNOWN, DAMAGED, LEFT = "whole", "not known", "DAMAGED", "left over"


class Finding(NamedTuple):
    """What is so of one dataset, run, export or folder of results."""

    name: str
    what: str
    state: str
    said: str = ""


def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="names, or files of bundles; default: all")
    ] = None,
) -> None:
    """Hash datasets, runs, exports and committed results again: what is whole, what damaged.

    A bundle also reads its golden pairs again. The exit status is 1 when something is damaged or a
    part of it is missing.
    """
    wanted, found, seen = set(names or ()), [], set()
    # A bundle may lie anywhere, and where it is used there may be nothing else to look at.
    files = sorted(name for name in wanted if Path(name).is_file())
    others = findings() if not files or wanted - {*files} else ()
    for finding in chain((_bundle(Path(name), name) for name in files), others):
        if wanted and finding.name not in wanted:
            continue
        found.append(finding)
        seen.add(finding.name)
        typer.echo(f"{finding.state:9}  {finding.what} {finding.name}  {finding.said}".rstrip())
    if unknown := sorted(wanted - seen):
        raise ValueError(f"{', '.join(unknown)}: no dataset, run, export or result of that name")
    count = {state: sum(one.state == state for one in found) for state in (WHOLE, DAMAGED)}
    typer.echo(f"{count[WHOLE]} whole, {count[DAMAGED]} damaged, of {len(found)}")
    if count[DAMAGED]:
        raise typer.Exit(1)


def findings() -> Iterator[Finding]:
    """Yield what is so of everything under the data folder, and of the committed results."""
    from rnfl.inference.bundle import SUFFIX
    from rnfl.storage.paths import data_root, prepared_root, project_root, runs_root

    exported, committed = data_root() / "exported", project_root() / "data" / "results"
    for path in _entries(prepared_root()):
        yield Finding(path.name, "dataset", *_judged(_dataset, path))
    for path in _entries(runs_root()):
        if (path / "config.json").exists() or (path / "files.json").exists():
            yield Finding(path.name, "run", *_judged(_run, path))
    bundles = [path for path in _entries(exported) if path.name.endswith(SUFFIX)]
    for path in bundles:
        yield _bundle(path, path.name)
    for path in sorted({one.with_suffix("") for one in {*_entries(exported)} - {*bundles}}):
        yield Finding(path.name, "export", *_judged(_export, path))
    for path in _entries(committed):
        yield Finding(path.name, "results", *_judged(_results, path))
    for folder in (prepared_root(), runs_root(), exported, data_root() / "predictions"):
        for path in sorted(folder.rglob(".*.partial*")) if folder.exists() else ():
            yield Finding(path.name, "partial file", LEFT, f"of a killed call, in {path.parent}")
        for path in sorted((folder / ".partial").glob("*/")):
            yield Finding(path.name, "unfinished", LEFT, "the same command goes on with it")


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("[!.]*"))


def _judged(look, path: Path) -> tuple[str, str]:
    """Return the state of something and what is to be said of it."""
    try:
        said = look(path)
    except ValueError as error:
        return DAMAGED, str(error)
    return (UNKNOWN, said) if said else (WHOLE, "")


def _dataset(folder: Path) -> str:
    from rnfl import datasets
    from rnfl.datasets.prepared import FOR_PEOPLE

    manifest = datasets.load(folder, verify=True).manifest
    for name in FOR_PEOPLE:
        if (folder / name).exists():  # nothing is computed from them, and they may be removed
            expected = manifest["files"].get(name)
            refuse_damaged(folder / name, expected, "nothing is computed from it", anew=True)
    return ""


def _run(folder: Path) -> str:
    from rnfl.inference import bands
    from rnfl.runs import predictions, results

    run = results.load_run(folder)
    for name, expected in run.hashes.items():
        refuse_damaged(folder / name, expected, run.remedy, anew=True)
    remedy = "delete it, and it is predicted again"
    for name, expected in results.hashes_in(folder / predictions.KEPT, remedy).items():
        if (folder / name).exists():
            refuse_damaged(folder / name, expected, remedy, anew=True)
    bands.of_run(folder)  # its seal
    return "" if run.hashes else "it was finished before hashes were kept"


def _export(path: Path) -> str:
    from rnfl.storage import readers

    file, note = path.with_name(f"{path.name}.onnx"), path.with_name(f"{path.name}.json")
    remedy = f"delete {file} and {note.name}, and export the run again"
    about = readers.read_json(note, remedy)
    if not isinstance(about, dict) or "sha256" not in about:
        raise ValueError(f"{note} does not say what {file.name} is: {remedy}")
    refuse_damaged(file, about["sha256"], remedy, anew=True)
    return ""


def _bundle(path: Path, name: str) -> Finding:
    from rnfl.inference import bundle

    try:
        checked = bundle.verify(path)
    except (ValueError, FloatingPointError) as error:
        return Finding(name, "bundle", DAMAGED, str(error))
    except RuntimeError as error:  # without onnxruntime
        said = f"its bytes are what was written, its golden pairs were not read: {error}"
        return Finding(name, "bundle", UNKNOWN, said)
    said = f"{checked.pairs} golden pairs read again: curves within {checked.difference:.1e} of "
    said += f"the thickness, pixels within {checked.levels} grey levels"
    return Finding(name, "bundle", WHOLE, said)


def _results(folder: Path) -> str:
    from analysis.presentation.sidecar import ABOUT, read_about

    remedy = "check it out again, or execute its notebook"
    if not (folder / ABOUT).is_file():
        raise ValueError(f"{folder / ABOUT} is missing: {remedy}")
    for name, expected in read_about(folder)["tables"].items():
        refuse_damaged(folder / name, expected, remedy, anew=True)
    return ""
