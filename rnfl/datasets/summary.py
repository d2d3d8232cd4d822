"""The summary of a prepared dataset: who is in it, how thick their RNFL is, and who was left out.

``summary.csv`` is long, one row per group and quantity; ``summary.md`` shows the same as tables.
Standard deviations are over eyes; two eyes of a patient count twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from rnfl.core.geometry import CLOCK_HOURS, N_ANGLES, QUADRANTS, sector_means
from rnfl.core.schema import RNFL_COLUMNS, TABLES
from rnfl.storage.escaping import markdown

CSV, MARKDOWN = "summary.csv", "summary.md"
ATTRIBUTES = ("split", "laterality", "sex", "race", "ethnicity", "severity")
COLUMNS = ("attribute", "group", "quantity", "unit", "n", "mean", "sd")
MISSING = "missing"


def measure(samples: pd.DataFrame, profiles: np.ndarray) -> pd.DataFrame:
    """Return what is averaged, one row per eye: age, RNFL thickness, share of angles missing.

    Thickness is that of the ``rnfl_*`` columns of ``samples`` where they are, else of the profiles;
    a sector of which more than half is missing has none.

    Parameters
    ----------
    samples : DataFrame of N rows
    profiles : ndarray (N, 360), µm, NaN where missing

    Returns
    -------
    DataFrame
        age (years), rnfl_mean, rnfl_S ... rnfl_T, rnfl_hour_1 ... rnfl_hour_12 (µm),
        angles_missing (%).
    """
    sectors = {"mean": np.ones(N_ANGLES, bool), **QUADRANTS}
    sectors |= {f"hour_{name}": arc for name, arc in CLOCK_HOURS.items()}
    columns = [f"rnfl_{name}" for name in sectors]
    found = pd.DataFrame(sector_means(profiles, sectors), columns=columns)
    for name in RNFL_COLUMNS:
        if name in samples:
            found[name] = samples[name].to_numpy(float)
    found.insert(0, "age", samples["age"].to_numpy(float))
    return found.assign(angles_missing=100 * np.isnan(profiles).mean(axis=1))


def summarise(
    samples: pd.DataFrame, profiles: np.ndarray, exclusions: Iterable[Mapping[str, Any]] = ()
) -> pd.DataFrame:
    """Return the summary: ``attribute, group, quantity, unit, n, mean, sd``.

    Parameters
    ----------
    samples : DataFrame of N rows
    profiles : ndarray (N, 360), µm, NaN where missing
    exclusions : iterable of mapping with ``reason``

    Returns
    -------
    DataFrame
        Counts of ``eyes`` and ``patients`` have no mean; of other quantities ``n`` is the number
        of eyes that have one. ``attribute`` is 'all', a column of samples or 'excluded', and a
        group 'missing' holds the eyes for which an attribute is unknown.
    """
    measured = measure(samples, profiles)
    rows = [row for group in _groups(samples) for row in _describe(*group, samples, measured)]
    for reason, n in Counter(str(one["reason"]) for one in exclusions).most_common():
        rows.append(("excluded", reason, "eyes", "", n, np.nan, np.nan))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _groups(samples: pd.DataFrame) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield attribute, group and mask (N,): groups in the schema's order, unknown ones last."""
    yield "all", "all", np.ones(len(samples), bool)
    for attribute in ATTRIBUTES:
        values = samples[attribute]
        for group in TABLES["samples"][attribute].values:
            if (values == group).any():
                yield attribute, group, (values == group).to_numpy()
        if values.isna().any():
            yield attribute, MISSING, values.isna().to_numpy()


def _describe(
    attribute: str, group: str, mask: np.ndarray, samples: pd.DataFrame, measured: pd.DataFrame
) -> Iterator[tuple]:
    head = attribute, group
    yield *head, "eyes", "", int(mask.sum()), np.nan, np.nan
    yield *head, "patients", "", samples.loc[mask, "patient_id"].nunique(), np.nan, np.nan
    for name, values in zip(measured, measured.to_numpy()[mask].T, strict=True):
        unit = {"age": "years", "angles_missing": "%"}.get(name, "µm")
        values = values[np.isfinite(values)]
        mean = float(values.mean()) if len(values) else np.nan
        sd = float(values.std(ddof=1)) if len(values) > 1 else np.nan
        yield *head, name, unit, len(values), mean, sd


