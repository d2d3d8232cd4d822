"""Sections of the study that need nothing but predictions, labels and demographics.

Each writes the tables of one notebook into ``<results>/<stem>/`` under the same names, from
predictions made elsewhere, and returns its conclusions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import agreement, collapse, fairness, tables
from analysis import conclusions as sentences
from analysis.accuracy import performance, quadrants
from analysis.agreement import MIN_EYES, thinning
from analysis.collapse import templates
from analysis.fairness import group_effects
from analysis.presentation import style
from analysis.resampling import DEFAULT, Resampling
from analysis.resampling.conditions import NO_BACKBONE
from rnfl.core import schema
from rnfl.core.demographics import present
from rnfl.storage import provenance
from rnfl.storage.malloc import freed_pages_kept

MAKER = "rnfl evaluate"
SHOWN = 3  # models whose profiles are drawn; every model is in the tables (ours)


@dataclass(frozen=True, eq=False)
class Study:
    """What is evaluated, and the settings of its statistics.

    ``predictions`` holds the models of ``runs`` and the baseline ``template``; ``note`` is added to
    every caption, and ``name`` is that of the set of eyes. ``healthy`` is the reference of
    :func:`analysis.agreement.thinning.thinning_table`.
    """

    predictions: pd.DataFrame
    samples: pd.DataFrame
    runs: pd.DataFrame
    phantom: bool
    note: str
    name: str
    resampling: Resampling = DEFAULT
    healthy: np.ndarray | pd.DataFrame | None = None

    @property
    def attributes(self) -> list[str]:
        """The attributes of the paper's mean gap that at least one eye has."""
        return present(self.samples, fairness.ATTRIBUTES)

    @property
    def shown(self) -> list[str]:
        """The models whose profiles are drawn, by their short names."""
        return style.order(self.runs["protocol"])[:SHOWN]

    @property
    def first(self) -> tuple[str, str]:
        """Backbone and protocol of the model that is shown where one is."""
        runs = self.runs.set_index("protocol")
        return runs.loc[self.shown[0], "backbone"], self.shown[0]

    @property
    def labels(self) -> pd.DataFrame:
        """One row per eye: the template's predictions, which hold every measured profile."""
        return self.predictions[self.predictions["run_id"] == "template"]

    def write(self, wide: pd.DataFrame, folder: Path, stem: str, note: str = "") -> None:
        """Write a formatted table with a note and the study's own in its caption."""
        tables.write(wide, folder, stem, f"{note} {self.note}".strip(), self.phantom)


@dataclass(frozen=True, eq=False)
class Section:
    """The long tables of a section by name, what follows from them, and what captions must add."""

    tables: dict[str, pd.DataFrame]
    conclusions: list[str]
    note: str = ""


def collapse_section(study: Study, folder: Path) -> Section:
    """Measures of collapse, and profiles of the same eyes (notebook 01)."""
    predictions, runs = study.predictions, study.runs
    if len(study.samples) > templates.K:
        first = runs.set_index("protocol").loc[study.shown[0], "run_id"]
        few, run = templates.plant(predictions, first)
        predictions = pd.concat([predictions, few], ignore_index=True)
        runs = pd.concat([runs, pd.DataFrame([run])[runs.columns]], ignore_index=True)
    curves = collapse.curves_table(predictions, runs, protocols=study.shown)
    provenance.write_parquet(folder / "curves.parquet", curves)
    table = collapse.collapse_table(predictions, runs, study.resampling)
    _write({"collapse": table}, folder)
    study.write(tables.collapse_wide(table), folder, "collapse")
    said = [*sentences.collapse(table), sentences.flat_sigma(table), sentences.response(table)]
    said += sentences.few_templates(table)
    note = ""
    if len(study.runs) > SHOWN:
        note = f"Profiles are drawn for {SHOWN} of {len(study.runs)} models."
    return Section({"collapse": table}, said, note)


def performance_section(study: Study, folder: Path) -> Section:
    """Table 1, and each model compared with the template (notebook 02)."""
    given = (study.predictions, study.samples, study.runs)
    table = performance.performance_table(*given, study.resampling, collapse.DEFINITIONS)
    if study.attributes:
        fair = fairness.fairness_table(*given, study.resampling, study.attributes)
        table = pd.concat([table, fair], ignore_index=True)
    comparisons = performance.paired_comparisons(
        study.predictions, study.runs, ("template",), resampling=study.resampling
    )
    _write({"table1": table, "comparisons": comparisons}, folder)
    study.write(tables.table1_wide(table), folder, "table1")
    study.write(tables.comparisons_wide(comparisons), folder, "comparisons")
    said = [sentences.best_cell(table), *sentences.differences(comparisons, "template")]
    return Section({"table1": table, "comparisons": comparisons}, said)


