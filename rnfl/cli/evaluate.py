"""Commands about predictions and published numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    predictions: Annotated[Path, typer.Argument(help="CSV or parquet, long or wide")],
    samples: Annotated[Path | None, typer.Option(help="CSV with patients and attributes")] = None,
    reference: Annotated[
        Path | None, typer.Option(help="healthy training eyes: a run's reference.csv, or profiles")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="folder for tables and report")] = None,
    one_eye_per_patient: Annotated[bool, typer.Option(help="no two eyes share a patient")] = False,
    allow_unpredicted: Annotated[bool, typer.Option(help="samples may lack predictions")] = False,
    phantom: Annotated[bool, typer.Option(help="the eyes are simulated")] = False,
    resample: Annotated[bool, typer.Option(help="profiles may have other than 360 points")] = False,
) -> None:
    """Evaluate predictions made here or elsewhere: every statistic, figures, a report."""
    from analysis.reports import evaluation

    given = {"one_eye_per_patient": one_eye_per_patient, "allow_unpredicted": allow_unpredicted}
    given |= {"phantom": phantom, "reference": reference, "resample": resample}
    typer.echo(evaluation.evaluate_files(predictions, samples, output, **given))


def audit(
    results: Annotated[Path, typer.Argument(help="CSV with a table of results, long or wide")],
    output: Annotated[Path | None, typer.Option(help="CSV for every finding")] = None,
) -> None:
    """Check what a table of results can be checked for: bounds, percentages, fits, spreads."""
    from analysis.published import audit as auditing
    from rnfl.storage import errors, provenance

    findings = auditing.audit_file(results)
    typer.echo(auditing.format_audit(findings))
    if output:
        kept = "every finding is printed above; --output names another file"
        with errors.writing(f"findings {output.name}", output.parent, kept):
            typer.echo(provenance.write_csv(output, findings))
