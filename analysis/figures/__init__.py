"""Every figure of the project, redrawn from result tables alone: no torch, no models, no data.

``FIGURES`` maps the stem of a notebook to its figure. :func:`make` reads the tables in
``<results>/<stem>/``, draws, and writes ``<figures>/<stem>.png``, ``.pdf`` and ``.json``. On the
command line, ``python -m analysis.figures`` redraws every figure whose tables are there.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import (
    agreement,
    audit,
    cross_modality,
    fairness,
    freezing,
    learning,
    learning_rate,
    loss_complexity,
    overfitting,
    phantom,
    pretraining,
    protocols,
    quickstart,
)
from analysis.presentation import style
from analysis.tables import ABOUT, read_about
from rnfl.storage import provenance


@dataclass(frozen=True)
class FigureSpec:
    """One figure: the tables it needs, in the order of its draw function's arguments.

    ``mark`` is what the figure says in its corner when it shows phantom data.
    """

    stem: str
    title: str
    inputs: tuple[str, ...]
    draw: Callable[..., Figure]
    caption: str
    mark: str = "phantom data"


FIGURES: dict[str, FigureSpec] = {
    spec.stem: spec
    for spec in (
        FigureSpec(
            "00_quickstart",
            "From one image to a thickness profile",
            ("eyes.npz", "eyes.csv"),
            quickstart.draw,
            quickstart.CAPTION,
        ),
        FigureSpec(
            "01_visualize_predictions",
            "Template overfitting",
            ("curves.parquet", "collapse.csv"),
            overfitting.draw,
            overfitting.CAPTION,
        ),
        FigureSpec(
            "02_protocols",
            "Backbones and protocols",
            ("table1.csv", "history.csv"),
            protocols.draw,
            protocols.CAPTION,
        ),
        FigureSpec(
            "03_freezing",
            "Freezing",
            ("runs.csv", "curves.csv", "table3a.csv", "regressions.csv", "published.csv"),
            freezing.draw,
            freezing.CAPTION,
            mark="phantom data, but for the symbols named published",
        ),
        FigureSpec(
            "04_loss_complexity",
            "Terms of the loss",
            ("table3b.csv", "factorial.csv", "published.csv"),
            loss_complexity.draw,
            loss_complexity.CAPTION,
            mark="phantom data, but for the symbols named published",
        ),
        FigureSpec(
            "05_learning_rate",
            "Learning rate",
            ("learning_rates.csv", "decay.csv"),
            learning_rate.draw,
            learning_rate.CAPTION,
        ),
        FigureSpec(
            "06_cross_modality",
            "Across modalities",
            ("quadrants.csv",),
            cross_modality.draw,
            cross_modality.CAPTION,
            mark="domains named phantom are simulated",
        ),
        FigureSpec(
            "07_fairness",
            "Fairness",
            ("fairness.csv", "effects.csv", "labels.csv"),
            fairness.draw,
            fairness.CAPTION,
        ),
        FigureSpec(
            "08_audit",
            "Audit of the published numbers",
            ("points.csv", "lines.csv", "errors.csv"),
            audit.draw,
            audit.CAPTION,
        ),
        FigureSpec(
            "09_phantom",
            "The phantom and its calibration",
            ("samples.npz", "calibration.csv"),
            phantom.draw,
            phantom.CAPTION,
        ),
        FigureSpec(
            "10_pretraining",
            "Pretraining of the phantom backbones",
            ("losses.csv",),
            pretraining.draw,
            pretraining.CAPTION,
        ),
        FigureSpec(
            "11_agreement",
            "Agreement with OCT",
            ("points.csv", "agreement.csv", "thickness.csv", "thinning.csv"),
            agreement.draw,
            agreement.CAPTION,
        ),
        FigureSpec(
            "12_learning_on_grape",
            "What can be learnt from a hundred real eyes?",
            ("quadrants.csv", "paired.csv"),
            learning.draw,
            learning.CAPTION,
        ),
    )
}


def read(path: Path) -> Any:
    """Return a table (CSV, parquet) as a DataFrame, or arrays (npz) as a dict."""
    if path.suffix == ".csv":
        return pd.read_csv(path)
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    with np.load(path) as arrays:
        return dict(arrays)


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
    missing = [str(path) for path in paths[:-1] if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"{stem}: {', '.join(missing)} missing; run its notebook first")
    about = read_about(folder)
    with style.theme():
        figure = spec.draw(*map(read, paths[:-1]))
    return style.save_figure(
        figure,
        Path(figures_dir) / stem,
        inputs=paths,
        caption=" ".join(filter(None, (spec.caption, about["note"]))),
        run_ids=about["run_ids"],
        phantom=about["phantom"],
        mark=spec.mark,
        code=drawing_code(stem),
    )


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
