"""The committed tables give the committed files again: every wide table, byte for byte, and every
sentence, word for word. What these makers print is therefore held to what readers have seen."""

import inspect
import json
import re

import pandas as pd
import pytest

from analysis import collapse, conclusions, published, tables
from analysis.published import ablations
from rnfl.storage.paths import project_root
from rnfl.study import lessons

RESULTS = project_root() / "data" / "results"
CELL = ("phantom_mae", "naive")  # the preset's featured backbone with the reference protocol


class Committed:
    """The long tables of one folder by name, read once."""

    def __init__(self, stem):
        self.folder = RESULTS / stem
        self.about = json.loads((self.folder / "about.json").read_text(encoding="utf-8"))

    def __getattr__(self, name):
        table = pd.read_csv(self.folder / f"{name}.csv")
        numeric = table.select_dtypes("number").columns
        return table.fillna(dict.fromkeys(table.columns.difference(numeric), ""))


def two_metrics(comparisons):
    return comparisons[comparisons["metric"].isin(["mae", "sigma_between"])]


WIDE = {  # stem of a notebook: stem of a table: the table, from the long ones beside it
    "01_visualize_predictions": {"collapse": lambda t: tables.collapse_wide(t.collapse)},
    "02_protocols": {
        "table1": lambda t: tables.table1_wide(t.table1),
        "comparisons": lambda t: tables.comparisons_wide(two_metrics(t.comparisons)),
        "table1_beside": lambda t: tables.beside_table1(t.table1, t.comparisons),
    },
    "03_freezing": {
        "table3a": lambda t: tables.freezing_wide(t.table3a, t.comparisons),
        "regressions": lambda t: tables.regressions_wide(t.regressions),
        "table3a_beside": lambda t: tables.beside_freezing(t.table3a, t.comparisons),
    },
    "04_loss_complexity": {
        "table3b": lambda t: tables.loss_wide(t.table3b, t.comparisons),
        "factorial": lambda t: tables.factorial_wide(t.factorial),
        "table3b_beside": lambda t: tables.beside_loss(t.table3b, t.comparisons),
    },
    "05_learning_rate": {
        "learning_rates": lambda t: tables.learning_rates_wide(t.learning_rates, t.comparisons),
    },
    "06_cross_modality": {
        "table2": lambda t: tables.table2_wide(t.quadrants),
        "table2_beside": lambda t: tables.beside_grape(t.quadrants),
    },
    "07_fairness": {
        "fairness": lambda t: tables.fairness_wide(t.fairness),
        "equity": lambda t: tables.equity_wide(t.fairness),
        "groups": lambda t: tables.groups_wide(t.fairness, *CELL),
        "intersections": lambda t: tables.groups_wide(t.intersections, *CELL, min_patients=8),
        "differences": lambda t: tables.gap_differences_wide(t.differences),
        "effects": lambda t: tables.effects_wide(t.labels, t.effects, *CELL),
    },
    "08_audit": {"audit": lambda t: tables.audit_wide(t.audit)},
    "11_agreement": {
        "agreement": lambda t: tables.agreement_wide(t.agreement),
        "thickness": lambda t: tables.thickness_wide(t.thickness),
        "sensitivity": lambda t: tables.sensitivity_wide(t.thinning),
    },
    "12_learning_on_grape": {
        "learning": lambda t: tables.learning_wide(t.quadrants, t.paired),
        "selection": lambda t: tables.selection_wide(t.quadrants, t.paired, t.chosen),
        "other_subjects": lambda t: tables.other_subjects_wide(t.external, t.quadrants, t.paired),
    },
    "13_strategies": {
        "strategies_table": lambda t: tables.strategies_wide(t.strategies, t.comparisons, t.costs),
    },
    "14_parameter_efficient": {
        "parameters_table": lambda t: tables.strategies_wide(t.parameters, t.comparisons, t.costs),
    },
    "15_output_scale": {
        "scales_table": lambda t: tables.scales_wide(
            t.scales, t.effects, collapse.verdicts(t.scales)
        ),
    },
    "16_self_pretraining": {
        "errors_table": lambda t: tables.lessons_wide(
            "16_self_pretraining", t.errors, t.comparisons
        ),
    },
    "17_specialist_or_generalist": {
        "errors_table": lambda t: tables.lessons_wide(
            "17_specialist_or_generalist", t.errors, t.comparisons
        ),
    },
    "18_image_quality": {
        "quality_table": lambda t: tables.quality_wide(t.errors, t.comparisons),
    },
    "19_labels_and_time": {
        "errors_table": lambda t: tables.lessons_wide(
            "19_labels_and_time", t.errors, t.comparisons
        ),
        "thinking_table": lambda t: tables.thinking_wide(t.thinking, t.thinking_comparisons),
    },
    "20_camera_shift": {
        "ways_table": lambda t: tables.camera_shift_wide(t.ways, t.comparisons),
        "discs_table": lambda t: tables.segmentation_wide(t.discs_and_cups),
        "grape_table": lambda t: tables.real_cameras_wide(t.grape),
        "kept_labels_table": lambda t: tables.kept_labels_wide(t.kept_labels),
    },
    "21_mild_to_severe": {
        "robustness_table": lambda t: tables.robustness_wide(t.robustness, t.comparisons),
    },
    "22_translation": {
        "translation_table": lambda t: tables.translation_wide(t.translation, t.comparisons),
    },
}
# The others show eyes of the phantom that about.json names.
REAL = {"table2_beside", "audit", "learning", "selection", "other_subjects", "grape_table"}


