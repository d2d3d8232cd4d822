"""Commands about models: train one, measure it elsewhere, and the backbones they start from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from rnfl.adaptation import SLO_MODEL

LESSON = ("fraction", "fraction_seed", "quality")


def train(
    context: typer.Context,
    dataset: str,
    backbone: str,
    protocol: str = "naive",
    seed: int = 42,
    epochs: int = 80,
    warmup_epochs: int = 5,
    batch_size: int = 60,
    lr_scale: float = 1.0,
    split: Annotated[str, typer.Option(help="own, all or fold-<i>-of-<k>-s<seed>")] = "own",
    start: Annotated[str, typer.Option(help="finished run to start from: id or folder")] = "",
    augment: Annotated[
        str, typer.Option(help="intensity, none, mild_to_severe ... (USAGE.md)")
    ] = "intensity",
    views: Annotated[
        int | None, typer.Option(help="augmented views kept of each image behind frozen blocks")
    ] = None,
    micro_batch: Annotated[
        str, typer.Option(help="images computed at once: a number, auto, or all of the batch")
    ] = "all",
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16")] = "auto",
    output_scale: Annotated[str, typer.Option(help="standardised or raw (µm)")] = "standardised",
    fraction: Annotated[
        float, typer.Option(help="of the patients with labels: teaches and validates")
    ] = 1.0,
    fraction_seed: Annotated[int, typer.Option(help="which patients these are")] = 0,
    quality: Annotated[
        float | None,
        typer.Option(help="share of patients shown in high quality, of a dataset with both"),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="in all, in place of passes; epochs are then its parts")
    ] = None,
    task: Annotated[
        str, typer.Option(help="profile, or masks of disc and cup; --protocol mae: pictures")
    ] = "profile",
    compile: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="default: on a GPU")
    ] = None,
) -> None:
    """Train one run, resume it, or return it if it is finished.

    Options that the protocol does not read are refused. Started by torchrun, the processes train
    it together.
    """
    from rnfl import datasets
    from rnfl.core.splits import Lesson
    from rnfl.runs.run import run
    from rnfl.training.config import RunConfig

    _refuse_unread(context, protocol)
    said = {"start": _run_id(start) if start else None, "augment": _augment(augment)}
    said["micro_batch"] = _micro_batch(micro_batch)
    said["lesson"] = Lesson(fraction, fraction_seed, quality)
    fields = {k: v for k, v in context.params.items() if k not in LESSON}
    config = RunConfig(**fields | said)  # the other options are its fields as they are
    datasets.prepare(dataset)
    with _together() as first:
        result = run(config)
        if not first:
            return
    typer.echo(f"{result.folder}: {_tested(result.summary)} ({_measured_on(result.summary)})")


def adapt(
    run: Annotated[str, typer.Argument(help="finished run: id or folder")],
    to: Annotated[str, typer.Option(help="prepared dataset of the other camera")],
    shots: Annotated[int, typer.Option(min=1, help="unlabelled pictures of it that are seen")] = 10,
    way: Annotated[
        str,
        typer.Option(
            help="none, histogram, statistics, fourier; parent, stage1, dynamic, no_style, "
            "detached (by diffusion); stage2, full (with alignment)"
        ),
    ] = "fourier",
    prior: Annotated[
        bool | None,
        typer.Option(help="move the level to the source's labels; default: of profiles"),
    ] = None,
    draw: Annotated[int, typer.Option(min=0, help="which draw of shots")] = 0,
    source_model: Annotated[
        str, typer.Option(help="DDPM of the source: a file, or that of phantom SLO pictures")
    ] = SLO_MODEL,
    epochs: Annotated[int | None, typer.Option(help="of an aligned run (stage2, full)")] = None,
    batch_size: Annotated[int | None, typer.Option(help="of an aligned run")] = None,
    lr_scale: Annotated[float | None, typer.Option(help="of an aligned run")] = None,
) -> None:
    """Adapt a run to another camera, of which a few unlabelled pictures are at hand.

    Fourier with prior matching is the way to beat: pictures cost next to nothing, and the run is
    trained once more. stage1 and full are MFM-DA.
    """
    from rnfl import datasets
    from rnfl.adaptation import ways
    from rnfl.runs import results

    prepared = datasets.prepare(to)
    given = {"epochs": epochs, "batch_size": batch_size, "lr_scale": lr_scale}
    changes = {name: value for name, value in given.items() if value is not None}
    if "epochs" in changes:
        changes["warmup_epochs"] = min(5, epochs // 4)
    found = results.load_run(_run_id(run))
    prior = found.config.task == "profile" if prior is None else prior
    given = found, to, way + "+prior" * prior, shots, draw, source_model
    result = ways.adapt(*given, **changes)
    seen = ways.take_shots(to, shots, draw)
    typer.echo(f"{result.folder}: adapted with {shots} shots of {to} ({given[2]})")
    typer.echo(_on_the_target(result, prepared, set(seen.samples["patient_id"])))


def _on_the_target(result, prepared, gave: set[str]) -> str:
    """Say how an adapted run reads test eyes whose patients neither taught it nor gave a shot."""
    from rnfl.runs import restore
    from rnfl.runs.predictions import predict_with, segment_with
    from rnfl.training.predict import reported_error

    rows = prepared.subset("test")
    known = gave | restore.shared_patients(result, prepared, rows)
    mine = ~prepared.samples["patient_id"].iloc[rows].isin(known).to_numpy()
    left_out = f"; {(~mine).sum()} of patients it knows are left out" * bool((~mine).any())
    rows = rows[mine]
    if not len(rows):
        return f"No test eyes of {prepared.name} to measure it on{left_out}"
    if result.config.task == "masks":
        means = segment_with(result, prepared.name)[mine][["dice_disc", "dice_cup"]].mean()
        said = f"Dice of disc {means['dice_disc']:.3f}, of cup {means['dice_cup']:.3f}"
    else:
        error = reported_error(predict_with(result, prepared.name)[mine], prepared, rows)
        if error["test_mae"] is None:
            return f"No labels of {prepared.name} to measure it on{left_out}"
        said = f"test MAE {error['test_mae']:.2f} µm"
    return f"{said} on {len(rows)} eyes of {prepared.name}{left_out}"


def transfer(
    models: Annotated[list[str], typer.Argument(help="finished runs: ids or folders")],
    on: Annotated[str, typer.Option(help="prepared dataset that the models have not seen")],
    drop_shared: Annotated[bool, typer.Option(help="leave out patients seen in training")] = False,
    output: Annotated[Path | None, typer.Option(help="folder for the tables")] = None,
) -> None:
    """Measure models on another dataset, beside baselines fitted to their training dataset."""
    import pandas as pd

    from analysis.accuracy import quadrants
    from rnfl import datasets
    from rnfl.core import labels
    from rnfl.inference import trained
    from rnfl.runs import results
    from rnfl.storage import errors, provenance
    from rnfl.storage.paths import data_root
    from rnfl.study import external_validation

    if output and output.exists():
        raise ValueError(f"{output} exists already: expected the name of a new folder")
    prepared = datasets.prepare(on)
    for said in labels.check(prepared.samples, prepared.profiles, f"dataset {on}"):
        typer.echo(said)
    found = [results.load_run(trained.find(model)) for model in models]
    compared = external_validation.compare(found, on, drop_shared=drop_shared)
    table = quadrants.quadrant_table(compared.frames, on, constant=compared.constant)
    linear = [name for name in compared.frames if name.startswith(external_validation.LINEAR)]
    paired = [quadrants.paired_quadrants(compared.frames, name) for name in linear]
    inputs = {"dataset": prepared.hash, "runs": [one.run_id for one in found]}
    address = provenance.sha256_json(inputs | {"drop_shared": drop_shared})[:10]
    folder = output or data_root() / "evaluations" / f"{on}-{address}"
    kept = "models and datasets are as they were; --output names another folder"
    with (
        errors.writing(f"tables {folder.name}", folder.parent, kept),
        provenance.publish_folder(folder, new=output is not None) as aside,
    ):
        provenance.write_csv(aside / "quadrants.csv", table)
        provenance.write_csv(aside / "paired.csv", pd.concat(paired))
        provenance.write_csv(aside / "predictions.csv", compared.predictions)
        facts = {"inputs": inputs, "patients_left_out": compared.n_shared}
        provenance.write_json(aside / "about.json", provenance.record() | facts)
    typer.echo(compared.heading)
    typer.echo(external_validation.describe(table))
    for against in paired:
        typer.echo(f"\n{external_validation.describe_paired(against)}")
    typer.echo(f"\n{folder}")


def convert(
    file: Annotated[Path, typer.Argument(help="checkpoint as published")],
    backbone: Annotated[str, typer.Option(help="the backbone it belongs to, see rnfl backbones")],
    output: Annotated[Path | None, typer.Option(help="safetensors file to write")] = None,
    under: Annotated[str | None, typer.Option(help="key of the weights, if another")] = None,
    prefix: Annotated[str | None, typer.Option(help="what their names begin with")] = None,
    drop: Annotated[list[str] | None, typer.Option(help="beginning of names to leave out")] = None,
) -> None:
    """Convert a published checkpoint to safetensors, and say what became of its keys."""
    from rnfl.models.checkpoints import loading

    told = (under, prefix, drop) != (None, None, None)
    place = (under or "", prefix or "", drop or ()) if told else None
    written, report = loading.convert(file, backbone, output, place)
    typer.echo(f"{report.text}\n{written}")


def backbones(
    markdown: Annotated[bool, typer.Option(help="as the table of BACKBONES.md")] = False,
) -> None:
    """List the registered backbones and where their weights are."""
    from rnfl.models.checkpoints import files

    typer.echo(files.markdown() if markdown else files.listing(), nl=False)


@contextmanager
def _together() -> Iterator[bool]:
    """Join the other processes that torchrun started, if it did; yield whether to speak."""
    if "WORLD_SIZE" not in os.environ:
        yield True
        return
    from rnfl.training import distributed

    with distributed.joined():
        yield distributed.is_first()


def _refuse_unread(context: typer.Context, protocol: str) -> None:
    """Refuse options of the command line that the protocol's solver does not read."""
    from rnfl.training.protocols import PROTOCOLS, UNREAD, get

    unread = UNREAD[type(get(protocol))]
    unread += LESSON if "lesson" in unread else ()
    names = {one.name: "/".join(one.opts + one.secondary_opts) for one in context.command.params}
    given = {key for key in names if context.get_parameter_source(key).name != "DEFAULT"}
    lost = [name for key, name in names.items() if key in given and key in unread]
    if lost:
        read = [name for key, name in names.items() if key not in unread]
        others = [key for key, one in PROTOCOLS.items() if given.isdisjoint(UNREAD[type(one)])]
        raise ValueError(
            f"protocol {protocol!r} does not read {', '.join(lost)}: it reads {', '.join(read)}. "
            f"Leave out what it does not read, or choose --protocol {' or '.join(others)}"
        )


