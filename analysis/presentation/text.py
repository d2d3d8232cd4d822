"""How numbers are printed, and a table on disk: as CSV, Markdown and LaTeX (booktabs)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.presentation.sidecar import said_first
from rnfl.storage import escaping, provenance

MISSING = "—"


def number(value: float, digits: int = 2, signed: bool = False) -> str:
    """Return a number with a true minus sign (and a plus if ``signed``), a dash when missing.

    Examples
    --------
    >>> number(-0.456), number(float("nan")), number(-0.001)
    ('−0.46', '—', '0.00')
    >>> number(1.26, 1, signed=True), number(0.01, 1, signed=True)
    ('+1.3', '0.0')
    """
    if not np.isfinite(value):
        return MISSING
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        return text.removeprefix("-")
    return f"+{text}" if signed and value > 0 else text.replace("-", "−")


def with_interval(
    cell: Mapping[str, float], digits: int = 2, unit: str = "", signed: bool = False
) -> str:
    """Return ``estimate unit [low, high]``, without brackets where there is no interval.

    Examples
    --------
    >>> with_interval({"estimate": 4.2, "low": 4.0, "high": 4.5}, 1)
    '4.2 [4.0, 4.5]'
    >>> with_interval({"estimate": 0.5, "low": -0.1, "high": 1.1}, 1, " µm", signed=True)
    '+0.5 µm [−0.1, +1.1]'
    """
    estimate, low, high = (number(cell[end], digits, signed) for end in ("estimate", "low", "high"))
    if estimate == MISSING:
        return MISSING
    return f"{estimate}{unit}" if low == MISSING else f"{estimate}{unit} [{low}, {high}]"


def percent(cell: Mapping[str, float], unit: str = "") -> str:
    """Return a share with its interval in whole percent.

    Examples
    --------
    >>> percent({"estimate": 0.64, "low": 0.47, "high": 0.77}, " %")
    '64 % [47, 77]'
    """
    return with_interval({end: 100 * cell[end] for end in ("estimate", "low", "high")}, 0, unit)


def p_value(p: float) -> str:
    """Return a p-value as a table prints it.

    Examples
    --------
    >>> p_value(0.0004), p_value(0.0312), p_value(float("nan"))
    ('<0.001', '0.031', '—')
    """
    return "<0.001" if p < 0.001 else number(p, 3)


_NOTHING = dict.fromkeys(("estimate", "low", "high", "seed_sd", "p_holm"), np.nan) | {"n_seeds": 1}
#: How captions say what brackets are.
RESAMPLED = "95 % intervals, patients resampled, and seeds where there are several"
BRACKETS = f"Square brackets: {RESAMPLED}"


def lookup(rows: pd.DataFrame, metric: str, attribute: str = "all", group: str = "all") -> dict:
    """Return the row of a metric, attribute and group of one cell; NaN where there is none."""
    found = rows[(rows.metric == metric) & (rows.attribute == attribute) & (rows.group == group)]
    return {**_NOTHING, **(found.iloc[0].to_dict() if len(found) else {})}


def found(rows: pd.DataFrame, key: Hashable) -> dict:
    """Return the row of an indexed table; NaN where there is none."""
    return {**_NOTHING, **(rows.loc[key].to_dict() if key in rows.index else {})}


def captioned(rows: list[dict[str, str]] | dict[str, list[str]], caption: str) -> pd.DataFrame:
    """Return formatted rows (or columns) as a table that knows its caption, for :func:`write`."""
    wide = pd.DataFrame(rows)
    wide.attrs["caption"] = caption
    return wide


def write(
    wide: pd.DataFrame, folder: Path, stem: str, note: str, phantom: int | Sequence[int]
) -> dict[str, Path]:
    """Write a wide table as ``<stem>_wide.csv``, ``<stem>.md`` and ``<stem>.tex``.

    ``wide`` is from a maker of :mod:`analysis.tables`, as it came: pandas keeps its caption in
    ``attrs``. ``note``, such as how many seeds there are, is added to it, and ``phantom``,
    the version of the phantom whose eyes it shows (0: none), puts "Phantom 2 data." at its head.
    Paths are returned by ``"csv"``, ``"md"`` and ``"tex"``.

    Raises
    ------
    ValueError
        For a table without a caption.
    """
    if "caption" not in wide.attrs:
        raise ValueError(f"{stem}: the table has no caption; write what analysis.tables returned")
    folder = Path(folder)
    caption = f"{said_first(phantom)}{wide.attrs['caption']} {note}".strip()
    return {
        "csv": provenance.write_csv(folder / f"{stem}_wide.csv", wide),
        "md": provenance.write_text(folder / f"{stem}.md", markdown(wide, caption)),
        "tex": provenance.write_text(folder / f"{stem}.tex", latex(wide, caption, stem)),
    }


# Our own writers: pandas' to_markdown needs one more package, and its to_latex leaves the signs of
# the field (µ, σ, ≥, −) as they are, which the fonts of most journals' templates do not have.
def markdown(wide: pd.DataFrame, caption: str) -> str:
    """Return a table as GitHub Markdown under its caption."""
    lines = [wide.columns, ["---"] * len(wide.columns), *wide.astype(str).to_numpy()]
    cells = (map(escaping.markdown, line) for line in lines)
    body = "\n".join(f"| {' | '.join(line)} |" for line in cells)
    return f"{caption}\n\n{body}\n"


def latex(wide: pd.DataFrame, caption: str, label: str) -> str:
    """Return a table as a LaTeX float (packages booktabs and graphicx).

    The leading text columns are flush left, the others flush right.
    """
    numeric = [any(letter.isdigit() for letter in "".join(wide[name])) for name in wide]
    first = next((i for i, right in enumerate(numeric) if right and i > 0), len(numeric))
    align = "".join("l" if i < min(first, 2) else "r" for i in range(len(numeric)))
    lines = (wide.columns, *wide.astype(str).to_numpy())
    head, *rows = (" & ".join(map(latex_text, line)) + r" \\" for line in lines)
    lines = [
        r"\begin{table*}", r"\centering", rf"\caption{{{latex_text(caption)}}}",
        rf"\label{{tab:{label}}}", r"\resizebox{\textwidth}{!}{%",
        rf"\begin{{tabular}}{{{align}}}", r"\toprule", head, r"\midrule",
        *rows, r"\bottomrule", r"\end{tabular}}", r"\end{table*}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"$<$", ">": r"$>$", "—": "---", "–": "--", "−": "$-$", "±": r"$\pm$", "≥": r"$\geq$",
    "µ": r"$\mu$", "σ": r"$\sigma$", "θ": r"$\theta$", "λ": r"$\lambda$", "→": r"$\to$",
    "°": r"$^\circ$", "·": r"$\cdot$", "²": r"$^2$", "\n": " ",
}  # fmt: skip


def latex_text(text: str) -> str:
    """Return text with everything that LaTeX reads as a command escaped.

    Examples
    --------
    >>> print(latex_text("σ_flat (µm), 5 %"))
    $\\sigma$\\_flat ($\\mu$m), 5 \\%
    """
    return "".join(_LATEX.get(letter, letter) for letter in str(text))