def to_markdown(summary: pd.DataFrame, manifest: Mapping[str, Any]) -> str:
    """Return the summary as tables for a reader.

    Parameters
    ----------
    summary : DataFrame
        Of :func:`summarise`.
    manifest : mapping
        ``name``, ``modality``, ``phantom``; ``unsure`` and ``findings`` if any.
    """
    what = "phantom: simulated eyes" if manifest["phantom"] else "real eyes"
    lines = [f"# {markdown(manifest['name'])} ({manifest['modality']}; {what})", ""]
    lines += [*_table_of_groups(summary), "", *_sentences(summary, manifest), ""]
    hours = summary.query("attribute == 'all' and n > 0")
    hours = hours[hours["quantity"].str.startswith("rnfl_hour_")]
    if len(hours):
        lines += ["## RNFL by clock hour of a right eye (9 is temporal), µm", ""]
        names = hours["quantity"].str.removeprefix("rnfl_hour_")
        values = map(_mean_sd, hours.to_dict("records"))
        lines += [*_table(["hour", *names], [["mean (SD)", *values]]), ""]
    lines += ["## Left out", ""]
    left_out = summary[summary["attribute"] == "excluded"]
    reasons = [[row.group, f"{row.n:,}"] for row in left_out.itertuples()]
    lines += _table(["reason", "eyes"], reasons) if reasons else ["No eye was left out."]
    said = [f"- {markdown(one)}" for one in manifest.get("findings", ())]
    lines += ["", "## What was found and assumed", "", *said] if said else []
    return "\n".join(lines) + "\n"


def _table_of_groups(summary: pd.DataFrame) -> list[str]:
    shown = {"age": "age, years", "rnfl_mean": "RNFL mean, µm"}
    shown |= {f"rnfl_{name}": name for name in QUADRANTS}
    kept, unknown, rows = summary[summary["attribute"] != "excluded"], _unknown(summary), []
    for (attribute, group), part in kept.groupby(["attribute", "group"], sort=False):
        if group == MISSING and attribute in unknown:
            continue
        of = {row["quantity"]: row for row in part.to_dict("records")}
        label = "all" if attribute == "all" else f"{attribute}: {group}"
        counts = [f"{of[name]['n']:,}" for name in ("eyes", "patients")]
        rows.append([label, *counts, *(_mean_sd(of[name]) for name in shown)])
    return _table(["", "eyes", "patients", *shown.values()], rows)


def _unknown(summary: pd.DataFrame) -> list[str]:
    """Return the attributes that no eye has."""
    known = set(summary.loc[summary["group"] != MISSING, "attribute"])
    return [name for name in ATTRIBUTES if name in {*summary["attribute"]} - known]


def _sentences(summary: pd.DataFrame, manifest: Mapping[str, Any]) -> list[str]:
    """Say what a number of the first table does not."""
    everyone = summary[summary["attribute"] == "all"].set_index("quantity")
    n = int(everyone.loc["eyes", "n"])
    lines = ["Mean (SD over eyes). S, N, I, T are quadrants, µm."]
    lacking = {"age": "an age", "rnfl_mean": "an RNFL mean"}
    without = [f"{n - int(everyone.loc[k, 'n']):,} without {words}" for k, words in lacking.items()]
    missing = everyone.loc["angles_missing", "mean"]
    profiles = "no profiles" if missing == 100 else f"{missing:.1f} % of all angles have no value"
    lines.append(f"Of {n:,} eyes {' and '.join(without)}; {profiles}.")
    if unknown := _unknown(summary):
        lines.append(f"Unknown of every eye: {', '.join(unknown)}.")
    if "unsure" in manifest:
        kinds = Counter(said.split(":")[0] for one in manifest["unsure"] for said in one["doubts"])
        each = ", ".join(f"{kind} {n:,}" for kind, n in kinds.most_common())
        lines.append(
            f"Unsure are {len(manifest['unsure']):,}{f' ({each})' if each else ''}: they come "
            "first on the contact sheet, and `unsure` in manifest.json lists them."
        )
    return lines


def _mean_sd(row: Mapping[str, Any]) -> str:
    if not row["n"]:
        return "-"
    return f"{row['mean']:.1f}" + (f" ({row['sd']:.1f})" if row["n"] > 1 else "")


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Return a Markdown table, numbers to the right, columns as wide as they need."""
    header, *rows = ([markdown(cell) for cell in row] for row in (header, *rows))
    widths = [max(3, *map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(first: str, *others: str) -> str:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        return f"| {' | '.join([first.ljust(widths[0]), *cells])} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return [line(*row) for row in (header, rule, *rows)]