def _micro_batch(text: str) -> int | str | None:
    if text in ("all", "auto"):
        return None if text == "all" else text
    if text.isdecimal() and int(text):
        return int(text)
    raise ValueError(
        f"--micro-batch {text!r}: expected how many images are computed at once, 1 or more, or "
        "'auto' or 'all'"
    )


def _augment(text: str) -> str | None:
    if text == "None":
        raise ValueError("--augment 'None': expected 'intensity', or 'none' in small letters")
    return None if text == "none" else text  # other names are the configuration's to refuse


def _run_id(run: str) -> str:
    """Return the id of a finished run; its folder must be where runs are kept."""
    from rnfl.inference import trained
    from rnfl.storage.paths import runs_root

    folder = trained.find(run)
    if folder.parent != runs_root().resolve():
        raise ValueError(f"start {folder}: copy it to {runs_root()}, so that it is found again")
    return folder.name


def _tested(summary: dict) -> str:
    """Return the errors of a run on its test split, in words."""
    names = {"test_mae": "MAE", "test_dice_disc": "Dice disc", "test_dice_cup": "Dice cup",
             "test_cdr_error": "error of the cup-to-disc ratio"}  # fmt: skip
    unit = {"test_mae": " µm"}
    found = {name: summary[name] for name in names if summary.get(name) is not None}
    if summary["val_target"] == "pictures":
        return "a start, to be given to --start"
    said = (f"{names[name]} {value:.2f}{unit.get(name, '')}" for name, value in found.items())
    return f"test {', '.join(said)}" if found else "no test split"


def _measured_on(summary: dict) -> str:
    """Return how many eyes a run learnt from and what its errors are measured on, in words."""
    counts = f"{summary['n_train']} eyes train, {summary['n_val']} validate"
    how = "validation" if summary["n_val"] else "inner cross-validation"
    labels = "labels" if summary["n_val"] else "complete labels"  # which only a readout needs
    unused = f", {summary['n_unlabelled']} lack {labels}" if summary["n_unlabelled"] else ""
    if summary["val_target"] == "pictures":
        told = 1 - summary["best_val_masked_error"]
        return f"{counts}; R² of hidden patches in pictures to validate with {told:.3f}"
    if summary["val_target"] == "masks":
        validation = f"{how} Dice, mean of disc and cup, {1 - summary['best_val_dice_error']:.2f}"
    else:
        target = {"profile": "profiles", "quadrants": "quadrant means"}[summary["val_target"]]
        validation = f"{how} MAE on {target} {summary['best_val_mae']:.2f} µm"
    return f"{counts}, {summary['n_test']} test{unused}; {validation}"