def freezing_lines():
    return ablations.freezing_lines(ablations.freezing_points())


def printed():
    return published.load("table1", edition="submission")


SAID = {
    "00_quickstart": lambda t: conclusions.eyes(t.eyes),
    "01_visualize_predictions": lambda t: [
        *conclusions.collapse(t.collapse), conclusions.flat_sigma(t.collapse),
        conclusions.response(t.collapse), *conclusions.few_templates(t.collapse),
        conclusions.template_claim(t.collapse), *conclusions.rotation(t.collapse)],
    "02_protocols": lambda t: [
        conclusions.best_cell(t.table1), conclusions.difficulty(t.table1),
        *conclusions.differences(t.comparisons), conclusions.verdicts(t.comparisons)],
    "03_freezing": lambda t: [
        *conclusions.freezing_costs(t.regressions, t.comparisons),
        *conclusions.freezing_claim(t.regressions, freezing_lines())],
    "04_loss_complexity": lambda t: [
        *conclusions.loss_terms(t.table3b, t.comparisons),
        conclusions.structured_parts(t.factorial)],
    "05_learning_rate": lambda t: [
        *conclusions.learning_rates(t.learning_rates, t.comparisons),
        conclusions.layer_decay(t.decay)],
    "06_cross_modality": lambda t: conclusions.sectors(
        t.quadrants, ["template", "constant", "PCA + ridge"]),
    "07_fairness": lambda t: [
        *conclusions.gaps_and_chance(t.fairness),
        conclusions.published_gaps(t.fairness, printed(), True),
        conclusions.intersections(t.intersections),
        *conclusions.gap_claims(t.differences, printed(), True),
        *conclusions.planted_differences(t.labels), *conclusions.reproduction(t.effects)],
    "08_audit": lambda t: conclusions.audit_findings(t.audit),
    "09_phantom": lambda t: [
        conclusions.calibration(t.calibration), t.about["conclusions"][1],
        conclusions.appearance(t.appearance), *conclusions.known(t.known, t.targets, t.floors),
        *conclusions.zero_shot(t.zero_shot, ["constant", "PCA + ridge"])],
    "10_pretraining": lambda t: conclusions.pretraining(t.losses),
    "11_agreement": lambda t: [
        conclusions.limits(t.agreement), conclusions.proportional_bias(t.agreement),
        conclusions.floor_effect(t.thickness, *CELL), *conclusions.thinning(t.thinning, *CELL),
        conclusions.as_read(t.thinning, *CELL)],
    "12_learning_on_grape": lambda t: [
        conclusions.baselines(t.quadrants, t.paired), conclusions.anything_learnt(t.gains),
        conclusions.best_method(t.quadrants, t.paired),
        *conclusions.selection(t.quadrants, t.paired, t.chosen),
        *conclusions.better_methods(t.paired),
        *conclusions.other_subjects(t.external, t.quadrants, t.paired),
        conclusions.phantom_start(t.gains), conclusions.pretrained_readouts(t.gains),
        conclusions.luck_of_folds(t.quadrants)],
    "13_strategies": lambda t: conclusions.strategies(t.strategies, t.comparisons, t.costs),
    "14_parameter_efficient": lambda t: conclusions.few_parameters(
        t.parameters, t.comparisons, t.costs),
    "15_output_scale": lambda t: conclusions.output_scale(t.effects, collapse.verdicts(t.scales)),
    "16_self_pretraining": lambda t: [
        *conclusions.self_pretraining(
            t.comparisons, t.curves.groupby("start", sort=False, as_index=False).last()),
        conclusions.own_photographs(t.grape, t.grape_paired)],
    "17_specialist_or_generalist": lambda t: [
        *conclusions.specialists(t.comparisons, []), *conclusions.best_by_fraction(t.errors)],
    "18_image_quality": lambda t: [
        *conclusions.image_quality(t.comparisons, t.heat, t.errors),
        conclusions.by_sharpness(t.grape)],
    "19_labels_and_time": lambda t: [
        conclusions.labels_saved(t.reached.iloc[0]), conclusions.passes(t.comparisons),
        conclusions.time_saved(t.arrivals, lessons.pretraining_steps("phantom_mae")),
        *conclusions.thinking(
            t.thinking_comparisons, t.thinking,
            t.turned.query("metric == 'rotation_response'")["estimate"].iloc[0])],
    "20_camera_shift": lambda t: [
        *conclusions.camera_shift(t.ways, t.comparisons), conclusions.kept_labels(t.kept_labels),
        conclusions.discs_and_cups(t.discs_and_cups), conclusions.label_shift(t.ways, t.sick),
        *conclusions.real_cameras(t.grape, t.grape_paired)],
    "21_mild_to_severe": lambda t: conclusions.robustness(t.robustness, t.comparisons),
    "22_translation": lambda t: conclusions.translation(t.translation, t.comparisons),
}  # fmt: skip


