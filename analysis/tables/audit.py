"""The audit of published numbers, formatted wide."""

from __future__ import annotations

import pandas as pd

from analysis.presentation.text import MISSING, captioned
from analysis.published.audit.cells import CONTRADICTION, KINDS, VERDICTS, YARDSTICK
from analysis.published.audit.text import condense, quantity_range


def audit_wide(findings: pd.DataFrame) -> pd.DataFrame:
    """Return the findings of :func:`analysis.published.audit.audit`, claims before consistency
    and our yardsticks, in each what does not hold first, and like findings as one row."""
    rows = condense(findings)
    rank = rows["kind"].map(list(KINDS).index) * len(VERDICTS) + rows["verdict"].map(VERDICTS.index)
    wide = [
        {
            "Kind": "our yardstick" if row["kind"] == YARDSTICK else row["kind"],
            "Verdict": row["verdict"],
            "Edition": row["edition"] or MISSING,
            "Table": row["table"] or MISSING,
            "Claim": row["claim"],
            **_numbers(row),
            "Reading": row["reading"] or row["detail"] or MISSING,
        }
        for _, row in rows.loc[rank.sort_values(kind="stable").index].iterrows()
    ]
    heads = ["Kind", "Verdict", "Edition", "Table", "Claim", "Published", "Recomputed", "Reading"]
    return captioned(
        wide or {head: [] for head in heads},
        "Audit of the published numbers (real data, not the phantom): each claim that the numbers "
        "printed beside it can confirm or refute. It holds when the recomputed number agrees with "
        "the printed one within the rounding of the printed digits. Contradictions give both "
        "printed numbers. A number that both editions print counts once. Kind: a claim of the "
        "paper; the consistency of its numbers; or a yardstick of ours, which it does not claim to "
        "pass. Reading: the assumption that the verdict rests on.",
    )


def _numbers(row: pd.Series) -> dict[str, str]:
    told, found = (quantity_range(row, name) for name in ("published", "recomputed"))
    if row["verdict"] == CONTRADICTION:
        return {"Published": f"{told} / {found}", "Recomputed": MISSING}
    return {"Published": told, "Recomputed": found}
