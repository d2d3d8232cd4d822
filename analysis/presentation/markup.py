"""A formatted table as text: Markdown for reading on screen, LaTeX for a paper."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd


def markdown(wide: pd.DataFrame, caption: str) -> str:
    """Return a table as GitHub Markdown under its caption."""
    lines = [list(wide.columns), ["---"] * len(wide.columns), *wide.astype(str).to_numpy().tolist()]
    body = "\n".join("| " + " | ".join(_cells(line, "|", r"\|")) + " |" for line in lines)
    return f"{caption}\n\n{body}\n"


def _cells(line: Sequence[str], old: str, new: str) -> list[str]:
    return [str(text).replace(old, new) for text in line]


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"$<$", ">": r"$>$", "—": "---", "–": "--", "−": "$-$", "±": r"$\pm$", "≥": r"$\geq$",
    "µ": r"$\mu$", "σ": r"$\sigma$", "θ": r"$\theta$", "λ": r"$\lambda$", "→": r"$\to$",
    "°": r"$^\circ$", "·": r"$\cdot$", "²": r"$^2$",
}  # fmt: skip


def latex_text(text: str) -> str:
    """Return text with everything that LaTeX reads as a command escaped.

    Examples
    --------
    >>> print(latex_text("σ_flat (µm), 5 %"))
    $\\sigma$\\_flat ($\\mu$m), 5 \\%
    """
    return "".join(_LATEX.get(letter, letter) for letter in str(text))


def latex(wide: pd.DataFrame, caption: str, label: str) -> str:
    """Return a table as a LaTeX float (packages booktabs and graphicx).

    The leading text columns are flush left, the others flush right.
    """
    numeric = [any(letter.isdigit() for letter in "".join(wide[name])) for name in wide]
    first = next((i for i, right in enumerate(numeric) if right and i > 0), len(numeric))
    align = "".join("l" if i < min(first, 2) else "r" for i in range(len(numeric)))
    rows = [" & ".join(map(latex_text, line)) + r" \\" for line in wide.astype(str).to_numpy()]
    head = " & ".join(map(latex_text, wide.columns)) + r" \\"
    lines = [
        r"\begin{table*}", r"\centering", rf"\caption{{{latex_text(caption)}}}",
        rf"\label{{tab:{label}}}", r"\resizebox{\textwidth}{!}{%",
        rf"\begin{{tabular}}{{{align}}}", r"\toprule", head, r"\midrule",
        *rows, r"\bottomrule", r"\end{tabular}}", r"\end{table*}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"
