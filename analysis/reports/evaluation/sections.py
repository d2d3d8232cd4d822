"""Sections of the study that need nothing but predictions, labels and demographics.

Each makes the tables of one notebook, under the same names, from predictions made elsewhere, and
draws its conclusions; :func:`write_sections` writes them into ``<results>/<stem>/``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
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
CURVES = "curves"  # a table of whole profiles, written as parquet
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
    phantom: int
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
        return self.runs.set_index("protocol").loc[self.shown[0], "backbone"], self.shown[0]

    @property
    def given(self) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """What most statistics are given first: predictions, samples and runs."""
        return self.predictions, self.samples, self.runs

    @property
    def labels(self) -> pd.DataFrame:
        """One row per eye: the template's predictions, which hold every measured profile."""
        return self.predictions[self.predictions["run_id"] == "template"]


@dataclass(frozen=True, eq=False)
class Section:
    """Long tables and formatted ones by name, and what follows from them.

    ``note`` belongs to the figure, and to the captions of the tables in ``noted``.
    """

    tables: dict[str, pd.DataFrame]
    wide: dict[str, pd.DataFrame]
    conclusions: list[str]
    note: str = ""
    noted: Collection[str] = ()


def collapse_section(study: Study) -> Section:
    """Measures of collapse, and profiles of the same eyes (notebook 01)."""
    predictions, runs = study.predictions, study.runs
    if len(study.samples) > templates.K:
        first = runs.set_index("protocol").loc[study.shown[0], "run_id"]
        few, run = templates.plant(predictions, first)
        predictions = pd.concat([predictions, few], ignore_index=True)
        runs = pd.concat([runs, pd.DataFrame([run])[runs.columns]], ignore_index=True)
    curves = collapse.curves_table(predictions, runs, protocols=study.shown)
    table = collapse.collapse_table(predictions, runs, study.resampling)
    said = [*sentences.collapse(table), sentences.flat_sigma(table), sentences.response(table)]
    said += sentences.few_templates(table)
    n = len(study.runs)
    note = f"Profiles are drawn for {SHOWN} of {n} models." if n > SHOWN else ""
    wide = {"collapse": tables.collapse_wide(table)}
    return Section({"collapse": table, CURVES: curves}, wide, said, note)


def performance_section(study: Study) -> Section:
    """Table 1, and each model compared with the template (notebook 02)."""
    table = performance.performance_table(*study.given, study.resampling, collapse.DEFINITIONS)
    if study.attributes:
        fair = fairness.fairness_table(*study.given, study.resampling, study.attributes)
        table = pd.concat([table, fair], ignore_index=True)
    comparisons = performance.paired_comparisons(
        study.predictions, study.runs, ("template",), resampling=study.resampling
    )
    wide = {
        "table1": tables.table1_wide(table),
        "comparisons": tables.comparisons_wide(comparisons),
    }
    said = [sentences.best_cell(table), *sentences.differences(comparisons, "template")]
    return Section({"table1": table, "comparisons": comparisons}, wide, said)


def quadrant_section(study: Study) -> Section:
    """Error of quadrant means (notebook 06)."""
    names = dict(zip(study.runs["run_id"], study.runs["protocol"], strict=True))
    frames = {
        names.get(run_id, run_id): schema.quadrant_frame(rows, study.samples)
        for run_id, rows in study.predictions.groupby("run_id", sort=False)
    }
    table = quadrants.quadrant_table(frames, study.name, study.resampling)
    said = sentences.sectors(table, ("template",))
    return Section({"quadrants": table}, {"table2": tables.table2_wide(table)}, said)


def fairness_section(study: Study) -> Section:
    """Group errors and gaps beside those of chance (notebook 07)."""
    have, cell = study.attributes, study.first
    table = fairness.fairness_table(*study.given, study.resampling, have)
    wide = {
        "groups": tables.groups_wide(table, *cell),
        "fairness": tables.fairness_wide(table),
        "equity": tables.equity_wide(table),
    }
    found, said = {"fairness": table}, sentences.gaps_and_chance(table)
    if len(have) > 1:
        pairs = list(combinations(have, 2))
        crossed = fairness.intersections_table(*study.given, study.resampling, pairs)
        found["intersections"] = crossed
        wide["intersections"] = tables.groups_wide(crossed, *cell, fairness.MIN_PATIENTS)
        said.append(sentences.intersections(crossed))
    if len(have) == 3:  # the figure needs all of them
        eyes = study.samples.set_index("eye_id").loc[study.labels["eye_id"]].reset_index()
        truth = schema.matrix(study.labels, "target")
        labels = group_effects.label_effects(eyes, truth, study.resampling)
        effects = group_effects.group_effects(*study.given, study.resampling)
        found |= {"effects": effects, "labels": labels[labels["eyes"] == "all"]}
        wide["effects"] = tables.effects_wide(labels, effects, *cell)
    note = "" if len(have) == 3 else f"Here the attributes are {' and '.join(have)} only."
    return Section(found, wide, said, note, noted=wide)


def agreement_section(study: Study) -> Section:
    """Bland-Altman, error by thickness and the detection of thinning (notebook 11)."""
    given, cell = (study.predictions, study.runs), study.first
    limits = agreement.agreement_table(*given, study.resampling)
    thickness = agreement.thickness_table(*given, study.resampling)
    points = agreement.points_table(*given, shown=[cell, (NO_BACKBONE, "template")])
    found = {"points": points, "agreement": limits, "thickness": thickness}
    wide = {
        "agreement": tables.agreement_wide(limits),
        "thickness": tables.thickness_wide(thickness),
    }
    said = [sentences.limits(limits), sentences.proportional_bias(limits)]
    said.append(sentences.floor_effect(thickness, *cell))
    if study.healthy is None:
        said.append(
            "Thinning was not evaluated: what is thin is said by healthy eyes that the model "
            "learnt from, not by those evaluated; give them with --reference."
        )
        return Section(found, wide, said)
    thin = thinning.thinning_table(study.predictions, study.healthy, study.runs, study.resampling)
    said += [*sentences.thinning(thin, *cell), sentences.as_read(thin, *cell)]
    wide["sensitivity"] = tables.sensitivity_wide(thin)
    note = "Here the healthy eyes are those of the reference that was given."
    return Section(found | {"thinning": thin}, wide, said, note, noted=("sensitivity",))


SECTIONS: dict[str, Callable[[Study], Section]] = {
    "01_visualize_predictions": collapse_section,
    "02_protocols": performance_section,
    "06_cross_modality": quadrant_section,
    "07_fairness": fairness_section,
    "11_agreement": agreement_section,
}


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
    without = set() if study.attributes else {"07_fairness"}
    without |= {"11_agreement"} if len(study.samples) < MIN_EYES else set()
    found = {}
    for stem in (stem for stem in SECTIONS if stem not in without):
        folder = results / stem
        with freed_pages_kept():  # arrays over all eyes are made and freed all the time
            section = found[stem] = SECTIONS[stem](study)
        for name, table in section.tables.items():
            if name == CURVES:
                provenance.write_parquet(folder / f"{name}.parquet", table)
            else:
                provenance.write_csv(folder / f"{name}.csv", table)
        for name, table in section.wide.items():
            note = f"{section.note if name in section.noted else ''} {study.note}".strip()
            tables.write(table, folder, name, note, study.phantom)
        tables.write_about(
            folder,
            phantom=study.phantom,
            preset=MAKER,
            run_ids=study.runs["run_id"],
            inputs=inputs,
            note=" ".join(filter(None, (study.note, section.note))),
            conclusions=section.conclusions,
        )
    return found
