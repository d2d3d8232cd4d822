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


def power(
    runs: Annotated[list[str] | None, typer.Argument(help="finished runs of one model")] = None,
    against: Annotated[
        list[str] | None, typer.Option(help="runs of another, of the same seeds; once for each")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="in place of runs: a notebook's comparisons.csv")
    ] = None,
    difference: Annotated[float, typer.Option(help="in mean absolute error (µm), to find")] = 1.0,
    share: Annotated[float, typer.Option(help="of studies that are to find it")] = 0.8,
    family: Annotated[
        int, typer.Option(min=1, help="comparisons that share Holm's correction")
    ] = 1,
) -> None:
    """Say how many patients and seeds a difference needs, and what those at hand can find."""
    from analysis.resampling import power as powers
    from rnfl.inference import trained
    from rnfl.runs import results
    from rnfl.storage import readers

    if bool(table) == bool(runs):
        raise ValueError("expected runs with --against, or --table: the pilot to plan from")
    if not (0 < difference < float("inf") and 0 < share < 1):
        raise ValueError(
            f"difference {difference}, share {share}: expected some µm, and a share between 0 and 1"
        )
    if table:
        with readers.readable(table, "comparisons of a notebook", "name another table"):
            found, left_out = powers.of_table(readers.read_csv(table))
    else:
        both = [[results.load_run(trained.find(one)) for one in m] for m in (runs, against or [])]
        told = [sorted(run.config.seed for run in model) for model in both]
        if told[0] != told[1] or len(set(told[0])) < len(told[0]):
            raise ValueError(
                f"seeds {told[0]} against {told[1]}: expected the same for both models, each once"
            )
        seeds = [{run.config.seed: run.predictions for run in model} for model in both]
        pairs = [[model[seed] for seed in sorted(model)] for model in seeds]
        left_out = []
        found = [(f"{both[0][0].run_id} against {both[1][0].run_id}", powers.pilot(*pairs))]
    for name in left_out:
        typer.echo(f"left out, as its interval shows the noise of seeds alone: {name}")
    for name, pilot in found:
        least = powers.detectable(pilot.parts, pilot.patients, pilot.seeds, share, family)
        kind = "eyes" if table else "patients"
        typer.echo(
            f"{name}\n  shown: {pilot.difference:+.2f} µm; {pilot.patients} {kind} and "
            f"{pilot.seeds} seeds find {least:.2f} µm in {share:.0%} of studies\n"
            f"  SD of {kind} {pilot.parts.patient:.2f} µm, of seeds {pilot.parts.seed:.2f} µm, "
            f"of both together {pilot.parts.both:.2f} µm"
        )
        if len(found) == 1:
            made = powers.design(pilot, difference, share, family)
            made = made.drop(columns=["eyes"] if table else []).rename(columns={"patients": kind})
            rows = made.to_string(index=False, na_rep="more seeds")
            typer.echo(f"  {difference:g} µm needs\n{rows}")
