"""Commands that use a trained model: read photographs, and take the model elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ModelOption = Annotated[str, typer.Option(help="finished run (id or folder), or a bundle")]


def predict(
    images: Annotated[list[Path] | None, typer.Argument(help="photographs or folders")] = None,
    eye: Annotated[str | None, typer.Option(help="OD, OS or from-name, as in 12_OD_1.jpg")] = None,
    eyes: Annotated[
        Path | None, typer.Option(help="CSV: image, eye[, disc_x, disc_y, width_mm]")
    ] = None,
    model: ModelOption = "",
    output: Annotated[Path | None, typer.Option(help="new folder for everything")] = None,
    disc: Annotated[
        tuple[float, float] | None, typer.Option(help="disc centre of the photograph, px")
    ] = None,
    width_mm: Annotated[
        float | None, typer.Option(help="retina across a photograph; else its lit field is 13 mm")
    ] = None,
    crops: Annotated[bool, typer.Option(help="images are disc-centred, 4.943 mm wide")] = False,
    framing: Annotated[str, typer.Option(help="middle of a photograph: macula or disc")] = "macula",
    pages: Annotated[bool, typer.Option(help="also draw a report page per eye")] = True,
    dicom: Annotated[
        bool, typer.Option(help="of eyes given as DICOM also a DICOM SR, and their page as DICOM")
    ] = False,
) -> None:
    """Read photographs with a trained model: a table, and a one-page report per eye."""
    from rnfl.inference import bands, bundle, model_card, readings, trained
    from rnfl.inference import photographs as requests
    from rnfl.storage import errors, provenance
    from rnfl.storage.paths import data_root

    wanted, excluded = requests.collect(images or [], eye, eyes, disc, width_mm)
    if dicom and not any(request.header for request in wanted):
        raise ValueError("--dicom: none of the photographs that can be read is a DICOM file")
    if not model:
        raise ValueError(f"which model is not given: name one with --model. {trained.at_hand()}")
    name = (images[0] if images else eyes).resolve().stem or "readings"
    names = readings.destinations(output, data_root() / "predictions", name)
    used = bundle.load(model) if bundle.is_named(model) else trained.load(model)
    card = used.card if crops else model_card.for_photographs(used.card)
    if used.bands:
        card = card | {"notes": [*card["notes"], *bands.doubts(used.bands)]}
    kept = "photographs and model are as they were; --output names another folder"
    what, where = (output.name, output.parent) if output else (name, data_root() / "predictions")
    # The folder is begun before photographs are read: one that cannot be written is said at once.
    with (
        errors.writing(f"readings {what}", where, kept),
        provenance.publish_new_folder(names) as made,
    ):
        done = readings.read(wanted, used, excluded, crops, framing)
        readings.write(done, made.aside, card, used.bands)
        if pages:
            _draw_pages(done, used.reference, card, made.aside, used.bands)
        if dicom:
            _write_dicom(done, card, made.aside, used.bands)
    _say(done, card, made.path)


def _draw_pages(done, reference, card: dict, folder: Path, held: dict | None) -> None:
    """Draw the page of each eye; its file is named after the photograph, the page is not."""
    from analysis.reports import eye as eye_report
    from rnfl.core.exclusion import Excluded
    from rnfl.inference import bands
    from rnfl.storage.progress import progress

    names = _names(done)
    items = zip(done.requests, done.crops, done.profiles, strict=True)
    items = progress(items, "drawing pages", total=len(done.requests))
    for i, (request, crop, profile) in enumerate(items, start=1):
        about = request.laterality, crop.disc, crop.width_mm, profile, crop.doubts
        ends = bands.profile_limits(held, profile) if held and held["profile"] else None
        if request.header and request.header.names_patient:
            typer.echo(f"no page of {request.path}: the picture itself says who it is of", err=True)
            continue
        try:
            picture = request.picture()
        except Excluded as gone:  # since it was read
            typer.echo(f"no page of {request.path}: {gone}", err=True)
            continue
        eye = eye_report.Eye(picture, *about, ends)
        page = eye_report.draw(eye, reference, card, f"eye {i} of {len(done.requests)}")
        eye_report.save(page, folder / names[i - 1])


def _names(done) -> list[str]:
    """Return what the files of each eye are called, without suffix."""
    from rnfl.storage.paths import short_name

    number = len(str(len(done.requests)))
    stems = (short_name(request.path.stem) for request in done.requests)
    return [f"{i:0{number}}_{stem}" for i, stem in enumerate(stems, start=1)]


def _write_dicom(done, card: dict, folder: Path, held: dict | None) -> None:
    """Write the report, and the page where there is one, of each eye that was given as DICOM."""
    from rnfl.core.exclusion import Excluded
    from rnfl.inference import dicom_report
    from rnfl.storage.progress import progress

    items = zip(done.requests, _names(done), (row for _, row in done.table.iterrows()), strict=True)
    for request, name, row in progress(items, "writing DICOM", total=len(done.requests)):
        if not request.header:
            continue
        try:
            report = folder / f"{name}_sr.dcm"
            dicom_report.write_report(report, request.path, row, card, held)
            if (page := folder / f"{name}.pdf").exists():
                dicom_report.write_page(folder / f"{name}_pdf.dcm", request.path, page)
        except Excluded as refused:
            typer.echo(f"{request.path}: {refused}", err=True)


def _say(done, card: dict, folder: Path) -> None:
    for i, row in enumerate(done.table.itertuples(), start=1):
        unsure = f"  unsure, look at it: {row.doubts}" if row.doubts else ""
        typer.echo(f"eye {i} ({row.eye}): mean {row.rnfl_mean:.1f} µm{unsure}")
    for row in done.exclusions.itertuples():
        typer.echo(f"left out {row.image}: {row.reason}")
    for note in card["notes"]:
        typer.echo(f"note: {note}")
    typer.echo(f"{len(done.table)} read, {len(done.exclusions)} left out: {folder}")


def calibrate(
    run: Annotated[str, typer.Argument(help="finished run: its id or folder")],
    on: Annotated[str, typer.Option(help="prepared dataset with labelled eyes of other patients")],
    level: Annotated[float, typer.Option(help="share of eyes that the band is to hold")] = 0.9,
    by: Annotated[str | None, typer.Option(help="column whose groups get their own band")] = None,
) -> None:
    """Give a model bands: how far its curve can be trusted, from eyes it has never seen.

    Whoever predicts with it gets them then, in the table and on the page.
    """
    from rnfl import datasets
    from rnfl.inference import bands, trained
    from rnfl.runs import results

    found = results.load_run(trained.find(run))
    found.expect("profile", "masks have no band here")
    datasets.prepare(on)
    record = bands.calibrate(found, on, level, by)
    left_out = f"; {record['left_out']} patients it knows are left out" * bool(record["left_out"])
    typer.echo(f"{record['eyes']} eyes of {record['patients']} patients of {on}{left_out}")
    for name, width in zip(bands.MEASURES, record["measures"]["pointwise"], strict=True):
        told = "measured in too few patients" if width is None else f"± {width:.1f} µm"
        typer.echo(f"{'mean thickness' if name == 'mean' else name}: {told}")
    if record["profile"]:
        whole, points = (record["profile"][name] for name in ("whole", "pointwise"))
        known = [[one for one in ends if one is not None] for ends in (whole, points)]
        told, alone = (f"± {min(ends):.1f} to {max(ends):.1f} µm" for ends in known)
        typer.echo(f"curve: {told}, all angles at once (each by itself {alone})")
    for name, (factor, n) in (record["profile"] or record["measures"])["groups"].items():
        typer.echo(f"{by} {name}: {factor:.2f} of that ({n} patients)")
    for doubt in bands.doubts(record):
        typer.echo(f"note: {doubt}")
    typer.echo(found.folder / bands.NAME)


def export(
    run: Annotated[str, typer.Argument(help="finished run: its id or folder")],
    output: Annotated[
        Path | None, typer.Option(help="default: <run>.onnx in data/exported")
    ] = None,
) -> None:
    """Write a trained model as ONNX, checked against torch, unless that is done."""
    from rnfl.inference import onnx as exporting
    from rnfl.inference import trained
    from rnfl.storage.paths import data_root

    used = trained.load(run)
    path = output or data_root() / "exported" / f"{used.folder.name}.onnx"
    done = path.exists() and path.with_suffix(".json").exists()
    about = exporting.export(used, path)
    if done:
        typer.echo("this model was exported before, and what is there is whole")
    source, checked = about["input"], about["checked_on"]
    typer.echo(
        f"largest relative difference from torch {about['max_relative_difference']:.1e} "
        f"on {checked['images']} images ({checked['crops']} crops)"
    )
    typer.echo(f"{path}: {source['name']} {source['shape']} in [0, 1] to 360 µm per eye")


def bundle(
    run: Annotated[str, typer.Argument(help="finished run: its id or folder")],
    output: Annotated[
        Path | None, typer.Option(help="default: <run>.rnfl.zip in data/exported")
    ] = None,
) -> None:
    """Put all that reading photographs takes into one file, which needs no torch to be used."""
    from rnfl.inference import bundle as bundling
    from rnfl.inference import trained
    from rnfl.storage import provenance
    from rnfl.storage.paths import data_root

    used = trained.load(run)
    path = output or data_root() / "exported" / f"{used.folder.name}{bundling.SUFFIX}"
    done = path.exists()
    manifest = bundling.write(used, path)
    if done:
        typer.echo("this model was bundled before, and what is there is whole")
    typer.echo(
        f"largest relative difference from torch {manifest['max_relative_difference']:.1e}; "
        f"{'calibrated bands' if used.bands else 'no bands (rnfl calibrate)'}, "
        f"{'reference values' if used.reference is not None else 'no reference values'}"
    )
    for one in bundling.licences(used.card):
        typer.echo(f"licence: {one['what']}: {one['licence']}")
    digest = provenance.sha256_file(path)
    typer.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB, SHA-256 {digest}")
