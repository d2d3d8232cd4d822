"""Commands about the study: notebooks, figures and the whole of it."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from rnfl.storage import errors
from rnfl.storage.paths import data_root, plain_name, project_root, runs_root

# What a preset tells single notebooks besides its name.
PARAMETERS = {
    ("smoke", "12_learning_on_grape"): {"stand_in": "phantom-cfp-64-s1"},
    ("reference", "09_phantom"): {"n_eyes": 800},
    # What is committed so far; the rest of the preset is to be computed.
    ("reference", "13_strategies"): {"gaps": [1.0, 0.5]},
    ("reference", "15_output_scale"): {"n_seeds": 1, "lengths": [8, 24]},
    ("reference", "21_mild_to_severe"): {"n_seeds": 3},
}

FILES = ("png", "pdf", "json")  # of a figure

PresetOption = Annotated[str, typer.Option(help="smoke, phantom, reference or paper")]


def _refuse_profile(value: str | None) -> None:
    if value is not None:
        raise ValueError(f"--profile is called --preset now: give --preset {value}")


OldOption = Annotated[str | None, typer.Option("--profile", hidden=True, callback=_refuse_profile)]


def figures(
    results: Annotated[Path | None, typer.Option(help="default: data/results")] = None,
    folder: Annotated[Path | None, typer.Option(help="default: figures")] = None,
) -> None:
    """Redraw every figure whose tables exist, without torch."""
    from analysis import figures as drawing

    results = results or project_root() / "data" / "results"
    folder = folder or project_root() / "figures"
    with errors.writing("figures", folder, "those drawn before are kept"):
        for path in drawing.make_all(results, folder):
            typer.echo(path)


def notebook(
    stem: Annotated[str, typer.Argument(help="such as 02_protocols")],
    preset: PresetOption = "phantom",
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="name=value, value in JSON")
    ] = None,
    profile: OldOption = None,
) -> None:
    """Execute one notebook through the strict runner."""
    from rnfl.study import notebooks, presets

    presets.get(preset)  # refused before it names a folder
    source = _source(stem)
    given = dict(item.split("=", 1) for item in parameter or [])
    values = {name: json.loads(text) for name, text in given.items()}
    output = runs_root() / "notebooks" / preset / f"{stem}.ipynb"
    values = _parameters(preset, stem) | values
    notebooks.run_notebook(source, output, values, live=sys.stderr)
    typer.echo(output)


def reproduce(
    preset: PresetOption = "phantom",
    engine: Annotated[
        str, typer.Option(help="auto, serial, local or dask: what trains, see CLUSTER.md")
    ] = "auto",
    workers: Annotated[
        int | None, typer.Option(min=1, help="processes on this machine: one per GPU or core")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="join this Dask cluster: tcp://host:port")
    ] = None,
    profile: OldOption = None,
) -> None:
    """Prepare data, train what is missing, execute the notebooks and build the report."""
    from analysis.published import audit as auditing
    from rnfl import datasets
    from rnfl.study import cross_modality, grid, presets

    start = time.monotonic()
    study = presets.get(preset)
    grid.check(engine, workers, scheduler)
    typer.echo(f"Preset {preset}: {study.slo}, {study.cfp}, seeds {list(study.seeds)}")
    prepared = [datasets.prepare(name) for name in (study.slo, study.cfp)]
    absent = cross_modality.available(study.external)
    if absent:
        typer.echo(f"Without the external dataset: {absent}")
    else:
        prepared.append(datasets.load(study.external))
    configs = study.configs_all()
    configs += [config for one in cross_modality.configs(study).values() for config in one]
    results = grid.run_grid(list(dict.fromkeys(configs)), engine, workers, scheduler)
    if scheduler:
        os.environ[grid.SCHEDULER] = scheduler  # for the runs that notebooks ask for

    inputs = {
        "datasets": {data.name: data.hash for data in prepared},
        "external": absent or study.external,
        "runs": [result.run_id for result in results],
        "published": auditing.inputs(),
    }
    report = _execute(study, inputs)
    typer.echo(f"\nDone in {(time.monotonic() - start) / 60:.1f} min.")
    typer.echo(f"Tables   {study.results_dir}\nFigures  {study.figures_dir}\nReport   {report}")


def _execute(study, inputs: dict) -> Path:
    """Execute the preset's notebooks that are not up to date and build its report."""
    from analysis.reports import study as report
    from rnfl.study import notebooks

    folder = runs_root() / "notebooks" / study.name
    for stem in (one for one in notebooks.STUDY if one not in study.left_out):
        products = _products(study.results_dir / stem, study.figures_dir, stem)
        parameters = _parameters(study.name, stem)
        notebooks.refresh(_source(stem), folder / f"{stem}.ipynb", parameters, inputs, products)
    path = data_root() / "reproduced" / study.name / "report.html"
    made = study.results_dir, study.figures_dir
    with errors.writing(path.name, path.parent, "tables, figures and notebooks are kept"):
        return report.build(*made, path, title=f"RNFL profiles: {study.name}", notebooks=folder)


def _products(results: Path, drawn: Path, stem: str) -> list[Path]:
    """Return what a notebook's results consist of: tables, figure, and the runs that they name."""
    products = [results / "about.json", *(drawn / f"{stem}.{kind}" for kind in FILES)]
    if products[0].is_file():
        about = json.loads(products[0].read_text(encoding="utf-8"))
        products += [results / name for name in about["tables"]]
        products += [runs_root() / run_id / "summary.json" for run_id in about["run_ids"]]
    return products


def _parameters(preset: str, stem: str) -> dict[str, str]:
    return {"preset": preset, **PARAMETERS.get((preset, stem), {})}


def _source(stem: str) -> Path:
    """Return a notebook of the project, or raise a ValueError that lists them."""
    path = project_root() / "notebooks" / f"{plain_name(stem, 'notebook')}.ipynb"
    if not path.is_file():
        have = sorted(p.stem for p in path.parent.glob("*.ipynb"))
        raise ValueError(f"notebook {stem!r} is unknown: expected one of {', '.join(have)}")
    return path