@pytest.mark.parametrize("stem", WIDE)
def test_wide_tables_are_the_committed_ones(stem, tmp_path):
    here = Committed(stem)
    for name, make in WIDE[stem].items():
        note = "" if name == "audit" else here.about["note"]
        phantom = 0 if name in REAL else here.about["phantom"]
        for path in tables.write(make(here), tmp_path, name, note, phantom).values():
            assert path.read_bytes() == (here.folder / path.name).read_bytes(), path.name


def test_every_committed_wide_table_is_made_again():
    committed = {path.parent.name + path.stem for path in RESULTS.glob("*/*.md")}
    assert committed == {stem + name for stem, made in WIDE.items() for name in made}


@pytest.mark.parametrize("stem", SAID)
def test_sentences_are_the_committed_ones(stem):
    here = Committed(stem)
    assert SAID[stem](here) == here.about["conclusions"]


def test_every_committed_folder_has_its_sentences():
    assert set(SAID) == {path.parent.name for path in RESULTS.glob("*/about.json")}


@pytest.mark.parametrize("package", [tables, conclusions])
def test_notebooks_ask_for_names_that_are_there(package):
    name = package.__name__.rpartition(".")[2]
    texts = [path.read_text() for path in (project_root() / "notebooks").glob("*.ipynb")]
    asked = {one for text in texts for one in re.findall(rf"\b{name}\.(\w+)", text)}
    assert len(asked) > 20 and not [one for one in asked if not hasattr(package, one)]


class Widened(Committed):
    """The same tables with intervals that exclude nothing, and tests that find nothing."""

    def __getattr__(self, name):
        table = super().__getattr__(name)
        half = {"low": -1e3, "high": 1e3}
        wide = {end: table["estimate"] + by for end, by in half.items() if end in table}
        found = {name: 1.0 for name in table if re.fullmatch(r"p(_.*)?|gap_p", name)}
        return table.assign(**wide, **found)


NO_INTERVALS = {"08_audit", "09_phantom", "10_pretraining"}  # printed, calibration, loss curves
WITHOUT_TABLES = {"convergence", "longer_schedule", "label_noise", "absent_domain", "seeds_note"}
#: What only intervals that leave no room for the opposite may say.
ABSENCE = (
    r"no (collapse|cost|difference|effect|sign|gap|change|better|worse)\b|\b(does|do) not\b|"
    r"converged|(?<!0 of \d are )(?<!0 of \d\d are )equivalent|is excluded|costs|arises|"
    r"diverse(?! 0)|collapsed|"
    r"nothing that|helps(?! a little| at 0)|(?<!not )clearly (?!\w+ (at )?0)\w+er\b|"
    r"(below|above|beats) (constant|template|PCA|aggressive|naive)"
)


@pytest.mark.parametrize("stem", sorted(SAID.keys() - NO_INTERVALS))
def test_numbers_that_exclude_nothing_make_no_sentence_that_does(stem):
    said = SAID[stem](Widened(stem))
    found = {
        text: re.findall(ABSENCE, text) for text in ([said] if isinstance(said, str) else said)
    }
    assert not {text: words for text, words in found.items() if words}


def test_every_maker_of_sentences_is_asked():
    makers = {name for name in dir(conclusions) if inspect.isfunction(getattr(conclusions, name))}
    asked = {name for make in SAID.values() for name in make.__code__.co_names}
    assert makers - asked == WITHOUT_TABLES
