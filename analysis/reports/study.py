"""One HTML file with everything: figures, tables, captions and where each came from.

The file stands alone: images are embedded, styles are inside, nothing is fetched from elsewhere.
Only the executed notebooks are linked, by relative path.
"""

from __future__ import annotations

import base64
import html
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from analysis.figures import FIGURES
from analysis.tables import ABOUT
from rnfl.storage import provenance

CSS = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 62rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; }
h2 { font-size: 1.25rem; margin-top: 3rem; border-top: 1px solid #ccc; padding-top: 1rem; }
nav ol { line-height: 1.6; } nav ul { font-size: .85rem; margin: 0 0 .3rem; padding-left: 1.2rem; }
a { color: #0b5fa5; } .said li { margin: .25rem 0; }
.note { background: #f3f3f3; padding: .6rem .9rem; border-left: 4px solid #7a7a7a; }
figure { margin: 1rem 0; } figure img { width: 100%; height: auto; }
figcaption, caption { font-size: .85rem; color: #444; text-align: left; padding: .4rem 0; }
.scroll { overflow-x: auto; margin: 1.5rem 0; }
table { border-collapse: collapse; font-size: .8rem; white-space: nowrap; }
caption { white-space: normal; }
th, td { padding: .25rem .6rem; text-align: right; font-variant-numeric: tabular-nums; }
th { border-top: 2px solid #1a1a1a; border-bottom: 1px solid #1a1a1a; font-weight: 600; }
tr:last-child td { border-bottom: 2px solid #1a1a1a; }
th.text, td.text { text-align: left; } td.long { white-space: normal; min-width: 14rem; }
details { font-size: .85rem; margin: .5rem 0; } details dl { margin: .4rem 0 .4rem 1rem; }
dd { margin-left: 1rem; overflow-wrap: anywhere; font-family: ui-monospace, monospace;
     font-size: .75rem; }
@media print { details { display: none; } h2 { break-before: page; } }
"""


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
    sections = {
        stem: _section(stem, results_dir / stem, figures_dir, path, notebooks and Path(notebooks))
        for stem in _stems(results_dir, figures_dir)
    }
    if not sections:
        raise FileNotFoundError(f"no figure in {figures_dir} and no table in {results_dir}")
    contents = "".join(_entry(stem, results_dir / stem) for stem in sections)
    body = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{html.escape(intro)}</p>" if intro else "",
        _notice(results_dir, list(sections)),
        f"<nav><ol>{contents}</ol></nav>",
        *sections.values(),
        _provenance({**provenance.commit(), "versions": provenance.versions()}),
    ]
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{CSS}</style>'
    head += '<meta name="viewport" content="width=device-width, initial-scale=1">'
    text = f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n'
    return provenance.write_text(path, text + "\n".join(filter(None, body)) + "\n</body></html>\n")


def _stems(results_dir: Path, figures_dir: Path) -> list[str]:
    """Return the stems that have a figure or a table, in the order of their numbers."""
    drawn = {path.stem for path in figures_dir.glob("*.png") if path.stem in FIGURES}
    tabled = {path.parent.name for path in results_dir.glob("*/*_wide.csv")}
    return sorted(drawn | tabled)


def _title(stem: str) -> str:
    return FIGURES[stem].title if stem in FIGURES else stem.replace("_", " ")


def _entry(stem: str, results: Path) -> str:
    """Return a line of the contents: a section, and its tables below it."""
    below = "".join(
        f'<li><a href="#{_anchor(path)}">{html.escape(_subject(path))}</a></li>'
        for path in _tables(results)
    )
    title = f'<a href="#{stem}">{html.escape(_title(stem))}</a>'
    return f"<li>{title}{f'<ul>{below}</ul>' if below else ''}</li>"


def _tables(results: Path) -> list[Path]:
    return sorted(results.glob("*_wide.csv"))


def _anchor(path: Path) -> str:
    return f"{path.parent.name}-{path.name.removesuffix('_wide.csv')}"


def _caption(path: Path) -> str:
    """Return the caption of a formatted table, which its Markdown sibling begins with."""
    sibling = path.with_name(path.name.removesuffix("_wide.csv") + ".md")
    if not sibling.is_file():
        return path.stem
    return sibling.read_text(encoding="utf-8").split("\n\n")[0]


def _subject(path: Path) -> str:
    """Return the first sentence of a table's caption, after its label."""
    return _caption(path).removeprefix("Phantom data. ").split(". ")[0].rstrip(".")


def _about(folder: Path) -> dict:
    path = folder / ABOUT
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _notice(results_dir: Path, stems: list[str]) -> str:
    abouts = [_about(results_dir / stem) for stem in stems]
    presets = sorted({about["preset"] for about in abouts if "preset" in about})
    lines = [f"Preset: {html.escape(', '.join(presets))}." if presets else ""]
    if any(about.get("phantom") for about in abouts):
        lines.append(
            "<strong>Phantom data.</strong> Unless a table or panel says otherwise, all eyes here "
            "are simulated; no number here is a result on patients."
        )
    text = " ".join(filter(None, lines))
    return f'<p class="note">{text}</p>' if text else ""


def _section(stem: str, results: Path, figures: Path, path: Path, notebooks: Path | None) -> str:
    parts = [f'<section id="{stem}"><h2>{html.escape(_title(stem))}</h2>']
    image, sidecar = figures / f"{stem}.png", figures / f"{stem}.json"
    record = json.loads(sidecar.read_text(encoding="utf-8")) if sidecar.is_file() else {}
    about = _about(results)
    said = "".join(f"<li>{html.escape(one)}</li>" for one in about.pop("conclusions", []))
    parts.append(f'<ul class="said">{said}</ul>' if said else "")
    if image.is_file():
        data = base64.b64encode(image.read_bytes()).decode("ascii")
        caption = html.escape(record.pop("caption", ""))
        parts.append(
            f'<figure><img src="data:image/png;base64,{data}" alt="{html.escape(_title(stem))}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
        parts.append(_provenance(record, "Where the figure came from"))
    parts += [_table(table) for table in _tables(results)]
    parts.append(_provenance(about, "Where the tables came from") if about else "")
    linked = _link(stem, path, notebooks)
    parts.append(f'<p><a href="{linked}">Executed notebook</a></p>' if linked else "")
    return "\n".join(filter(None, [*parts, "</section>"]))


def _table(path: Path) -> str:
    """Return a formatted table as HTML under its caption."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    kind = [
        "" if any(letter.isdigit() for text in frame[name] for letter in text[:2]) else "text"
        for name in frame
    ]
    long = [
        text and "text long" if max(map(len, frame[name]), default=0) > 40 else text
        for name, text in zip(frame, kind, strict=True)
    ]
    head = _row("th", frame.columns, kind)
    rows = "".join(_row("td", line, long) for line in frame.to_numpy())
    table = f"<table><caption>{html.escape(_caption(path))}</caption>{head}{rows}</table>"
    return f'<div class="scroll" id="{_anchor(path)}">{table}</div>'


def _row(tag: str, cells, kinds: list[str]) -> str:
    body = "".join(
        f'<{tag} class="{kind}">{html.escape(str(cell))}</{tag}>' if kind
        else f"<{tag}>{html.escape(str(cell))}</{tag}>"
        for cell, kind in zip(cells, kinds, strict=True)
    )  # fmt: skip
    return f"<tr>{body}</tr>"


def _link(stem: str, path: Path, notebooks: Path | None) -> str:
    for suffix in (".html", ".ipynb"):
        if notebooks and (target := notebooks / f"{stem}{suffix}").is_file():
            relative = os.path.relpath(target.resolve(), path.parent.resolve())
            return html.escape(Path(relative).as_posix())
    return ""


def _provenance(record: Mapping[str, object], title: str = "Provenance") -> str:
    """Return a record folded away: one line per key, mappings and lists joined."""
    lines = []
    for key, value in record.items():
        if isinstance(value, Mapping):
            value = "; ".join(f"{name}: {one}" for name, one in value.items())
        elif isinstance(value, list):
            value = ", ".join(map(str, value)) or "none"
        lines.append(f"<dt>{html.escape(key)}</dt><dd>{html.escape(str(value))}</dd>")
    return f"<details><summary>{title}</summary><dl>{''.join(lines)}</dl></details>"
