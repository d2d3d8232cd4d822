"""Notebooks are thin and clean, and every one of them runs from nothing under the smoke profile."""

import ast
import json
import os
import re
from pathlib import Path

import nbformat
import pytest
from typer.testing import CliRunner

from analysis import figures as drawing
from rnfl import cli
from rnfl.cli import reproduce as studies
from rnfl.datasets import phantom
from rnfl.runs import results
from rnfl.storage import provenance
from rnfl.storage.paths import project_root, runs_root
from rnfl.study import lessons, notebooks, presets, robustness, small_data, strategies
from rnfl.training.pretraining import recipes

FOLDER = project_root() / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
STEMS = [path.stem for path in NOTEBOOKS]
PRETRAINING = "10_pretraining"  # not part of reproduce: it takes an hour
AUDIT = "08_audit"  # the only one whose numbers are not phantom: they are published ones
FORBIDDEN = re.compile(r"^\s*(def|class|async def)\b|sys\.path|^\s*[!%]", re.MULTILINE)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=STEMS)
def test_notebook_is_thin_and_clean(path):
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert book.metadata.kernelspec.name == "python3"
    assert len({cell.id for cell in book.cells}) == len(book.cells)
    assert len(code) <= 12
    assert all(cell.source.count("\n") < 15 for cell in code)
    assert not any(FORBIDDEN.search(cell.source) for cell in code)
    assert not any(cell.outputs or cell.execution_count for cell in code)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=STEMS)
def test_notebook_says_what_it_asks_takes_and_makes(path):
    cells = nbformat.read(path, as_version=4).cells
    for heading in ("**Question.**", "**Inputs.**", "**Outputs.**"):
        assert heading in cells[0].source
    parameters = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(parameters) == 1 and parameters[0].source.startswith('preset = "phantom"')
    assigned = [node.targets[0].id for node in ast.parse(parameters[0].source).body]
    assert notebooks.parameters_of(path) == tuple(assigned)  # papermill reads them all
    assert cells[-1].cell_type == "markdown"
    assert re.fullmatch(rf"!\[[^\]]+\]\(\.\./figures/{path.stem}\.png\)", cells[-1].source)
    assert cells[-1].metadata.tags == [notebooks.LINK_TAG]


def test_reproduce_executes_every_notebook_but_pretraining():
    assert sorted([*notebooks.STUDY, PRETRAINING]) == STEMS
    left_out = {name: preset.left_out for name, preset in presets.PRESETS.items()}
    assert {one for stems in left_out.values() for one in stems} <= set(notebooks.STUDY)
    assert not left_out["reference"] and not left_out["smoke"]  # all is tried, and committed


def test_smoke_parameters_are_defined_and_its_stand_in_is_no_eye_of_the_start():
    for (_, stem), parameters in studies.PARAMETERS.items():
        notebooks.check_parameters(FOLDER / f"{stem}.ipynb", parameters)
    chosen = studies.PARAMETERS["smoke", "12_learning_on_grape"]["stand_in"]
    start = small_data.start_config(presets.get("smoke")).dataset
    assert phantom.parse(chosen).seed != phantom.parse(start).seed


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Return the smoke profile, its data folder being empty at first."""
    root = tmp_path_factory.mktemp("smoke")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNFL_DATA", str(root))
        patch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
        yield presets.get("smoke")


@pytest.fixture(scope="module")
def printed(study):
    """Return what `rnfl reproduce --profile smoke` prints when it runs from nothing."""
    return reproduce()


def reproduce() -> str:
    command = ["reproduce", "--preset", "smoke"]
    return CliRunner().invoke(cli.app, command, catch_exceptions=False).stdout


def check_outputs(executed, study):
    """Every cell ran without a warning, and left its figure with what it says of itself."""
    stem = executed.stem
    html = executed.with_suffix(".html").read_text()
    assert "../figures" not in html and 'src="http' not in html
    about = json.loads((study.results_dir / stem / "about.json").read_text())
    assert about["phantom"] == (0 if stem == AUDIT else phantom.VERSION)
    assert about["conclusions"] and about["inputs"]
    for suffix in (".png", ".pdf", ".json"):
        assert (study.figures_dir / f"{stem}{suffix}").stat().st_size > 500
    cells = nbformat.read(executed, as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    stderr = "".join(output.text for output in outputs if output.get("name") == "stderr")
    assert "Warning" not in stderr, stderr


@pytest.mark.parametrize("stem", notebooks.STUDY)
def test_smoke_profile_goes_from_nothing_to_figures(printed, study, stem):
    assert f"{stem}: done" in printed
    check_outputs(runs_root() / "notebooks" / "smoke" / f"{stem}.ipynb", study)


def test_reproduce_ends_with_where_things_are(printed, study):
    *_, tables, figures, report = printed.strip().splitlines()
    assert tables.split() == ["Tables", str(study.results_dir)]
    assert figures.split() == ["Figures", str(study.figures_dir)]
    page = Path(report.split()[1]).read_text()
    assert all(stem in page for stem in notebooks.STUDY) and "phantom" in page.lower()


def test_reproduce_trains_each_run_once(printed, study):
    finished = [results.load_run(path.parent) for path in runs_root().glob("*/summary.json")]
    own = [one.config.dataset for one in finished if one.config.split == "own"]
    chosen = [*study.strategies, *strategies.parameter_efficient(study)]
    asked = {*study.configs_all(), *strategies.scales(study)}
    asked |= {study.config(study.featured, one, study.ablation_seeds[0]) for one in chosen}
    asked |= {c for c in robustness.configs(study).values() if c.dataset == study.slo}
    cells = lessons.self_pretraining(study)
    asked |= {run.config for run in lessons.masked_runs(cells)}
    cells += [*lessons.specialists(study), *lessons.fractions(study)]
    asked |= {cell.config for cell in cells}
    assert own.count(study.slo) == len(asked)
    assert own.count(study.cfp) == len(study.seeds)
    methods = small_data.configs(study, study.cfp, finished[0])
    folds = study.folds * len(study.fold_seeds)
    assert len(finished) - len(own) == len(methods) * folds


def test_figures_and_tables_belong_together(printed, study):
    assert drawing.stale(study.results_dir, study.figures_dir) == []


def test_second_call_does_nothing_but_say_so(printed):
    before = {path: path.stat().st_mtime_ns for path in runs_root().rglob("*.ipynb")}
    again = reproduce()
    assert all(f"{stem}: up to date" in again for stem in notebooks.STUDY)
    assert {path: path.stat().st_mtime_ns for path in runs_root().rglob("*.ipynb")} == before


def test_pretraining_notebook_writes_weights_where_it_is_told(study, tmp_path):
    parameters = {"preset": "smoke", "weights": str(tmp_path / "weights"), "n_eyes": 16}
    parameters |= {"steps": 2, "batch_size": 4}
    output = tmp_path / f"{PRETRAINING}.ipynb"
    notebooks.run_notebook(FOLDER / output.name, output, parameters, progress=False)
    check_outputs(output, study)
    packed = {path.stem: path for path in (tmp_path / "weights").glob("*.safetensors")}
    assert set(packed) == set(recipes.RECIPES)
    assert sum(path.stat().st_size for path in packed.values()) < 10e6  # what is packaged
    for path in packed.values():
        record = json.loads(path.with_suffix(".json").read_text())
        assert record["weights"]["sha256"] == provenance.sha256_file(path)
