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
from types import ModuleType
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
    """One figure: the module that draws it, from tables in the order of its draw's arguments.

    ``mark`` is what the figure says in its corner when it shows phantom data.
    """

    title: str
    module: ModuleType
    inputs: tuple[str, ...]
    mark: str = "phantom data"

    @property
    def draw(self) -> Callable[..., Figure]:
        """Function that draws it."""
        return self.module.draw

    @property
    def caption(self) -> str:
        """What it shows, in words."""
        return self.module.CAPTION


BESIDE_PUBLISHED = "phantom data, but for the symbols named published"
FIGURES: dict[str, FigureSpec] = {
    "00_quickstart": FigureSpec(
        "From one image to a thickness profile", quickstart, ("eyes.npz", "eyes.csv")
    ),
    "01_visualize_predictions": FigureSpec(
        "Template overfitting", overfitting, ("curves.parquet", "collapse.csv")
    ),
    "02_protocols": FigureSpec("Backbones and protocols", protocols, ("table1.csv", "history.csv")),
    "03_freezing": FigureSpec(
        "Freezing",
        freezing,
        (
            "runs.csv",
            "curves.csv",
            "table3a.csv",
            "regressions.csv",
            "published.csv",
            "comparisons.csv",
        ),
        BESIDE_PUBLISHED,
    ),
    "04_loss_complexity": FigureSpec(
        "Terms of the loss",
        loss_complexity,
        ("table3b.csv", "factorial.csv", "published.csv", "comparisons.csv"),
        BESIDE_PUBLISHED,
    ),
    "05_learning_rate": FigureSpec(
        "Learning rate", learning_rate, ("learning_rates.csv", "decay.csv")
    ),
    "06_cross_modality": FigureSpec(
        "Across modalities",
        cross_modality,
        ("quadrants.csv",),
        "grey: interval of the first row; domains named phantom are simulated",
    ),
    "07_fairness": FigureSpec("Fairness", fairness, ("fairness.csv", "effects.csv", "labels.csv")),
    "08_audit": FigureSpec(
        "Audit of the published numbers", audit, ("points.csv", "lines.csv", "errors.csv")
    ),
    "09_phantom": FigureSpec(
        "The phantom and its calibration", phantom, ("samples.npz", "calibration.csv")
    ),
    "10_pretraining": FigureSpec(
        "Pretraining of the packaged backbones", pretraining, ("losses.csv",)
    ),
    "11_agreement": FigureSpec(
        "Agreement with OCT",
        agreement,
        ("points.csv", "agreement.csv", "thickness.csv", "thinning.csv"),
    ),
    "12_learning_on_grape": FigureSpec(
        "What can be learnt from a hundred real eyes?",
        learning,
        ("quadrants.csv", "paired.csv", "external.csv"),
    ),
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
    text, waiting = {}, [FIGURES[stem].module.__name__, style.__name__]
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
