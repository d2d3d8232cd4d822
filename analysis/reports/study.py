"""One HTML file with everything: figures, tables, captions and where each came from.

The file stands alone: images are embedded, styles are inside, nothing is fetched from elsewhere.
Only the executed notebooks are linked, by relative path. What it looks like is in ``study.html``
beside this module, a template that escapes every text it is given.
"""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from analysis.figures import FIGURES
from analysis.presentation.sidecar import said_first
from analysis.tables import ABOUT, read_about
from rnfl.storage import provenance, readers

LONG = 40  # letters above which a cell's text is wrapped


def build(
    results_dir: str | Path,
    figures_dir: str | Path,
    path: str | Path,
    *,
    title: str,
    notebooks: str | Path | None = None,
    intro: str = "",
) -> Path:
    """Write the report of everything found in a results folder and a figures folder.

    Parameters
    ----------
    results_dir : Path
        Holds ``<stem>/about.json`` and the tables ``<stem>/*_wide.csv`` with their captions in
        ``<stem>/*.md``.
    figures_dir : Path
        Holds ``<stem>.png`` and its sidecar ``<stem>.json``.
    path : Path
        The HTML file, replaced in one step.
    title, intro : str
        Plain text.
    notebooks : Path, optional
        Folder of executed notebooks, linked as ``<stem>.html`` if there, else ``<stem>.ipynb``.

    Returns
    -------
    Path

    Raises
    ------
    FileNotFoundError
        When there is neither a figure nor a table.
    """
    results_dir, figures_dir, path = Path(results_dir), Path(figures_dir), Path(path)
    drawn = {one.stem for one in figures_dir.glob("*.png") if one.stem in FIGURES}
    tabled = {one.parent.name for one in results_dir.glob("*/*_wide.csv")}
    stems = sorted(drawn | tabled)
    if not stems:
        raise FileNotFoundError(f"no figure in {figures_dir} and no table in {results_dir}")
    sections = [_section(stem, results_dir, figures_dir) for stem in stems]
    for section in sections:
        section["notebook"] = notebooks and _link(section["stem"], path, Path(notebooks))
    abouts = [section["about"] for section in sections]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,  # a name that is misspelt in the template is an error
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    page = environment.get_template("study.html").render(
        title=title,
        intro=intro,
        presets=sorted({about["preset"] for about in abouts if "preset" in about}),
        phantom=said_first(*(about.get("phantom", 0) for about in abouts)),
        sections=sections,
        provenance={**provenance.commit(), "versions": provenance.versions()},
    )
    return provenance.write_text(path, page)


def _section(stem: str, results: Path, figures: Path) -> dict[str, Any]:
    """Return what the template shows of one notebook: its findings, figure, tables and origin."""
    image, record = figures / f"{stem}.png", _json(figures / f"{stem}.json")
    about = read_about(results / stem) if (results / stem / ABOUT).is_file() else {}
    return {
        "stem": stem,
        "title": FIGURES[stem].title if stem in FIGURES else stem.replace("_", " "),
        "conclusions": about.pop("conclusions", []),
        "image": image.is_file() and base64.b64encode(image.read_bytes()).decode("ascii"),
        "caption": record.pop("caption", ""),
        "drawn_from": record,
        "tables": [_table(one) for one in sorted((results / stem).glob("*_wide.csv"))],
        "about": about,
    }


def _table(path: Path) -> dict[str, Any]:
    """Return a formatted table: anchor, caption, columns with their class, and rows of text."""
    name = path.name.removesuffix("_wide.csv")
    frame = readers.read_csv(path, dtype=str, keep_default_na=False)
    text = path.with_name(f"{name}.md")  # begins with the table's caption
    caption = text.read_text("utf-8").split("\n\n")[0] if text.is_file() else path.stem
    return {
        "anchor": f"{path.parent.name}-{name}",
        "caption": caption,
        "subject": re.sub(r"^Phantom [\d and]*data\. ", "", caption).split(". ")[0].rstrip("."),
        "columns": [(column, _kind(frame[column])) for column in frame],
        "rows": frame.to_numpy().tolist(),
    }


def _kind(column: pd.Series) -> str:
    """Return the class of a column: none for numbers, 'text', 'text long' where it wraps."""
    if any(letter.isdigit() for text in column for letter in text[:2]):
        return ""
    return "text long" if column.str.len().max() > LONG else "text"


def _json(path: Path) -> dict:
    return readers.read_json(path) if path.is_file() else {}


def _link(stem: str, path: Path, notebooks: Path) -> str:
    """Return where a section's executed notebook lies as seen from the report, '' without one."""
    for suffix in (".html", ".ipynb"):
        target = notebooks / f"{stem}{suffix}"
        if target.is_file():
            return Path(os.path.relpath(target.resolve(), path.parent.resolve())).as_posix()
    return ""