def quadrant_section(study: Study, folder: Path) -> Section:
    """Error of quadrant means (notebook 06)."""
    names = dict(zip(study.runs["run_id"], study.runs["protocol"], strict=True))
    frames = {
        names.get(run_id, run_id): schema.quadrant_frame(rows, study.samples)
        for run_id, rows in study.predictions.groupby("run_id", sort=False)
    }
    table = quadrants.quadrant_table(frames, study.name, study.resampling)
    _write({"quadrants": table}, folder)
    study.write(tables.table2_wide(table), folder, "table2")
    return Section({"quadrants": table}, sentences.sectors(table, ("template",)))


def fairness_section(study: Study, folder: Path) -> Section:
    """Group errors and gaps beside those of chance (notebook 07)."""
    given, have = (study.predictions, study.samples, study.runs), study.attributes
    table = fairness.fairness_table(*given, study.resampling, have)
    note = "" if len(have) == 3 else f"Here the attributes are {' and '.join(have)} only."
    cell = study.first
    wide = {
        "groups": tables.groups_wide(table, *cell),
        "fairness": tables.fairness_wide(table),
        "equity": tables.equity_wide(table),
    }
    found, said = {"fairness": table}, sentences.gaps_and_chance(table)
    if len(have) > 1:
        pairs = list(combinations(have, 2))
        crossed = fairness.intersections_table(*given, study.resampling, pairs)
        found["intersections"] = crossed
        wide["intersections"] = tables.groups_wide(crossed, *cell, fairness.MIN_PATIENTS)
        said.append(sentences.intersections(crossed))
    if len(have) == 3:  # the figure needs all of them
        eyes = study.samples.set_index("eye_id").loc[study.labels["eye_id"]].reset_index()
        truth = schema.matrix(study.labels, "target")
        labels = group_effects.label_effects(eyes, truth, study.resampling)
        effects = group_effects.group_effects(*given, study.resampling)
        found |= {"effects": effects, "labels": labels[labels["eyes"] == "all"]}
        wide["effects"] = tables.effects_wide(labels, effects, *cell)
    _write(found, folder)
    for stem, frame in wide.items():
        study.write(frame, folder, stem, note)
    return Section(found, said, note)


def agreement_section(study: Study, folder: Path) -> Section:
    """Bland-Altman, error by thickness and the detection of thinning (notebook 11)."""
    given = (study.predictions, study.runs)
    first = study.first
    found = {
        "points": agreement.points_table(*given, shown=[first, (NO_BACKBONE, "template")]),
        "agreement": agreement.agreement_table(*given, study.resampling),
        "thickness": agreement.thickness_table(*given, study.resampling),
    }
    said = [sentences.limits(found["agreement"]), sentences.proportional_bias(found["agreement"])]
    said.append(sentences.floor_effect(found["thickness"], *first))
    note = ""
    if study.healthy is not None:
        found["thinning"] = thinning.thinning_table(
            study.predictions, study.healthy, study.runs, study.resampling
        )
        said += [*sentences.thinning(found["thinning"], *first),
                 sentences.as_read(found["thinning"], *first)]  # fmt: skip
        note = "Here the healthy eyes are those of the reference that was given."
    else:
        said.append(
            "Thinning was not evaluated: what is thin is said by healthy eyes that the model "
            "learnt from, not by those evaluated; give them with --reference."
        )
    _write(found, folder)
    study.write(tables.agreement_wide(found["agreement"]), folder, "agreement")
    study.write(tables.thickness_wide(found["thickness"]), folder, "thickness")
    if "thinning" in found:
        study.write(tables.sensitivity_wide(found["thinning"]), folder, "sensitivity", note)
    return Section(found, said, note)


def _write(found: dict[str, pd.DataFrame], folder: Path) -> None:
    for name, table in found.items():
        provenance.write_csv(folder / f"{name}.csv", table)


SECTIONS: dict[str, Callable[[Study, Path], Section]] = {
    "01_visualize_predictions": collapse_section,
    "02_protocols": performance_section,
    "06_cross_modality": quadrant_section,
    "07_fairness": fairness_section,
    "11_agreement": agreement_section,
}


def needed(study: Study) -> list[str]:
    """Return the stems that a study has the data for."""
    without = set() if study.attributes else {"07_fairness"}
    without |= {"11_agreement"} if len(study.samples) < MIN_EYES else set()
    return [stem for stem in SECTIONS if stem not in without]


def write_sections(
    study: Study, results: Path, inputs: Mapping[str, str] | None = None
) -> dict[str, Section]:
    """Write every section that a study has the data for into ``<results>/<stem>/``.

    Parameters
    ----------
    study : Study
    results : Path
    inputs : mapping of str to str
        Names and hashes of the files that the tables came from.

    Returns
    -------
    dict of str to Section
        By stem.
    """
    found = {}
    for stem in needed(study):
        with freed_pages_kept():  # arrays over all eyes are made and freed all the time
            found[stem] = SECTIONS[stem](study, results / stem)
        tables.write_about(
            results / stem,
            phantom=study.phantom,
            preset=MAKER,
            run_ids=study.runs["run_id"],
            inputs=inputs,
            note=" ".join(filter(None, (study.note, found[stem].note))),
            conclusions=found[stem].conclusions,
        )
    return found
