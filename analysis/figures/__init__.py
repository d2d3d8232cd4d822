"""Every figure of the project, redrawn from result tables alone: no torch, no models, no data.

``FIGURES`` maps the stem of a notebook to its figure. :func:`make` reads the tables in
``<results>/<stem>/``, draws, and writes ``<figures>/<stem>.png``, ``.pdf`` and ``.json``. On the
command line, ``python -m analysis.figures`` redraws every figure whose tables are there; with
``--check``, :func:`stale` says which figures and tables no longer belong together.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import (
    agreement,
    audit,
    camera_shift,
    cross_modality,
    fairness,
    freezing,
    image_quality,
    labels_and_time,
    learning,
    learning_rate,
    loss_complexity,
    mild_to_severe,
    output_scale,
    overfitting,
    parameter_efficient,
    phantom,
    pretraining,
    protocols,
    quickstart,
    self_pretraining,
    specialists,
    strategies,
    translation,
)
from analysis.presentation import style
from analysis.tables import ABOUT, read_about, table_hashes
from rnfl.storage import provenance, readers


class FigureSpec(NamedTuple):
    """One figure: what draws it, from tables in the order of its arguments, and says in words what
    it shows; ``mark`` is what stands in its corner when it shows eyes of a ``{phantom}``."""

    title: str
    draw: Callable[..., Figure]
    caption: str
    inputs: tuple[str, ...]
    mark: str = "{phantom} data"


BESIDE_PUBLISHED = "{phantom} data, but for the symbols named published"
DOMAINS = "grey: interval of the first row; domains named phantom are simulated ({phantom})"
FIGURES: dict[str, FigureSpec] = {
    stem: FigureSpec(title, module.draw, module.CAPTION, tuple(tables.split()), *mark)
    for stem, title, module, tables, *mark in (
        ("00_quickstart", "From one image to a thickness profile", quickstart,
         "eyes.npz eyes.csv"),
        ("01_visualize_predictions", "Template overfitting", overfitting,
         "curves.parquet collapse.csv"),
        ("02_protocols", "Backbones and protocols", protocols, "table1.csv history.csv"),
        ("03_freezing", "Freezing", freezing,
         "runs.csv curves.csv table3a.csv regressions.csv published.csv comparisons.csv",
         BESIDE_PUBLISHED),
        ("04_loss_complexity", "Terms of the loss", loss_complexity,
         "table3b.csv factorial.csv published.csv comparisons.csv", BESIDE_PUBLISHED),
        ("05_learning_rate", "Learning rate", learning_rate, "learning_rates.csv decay.csv"),
        ("06_cross_modality", "Across modalities", cross_modality, "quadrants.csv", DOMAINS),
        ("07_fairness", "Fairness", fairness, "fairness.csv effects.csv labels.csv"),
        ("08_audit", "Audit of the published numbers", audit, "points.csv lines.csv errors.csv"),
        ("09_phantom", "The phantom and its calibration", phantom,
         "samples.npz calibration.csv known.csv"),
        ("10_pretraining", "Pretraining of the packaged backbones", pretraining, "losses.csv"),
        ("11_agreement", "Agreement with OCT", agreement,
         "points.csv agreement.csv thickness.csv thinning.csv"),
        ("12_learning_on_grape", "What can be learnt from a hundred real eyes?", learning,
         "quadrants.csv paired.csv external.csv"),
        ("13_strategies", "Strategies of adaptation", strategies, "strategies.csv costs.csv"),
        ("14_parameter_efficient", "How few parameters may learn?", parameter_efficient,
         "parameters.csv comparisons.csv costs.csv"),
        ("15_output_scale", "Scale of the output", output_scale, "scales.csv"),
        ("16_self_pretraining", "Pretraining on the training pictures", self_pretraining,
         "errors.csv curves.csv"),
        ("17_specialist_or_generalist", "Specialist or generalist?", specialists,
         "errors.csv cells.csv"),
        ("18_image_quality", "Quality, or its match?", image_quality, "errors.csv heat.csv"),
        ("19_labels_and_time", "Labels and time saved", labels_and_time,
         "errors.csv histories.csv thinking.csv"),
        ("20_camera_shift", "From one camera to another", camera_shift,
         "ways.csv pictures.npz"),
        ("21_mild_to_severe", "Training from mild to severe", mild_to_severe,
         "robustness.csv eyes.npz"),
        ("22_translation", "Translation and enhancement", translation,
         "translation.csv pictures.npz"),
    )
}  # fmt: skip


def read(path: Path) -> Any:
    """Return a table (CSV, parquet) as a DataFrame, or arrays (npz) as a dict."""
    if path.suffix == ".csv":
        return readers.read_csv(path)
    if path.suffix == ".parquet":
        return readers.read_parquet(path)
    return readers.read_arrays(path)


def make(stem: str, results_dir: str | Path, figures_dir: str | Path) -> dict[str, Path]:
    """Draw one figure from ``<results_dir>/<stem>/`` and save it in ``figures_dir``.

    Returns
    -------
    dict
        Paths by ``"png"``, ``"pdf"`` and ``"json"``.

    Raises
    ------
    ValueError
        For an unknown stem.
    FileNotFoundError
        Naming the tables that are missing, ``about.json`` included.
    """
    if stem not in FIGURES:
        raise ValueError(f"figure {stem!r}: expected one of {', '.join(FIGURES)}")
    spec, folder = FIGURES[stem], Path(results_dir) / stem
    paths = [folder / name for name in (*spec.inputs, ABOUT)]
    if missing := [str(path) for path in paths[:-1] if not path.is_file()]:
        raise FileNotFoundError(f"{stem}: {', '.join(missing)} missing; run its notebook first")
    about = read_about(folder)
    with style.theme():
        figure = spec.draw(*map(read, paths[:-1]))
    caption = f"{spec.caption} {about['note']}".strip()
    path, code = Path(figures_dir) / stem, drawing_code(stem)
    return style.save_figure(figure, path, paths, caption, about, spec.mark, code)


def drawing_code(stem: str) -> str:
    """Return a hash of the code that draws a figure: its module, what it shares, and the style."""
    text, waiting = {}, [FIGURES[stem].draw.__module__, style.__name__]
    while waiting:
        name = waiting.pop()
        tree = ast.parse(Path(sys.modules[name].__file__).read_text(encoding="utf-8"))
        imported = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}
        waiting += [one for one in imported - text.keys() if one.startswith(f"{__name__}.")]
        text[name] = provenance.statements(tree)
    return provenance.sha256_json(text)[:16]


def available(results_dir: str | Path) -> list[str]:
    """Return the stems whose tables are all there."""
    return [
        stem
        for stem, spec in FIGURES.items()
        if all((Path(results_dir) / stem / name).is_file() for name in (*spec.inputs, ABOUT))
    ]


def make_all(results_dir: str | Path, figures_dir: str | Path) -> list[Path]:
    """Draw every figure whose tables are there and return the paths of the PNG files."""
    return [make(stem, results_dir, figures_dir)["png"] for stem in available(results_dir)]


def stale(results_dir: str | Path, figures_dir: str | Path) -> list[str]:
    """Return what is out of date or without origin, one sentence each; empty when all is well.

    A figure's sidecar holds the hashes of its tables and of the code that drew it; the
    ``about.json`` beside the tables holds the hash of each table, the runs and the hashes of what
    the tables came from. Where a hash no longer matches, something was changed and not made again.
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
    sidecar = readers.read_json(files[2])
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
