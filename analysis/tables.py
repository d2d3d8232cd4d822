"""The paper's tables from long frames: formatted wide, as CSV, Markdown and LaTeX (booktabs)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.cells import NO_BACKBONE
from analysis.markup import latex, markdown
from analysis.style import look
from rnfl import provenance

ABOUT = "about.json"
MISSING = "—"
TABLE1_CAPTION = (
    "Prediction of the RNFL profile by backbone and protocol on the test eyes. R: correlation over "
    "angles per eye, over all eyes and angles pooled, and between eyes at each angle. Gap: largest "
    "minus smallest group MAE, averaged over age, sex and race; null gap: that expected from group "
    "labels permuted across patients. σ between: SD across eyes at each angle, with its "
    "ratio to that of the labels; σ flat: SD of all predictions together, as published. Covered: "
    "share of the way from the template (the training set's mean profile) to the oracle floor "
    "(the noise of the labels). Square brackets: 95 % percentile intervals, patients resampled, "
    "and seeds where there are several; ± SD over seeds."
)
TABLE2_CAPTION = (
    "Error of quadrant means by domain and method. Mean: average of the four quadrants' MAE. "
    "Global: error and correlation of each eye's mean of the four quadrants. Square brackets: "
    "95 % percentile intervals, patients resampled. The constant has no correlation."
)
COMPARISONS_CAPTION = (
    "Paired differences on the same eyes, row minus reference. Square brackets: 95 % percentile "
    "intervals, patients resampled, and seeds where there are several. p: predictions of whole "
    "patients exchanged at random, Holm-corrected over the comparisons of one metric."
)


METRIC_LABELS = {"mae": "MAE (µm)", "sigma_between": "σ between (µm)"}


def write_about(
    folder: Path,
    *,
    phantom: bool,
    profile: str,
    run_ids: Iterable[str] = (),
    dataset: str = "",
    note: str = "",
) -> Path:
    """Write ``about.json`` beside a notebook's tables: what every figure and report must say.

    Parameters
    ----------
    folder : Path
        ``<results>/<stem>``.
    phantom : bool
        Whether any of the tables shows phantom data.
    profile : str
        Preset that made them.
    run_ids : iterable of str
    dataset : str
    note : str
        Added to the caption of the figure, such as "One seed.".
    """
    value = {"phantom": bool(phantom), "profile": profile, "dataset": dataset, "note": note}
    run_ids = sorted(set(run_ids))
    return provenance.write_json(Path(folder) / ABOUT, {**value, "run_ids": run_ids})


def read_about(folder: Path) -> dict:
    """Return what :func:`write_about` wrote.

    Raises
    ------
    FileNotFoundError
        When the folder does not say whether its data are phantom.
    """
    path = Path(folder) / ABOUT
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: write it with analysis.tables.write_about")
    return json.loads(path.read_text(encoding="utf-8"))


def number(value: float, digits: int = 2) -> str:
    """Return a number with a true minus sign, a dash when missing.

    Examples
    --------
    >>> number(-0.456), number(float("nan")), number(-0.001)
    ('−0.46', '—', '0.00')
    """
    if not np.isfinite(value):
        return MISSING
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def with_interval(cell: Mapping[str, float], digits: int = 2) -> str:
    """Return ``estimate [low, high]``, without brackets where there is no interval.

    Examples
    --------
    >>> with_interval({"estimate": 4.2, "low": 4.0, "high": 4.5}, 1)
    '4.2 [4.0, 4.5]'
    """
    if not np.isfinite(cell["estimate"]) or not np.isfinite(cell["low"]):
        return number(cell["estimate"], digits)
    low, high = number(cell["low"], digits), number(cell["high"], digits)
    return f"{number(cell['estimate'], digits)} [{low}, {high}]"


_NOTHING = {"estimate": np.nan, "low": np.nan, "high": np.nan, "seed_sd": np.nan, "n_seeds": 1}


def _lookup(rows: pd.DataFrame, metric: str, attribute: str = "all", group: str = "all") -> dict:
    found = rows[(rows.metric == metric) & (rows.attribute == attribute) & (rows.group == group)]
    return {**_NOTHING, **(found.iloc[0].to_dict() if len(found) else {})}


def table1_wide(table: pd.DataFrame) -> pd.DataFrame:
    """Return Table 1 in the paper's columns (and those it lacks), formatted, one row per cell.

    Parameters
    ----------
    table : DataFrame
        Long, from :func:`analysis.performance.table1`.
    """
    wide = []
    for (backbone, protocol), rows in table.groupby(["backbone", "protocol"], sort=False):
        mae, gap = _lookup(rows, "mae"), _lookup(rows, "gap", "mean", "max-min")
        null = _lookup(rows, "null_gap", "mean", "max-min")
        covered = {
            key: value * 100 if key in ("estimate", "low", "high") else value
            for key, value in _lookup(rows, "covered").items()
        }
        spread = f" ± {number(mae['seed_sd'])}" if np.isfinite(mae["seed_sd"]) else ""
        wide.append({
            "Backbone": backbone if backbone == NO_BACKBONE else look(backbone).label,
            "Protocol": look(protocol).label,
            "MAE (µm)": with_interval(mae) + spread,
            "R per eye": number(_lookup(rows, "pearson_per_eye")["estimate"], 3),
            "R pooled": number(_lookup(rows, "pearson_pooled")["estimate"], 3),
            "R between eyes": with_interval(_lookup(rows, "pearson_between_eyes"), 3),
            "Gap (µm)": with_interval(gap),
            "Null gap (µm)": number(null["estimate"]),
            "σ between (µm)": with_interval(_lookup(rows, "sigma_between"), 1),
            "σ ratio": number(_lookup(rows, "sigma_ratio")["estimate"]),
            "σ flat (µm)": number(_lookup(rows, "sigma_flat")["estimate"], 1),
            "Covered (%)": with_interval(covered, 0),
            "Eyes": str(int(mae["n"])),
            "Seeds": str(int(mae["n_seeds"])),
        })  # fmt: skip
    return pd.DataFrame(wide)


def table2_wide(quadrants: pd.DataFrame) -> pd.DataFrame:
    """Return Table 2, formatted, one row per domain and method.

    Parameters
    ----------
    quadrants : DataFrame
        Long, from :func:`analysis.quadrants.quadrant_table`, one or more domains.
    """
    wide = []
    for (domain, method), rows in quadrants.groupby(["domain", "method"], sort=False):

        def cell(metric: str, group: str, rows: pd.DataFrame = rows) -> dict:
            return _lookup(rows, metric, "quadrant", group)

        wide.append({
            "Domain": domain,
            "Method": look(method).label,
            **{f"{name} (µm)": with_interval(cell("mae", name), 1) for name in "SNIT"},
            "Mean (µm)": with_interval(cell("mae", "mean")),
            "Global (µm)": with_interval(cell("mae", "global"), 1),
            "Bias (µm)": with_interval(cell("bias", "global"), 1),
            "R global": with_interval(cell("r", "global")),
            "Eyes": str(int(cell("mae", "global").get("n", 0))),
        })  # fmt: skip
    return pd.DataFrame(wide)


def comparisons_wide(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Return paired comparisons, formatted, one row per comparison."""
    return pd.DataFrame({
        "Backbone": [look(name).label for name in comparisons.backbone],
        "Protocol": [look(name).label for name in comparisons.protocol],
        "Against": [look(name).label for name in comparisons.against],
        "Metric": [METRIC_LABELS.get(name, name) for name in comparisons.metric],
        "Difference": [with_interval(row) for row in comparisons.to_dict("records")],
        "p (Holm)": ["<0.001" if p < 0.001 else number(p, 3) for p in comparisons.p_holm],
    })  # fmt: skip


def write(
    wide: pd.DataFrame, folder: Path, stem: str, caption: str, phantom: bool
) -> dict[str, Path]:
    """Write a wide table as ``<stem>_wide.csv``, ``<stem>.md`` and ``<stem>.tex``.

    ``phantom`` puts "Phantom data." at the head of the caption.

    Returns
    -------
    dict
        Paths by ``"csv"``, ``"md"`` and ``"tex"``.
    """
    folder = Path(folder)
    caption = f"Phantom data. {caption}" if phantom else caption
    return {
        "csv": provenance.write_csv(folder / f"{stem}_wide.csv", wide),
        "md": provenance.write_text(folder / f"{stem}.md", markdown(wide, caption)),
        "tex": provenance.write_text(folder / f"{stem}.tex", latex(wide, caption, stem)),
    }
