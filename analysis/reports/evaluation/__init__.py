"""``rnfl evaluate``: the study's statistics, figures and report on predictions made elsewhere.

The output is laid out as the study's: ``results/<stem>/`` with tables and ``about.json``,
``figures/`` and ``report.html``. The baseline ``template`` is the mean measured profile of the
evaluated eyes themselves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from analysis import figures
from analysis.agreement import thinning
from analysis.reports import study as report
from analysis.reports.evaluation import joined, summary
from analysis.reports.evaluation.predictions import Imported, read_predictions
from analysis.reports.evaluation.sections import MAKER, Section, Study, write_sections
from analysis.resampling import Resampling
from rnfl.core import demographics, labels, metrics, orientation, schema
from rnfl.core.nanstats import mean
from rnfl.datasets.phantom import VERSION
from rnfl.storage import errors, provenance
from rnfl.storage.paths import data_root

MARKER = "evaluation.json"
TEMPLATE_NOTE = (
    "Here the template is the mean measured profile of the evaluated eyes themselves: it knows "
    "their mean, which a model trained on other eyes does not."
)


def evaluate_files(
    predictions: str | Path,
    samples: str | Path | None = None,
    output: str | Path | None = None,
    *,
    reference: str | Path | None = None,
    one_eye_per_patient: bool = False,
    allow_unpredicted: bool = False,
    phantom: int = 0,
    resample: bool = False,
    n_boot: int = 2000,
    n_perm: int = 2000,
) -> str:
    """Evaluate a file of predictions into one folder and return a summary in plain text.

    Parameters
    ----------
    predictions, samples : Path
        See :func:`.predictions.read_predictions` and :mod:`rnfl.core.demographics`; without samples
        fairness is not evaluated.
    output : Path, optional
        Folder of the results, by default ``<data root>/evaluations/<name>-<hash of the inputs>``.
        It appears when all is done. A folder that was made here is replaced, no other.
    reference : Path, optional
        Healthy eyes that the models learnt from, by which thinning is judged: see
        :func:`analysis.agreement.thinning.read_reference`. Without it thinning is not evaluated.
    one_eye_per_patient, allow_unpredicted : bool
        See :func:`.joined.join`.
    phantom : int
        Version of the phantom that drew the eyes, 0 for real ones. True, and identifiers that begin
        with "phantom-", mean the present one.
    resample : bool
        Whether profiles of another number of points than 360 are resampled to the 360 angles.
    n_boot, n_perm : int
        Resamples and permutations of patients.

    Raises
    ------
    ValueError
        When a file is not what it should be, or the output folder holds something else.
    OSError
        When it cannot be written (disk full, read-only): says what is kept and what to do.
    """
    predictions, samples = Path(predictions), Path(samples) if samples else None
    name = predictions.name.split(".")[0]
    read = read_predictions(predictions, resample)
    people = demographics.read_demographics(samples) if samples else None
    source = samples.name if samples else predictions.name
    eyes, notes = joined.join(read, people, one_eye_per_patient, allow_unpredicted, source)
    notes += _doubts(read, eyes)

    healthy = thinning.read_reference(reference, resample) if reference else None
    if healthy is not None:
        thinning.limits(healthy)  # refused before anything is written
    files = map(Path, filter(None, (predictions, samples, reference)))
    inputs = {path.name: provenance.sha256_file(path) for path in files}
    if output is None:
        key = provenance.sha256_json(list(inputs.values()))[:8]
        output = data_root() / "evaluations" / f"{name}-{key}"
    output = Path(output).resolve()
    check_output(output)

    table = read.table(eyes["patient_id"])
    everything = pd.concat([table, template_of(table)], ignore_index=True)
    ids = pd.concat([table["run_id"], eyes["eye_id"]])
    if phantom is True or (not phantom and ids.str.startswith("phantom-").any()):
        phantom = VERSION
    resampling = Resampling(n_boot, n_perm)
    study = Study(everything, eyes, read.runs(), phantom, TEMPLATE_NOTE, name, resampling, healthy)
    notes += summary.notes(study)

    kept = f"what {output} held is as it was" if output.exists() else "nothing half-written is left"
    kept += "; --output names another folder"
    writing = errors.writing(f"evaluation {output.name}", output.parent, kept)
    with writing, provenance.publish_folder(output) as aside:
        found = _fill(aside, study, notes, inputs)
        check_output(output)  # where something else has come meanwhile
    return summary.text(study, found, notes, output)


def _doubts(read: Imported, eyes: pd.DataFrame) -> list[str]:
    """Return what is said of the points and the order of the profiles."""
    found = labels.doubt_unit(mean(read.target, axis=1), "ground truth")
    if read.resampled:
        found.insert(0, f"Profiles were resampled to 360 angles from {read.resampled}.")
    sets = {"profiles of the ground truth": read.target}
    sets |= {f"predictions of {name}": one for name, one in read.predictions.items()}
    for name, profiles in sets.items():
        found += orientation.doubt_order(profiles, name)
        found += orientation.doubt_left_eyes(profiles, eyes["laterality"], name)
        if profiles is not read.target:
            found += orientation.doubt_pairs(profiles, read.target, name)
    return found


def _fill(
    folder: Path, study: Study, notes: Sequence[str], inputs: Mapping[str, str]
) -> dict[str, Section]:
    """Write tables, figures, report and a list of them into an empty folder."""
    results, drawn = folder / "results", folder / "figures"
    found = write_sections(study, results, inputs)
    drawn.mkdir()
    figures.make_all(results, drawn)
    models = study.runs["protocol"]
    title = f"Evaluation of {', '.join(models[:3])}" + (" and others" if len(models) > 3 else "")
    intro = " ".join(["Predictions made elsewhere.", TEMPLATE_NOTE, *notes])
    report.build(results, drawn, folder / "report.html", title=title, intro=intro)
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    about = {"made_by": MAKER, "inputs": inputs, "notes": notes, "files": files}
    provenance.write_json(folder / MARKER, about)
    return found


def check_output(output: Path) -> None:
    """Raise a ValueError unless a folder is free, empty or wholly made here."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    try:
        made = json.loads((output / MARKER).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):  # no JSON
        made = {}
    if not isinstance(made, dict) or made.get("made_by") != MAKER:
        raise ValueError(
            f"{output} holds something that {MAKER} did not make: give --output another folder"
        )
    present = {p.relative_to(output).as_posix() for p in output.rglob("*") if not p.is_dir()}
    if foreign := sorted(present - {*made.get("files", []), MARKER}):
        raise ValueError(
            f"{output} would be replaced, but holds files that {MAKER} did not make: "
            f"{', '.join(foreign[:5])}: move them or give --output another folder"
        )


def template_of(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the baseline 'template': the evaluated eyes' mean measured profile."""
    rows = predictions[predictions["run_id"] == predictions["run_id"].iloc[0]]
    target = schema.matrix(rows, "target")
    repeated = metrics.template_predictions(target, len(rows))
    return schema.predictions_frame(
        "template", rows["eye_id"], rows["patient_id"], repeated, target
    )
