"""Notebooks are thin and clean, and every one of them runs from nothing under the smoke profile."""

import json
import os
import re

import nbformat
import pytest

from rnfl import cli, prepare, profiles, runner
from rnfl.paths import project_root

FOLDER = project_root() / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
STEMS = [path.stem for path in NOTEBOOKS]
FORBIDDEN = re.compile(r"^\s*(def|class|async def)\b|sys\.path|^\s*[!%]", re.MULTILINE)

SMOKE = {
    "00_quickstart": {},
    "01_visualize_predictions": {"n_boot": 20},
    "02_protocols": {"n_boot": 20},
    "06_cross_modality": {"n_boot": 20},
    "09_phantom": {},
    "10_pretraining": {"n_eyes": 16, "batch_size": 4, "kinds": ["cls", "depth", "mae"]},
}


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
    assert len(parameters) == 1 and parameters[0].source.startswith('profile = "phantom"')
    assert cells[-1].cell_type == "markdown"
    assert re.fullmatch(rf"!\[[^\]]+\]\(\.\./figures/{path.stem}\.png\)", cells[-1].source)
    assert cells[-1].metadata.tags == [runner.LINK_TAG]


def test_every_notebook_has_a_smoke_run_and_reproduce_names_real_ones():
    assert sorted(SMOKE) == STEMS
    assert set(cli.NOTEBOOKS) < set(STEMS)


@pytest.fixture(scope="module")
def smoke_folder(tmp_path_factory):
    """An empty data folder for the notebooks, with two threads' worth of quiet."""
    root = tmp_path_factory.mktemp("smoke")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNFL_DATA", str(root))
        patch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
        yield root


@pytest.mark.parametrize("stem", [*cli.NOTEBOOKS, "10_pretraining"])
def test_smoke_profile_goes_from_nothing_to_a_figure(stem, smoke_folder):
    study = profiles.get("smoke")
    parameters = {"profile": "smoke", **SMOKE[stem]}
    if stem == "10_pretraining":
        parameters |= {"weights": str(smoke_folder / "weights"), "steps": [2, 2, 2]}
    output = smoke_folder / "executed" / f"{stem}.ipynb"

    runner.run_notebook(FOLDER / f"{stem}.ipynb", output, parameters, progress=False)

    assert output.exists() and output.with_suffix(".html").exists()
    about = json.loads((study.results_dir / stem / "about.json").read_text())
    assert about["phantom"] is True
    for suffix in (".png", ".pdf", ".json"):
        assert (study.figures_dir / f"{stem}{suffix}").stat().st_size > 500
    errors = [
        output_cell
        for cell in nbformat.read(output, as_version=4).cells
        if cell.cell_type == "code"
        for output_cell in cell.outputs
        if output_cell.get("name") == "stderr" and "Warning" in output_cell.text
    ]
    assert not errors, errors[0].text


def test_notebooks_shared_one_set_of_runs(smoke_folder):
    study = profiles.get("smoke")
    finished = [path for path in (smoke_folder / "runs").glob("*/summary.json")]
    slo, cfp = (prepare.load(name).name for name in (study.slo, study.cfp))
    names = sorted(path.parent.name for path in finished)
    assert sum(name.startswith(slo) for name in names) == len(study.configs_table1())
    assert sum(name.startswith(cfp) for name in names) == len(study.seeds)
