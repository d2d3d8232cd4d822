"""Do committed figures and tables belong together? Every link from a figure back to its runs.

A figure's sidecar holds the hashes of its tables and of the code that drew it; the ``about.json``
beside the tables holds the hash of each table, the runs and the hashes of what the tables came
from. Where a hash no longer matches, something was changed and not made again.
"""

from __future__ import annotations

import json
from pathlib import Path

from analysis.figures import FIGURES, drawing_code
from analysis.tables import ABOUT, read_about, table_hashes
from rnfl.storage import provenance


def stale(results_dir: str | Path, figures_dir: str | Path) -> list[str]:
    """Return what is out of date or without origin, one sentence each; empty when all is well.

    ``results_dir`` holds ``<stem>/`` with tables and ``about.json``, ``figures_dir`` the
    ``<stem>.png``, ``.pdf`` and ``.json``.
    """
    results_dir, figures_dir = Path(results_dir), Path(figures_dir)
    folders = sorted(path for path in results_dir.iterdir() if path.is_dir())
    found = [problem for folder in folders for problem in _stale_tables(folder)]
    drawn = {path.stem for path in figures_dir.iterdir()}
    for stem in sorted(drawn | {folder.name for folder in folders} & set(FIGURES)):
        problems = _stale_figure(stem, results_dir, figures_dir)
        found += [f"figure {stem}: {problem}" for problem in problems]
    return found


def _stale_tables(folder: Path) -> list[str]:
    if not (folder / ABOUT).is_file():
        return [f"tables {folder.name}: {ABOUT} is missing, so nothing says where they came from"]
    listed, now = read_about(folder)["tables"], table_hashes(folder)
    names = sorted(listed.keys() | now.keys())
    if changed := [name for name in names if listed.get(name) != now.get(name)]:
        return [f"tables {folder.name}: {', '.join(changed)} not as {ABOUT} lists them"]
    return []


def _stale_figure(stem: str, results_dir: Path, figures_dir: Path) -> list[str]:
    if stem not in FIGURES:
        return ["no notebook makes it"]
    files = [figures_dir / f"{stem}.{kind}" for kind in ("png", "pdf", "json")]
    if absent := [path.name for path in files if not path.is_file()]:
        return [f"{', '.join(absent)} missing"]
    sidecar = json.loads(files[2].read_text(encoding="utf-8"))
    problems = []
    for name, digest in sidecar["inputs"].items():
        table = results_dir / name
        if not table.is_file():
            problems.append(f"drawn from {name}, which is gone")
        elif provenance.sha256_file(table) != digest:
            problems.append(f"{name} has changed since it was drawn")
    if sidecar["code"] != drawing_code(stem):
        problems.append("the code that draws it has changed")
    for path in files[:2]:
        if sidecar["files"].get(path.name) != provenance.sha256_file(path):
            problems.append(f"{path.name} is not the file its sidecar describes")
    return problems
