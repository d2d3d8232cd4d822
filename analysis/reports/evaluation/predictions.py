"""Predictions made elsewhere, read from CSV or parquet into the project's predictions table.

Three layouts are told apart by their columns; columns may stand in any order, rows too:

- long: ``sample_id, angle, prediction, ground_truth``, 360 rows per sample;
- wide: ``sample_id, prediction_0 ... prediction_359, ground_truth_0 ... ground_truth_359`` (also
  ``pred_``, ``true_`` and ``target_``; numbers may be padded with zeros), one row per sample;
- this project's own ``predictions.parquet``: ``run_id, eye_id, patient_id, prediction, target``.

Optional columns are ``model`` (several models in one file), ``patient_id`` and ``laterality``.
Angles are whole degrees from 0 to 359 in right-eye orientation (0 temporal, 90 superior, 180 nasal,
270 inferior: left eyes mirrored), thickness is in µm. Ground truth may be missing, predictions may
not. Identifiers are text: ``007`` and ``7`` are two samples.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from rnfl.core import schema
from rnfl.core.geometry import N_ANGLES
from rnfl.storage.tables import identifiers, listed, numbers, read_table

THICKEST = 400.0  # µm; no circumpapillary RNFL is thicker (ours)
NOT_MICROMETRES = 2.0  # a profile nowhere thicker is in mm or normalised (ours)
NUMBERED = re.compile(r"(prediction|pred|ground_truth|true|target)_(\d+)")
RESERVED = ("template", "oracle", "oracle floor", "target", "few templates")  # of our own tables
SAME = {"eye_id": "sample_id", "run_id": "model", "target": "ground_truth", "eye": "laterality"}
LAYOUTS = (
    "Expected a CSV, long (sample_id, angle, prediction, ground_truth) or wide (sample_id, "
    "prediction_0 ... prediction_359, ground_truth_0 ... ground_truth_359), or the "
    "predictions.parquet of a finished run, <run id>/predictions.parquet"
)


@dataclass(frozen=True, eq=False)
class Imported:
    """Predictions of one or several models for the same samples, both sorted by name.

    ``keys`` has sample_id, and patient_id and laterality where the file has them; ``target`` is
    (n, 360) in µm, NaN where missing, and ``predictions`` holds a matrix (n, 360) by model.
    """

    source: Path
    layout: str
    keys: pd.DataFrame
    target: np.ndarray
    predictions: dict[str, np.ndarray]

    def table(self, patients: Sequence[str]) -> pd.DataFrame:
        """Return the predictions table, given the patient of each sample of ``keys``."""
        eyes = self.keys["sample_id"].tolist()
        parts = [
            schema.predictions_frame(model, eyes, list(patients), matrix, self.target)
            for model, matrix in self.predictions.items()
        ]
        return pd.concat(parts, ignore_index=True)

    def runs(self) -> pd.DataFrame:
        """Return one row per model: backbone 'imported', the model's short name as its protocol."""
        names = list(self.predictions)
        short = shortened(names)
        return pd.DataFrame({"run_id": names, "backbone": "imported", "protocol": short})


def read_predictions(path: str | Path) -> Imported:
    """Read predictions in any of the three layouts.

    Without a column ``model`` the name of the file is the model's.

    Raises
    ------
    ValueError
        Naming the file and listing the samples and angles, columns or values at fault.
    """
    path = Path(path)
    text = ("sample_id", "model", "patient_id", "laterality")
    frame = read_table(path, SAME, text, LAYOUTS, needed=("sample_id",))
    wide, long = any(map(NUMBERED.fullmatch, frame)), "angle" in frame
    lists = path.suffix == ".parquet" and "prediction" in frame and not long
    absent = {"sample_id"} | ({"prediction", "ground_truth"} if long else set())
    absent -= set(frame)
    if absent or wide + long + lists != 1:
        what = f"columns {sorted(absent)} are missing" if absent else "of no known layout"
        found = listed((name for name in frame if not NUMBERED.fullmatch(name)), 12)
        numbered = " and numbered ones" if wide else ""
        raise ValueError(f"{path}: {what}; found {found}{numbered}. {LAYOUTS}")
    if frame.empty:
        raise ValueError(f"{path} has no rows")
    if "model" not in frame:
        model = pd.Series(path.name.split(".")[0], index=frame.index, name="model")
        frame = pd.concat([frame, model], axis=1)
    for name in ("sample_id", "model", "patient_id"):
        if name in frame:
            frame[name] = identifiers(frame[name], f"{path}: {name}")
    if long:
        return _assemble(*_from_long(frame, path), path, "long")
    if wide:
        return _assemble(*_from_wide(frame, path), path, "wide")
    names = {"model": "run_id", "sample_id": "eye_id", "ground_truth": "target"}
    table = schema.validate(frame.rename(columns=names), "predictions", str(path))
    pair = (schema.matrix(table, name) for name in ("prediction", "target"))
    return _assemble(frame.reset_index(drop=True), *pair, path, "own")


def _from_wide(frame: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Return rows, predictions and ground truth (n, 360) of numbered columns.

    Raises
    ------
    ValueError
        When an angle is there twice, is missing, or is beyond 359.
    """
    sides: dict[bool, dict[int, str]] = {True: {}, False: {}}
    for name in frame:
        if match := NUMBERED.fullmatch(name):
            side, angle = sides[match[1].startswith("pred")], int(match[2])
            if angle in side:
                raise ValueError(f"{path}: columns {side[angle]} and {name} are the same angle")
            side[angle] = name
    for side, what in ((sides[True], "prediction"), (sides[False], "ground_truth")):
        gaps = [f"{what}_{angle}" for angle in range(N_ANGLES) if angle not in side]
        beyond = [side[angle] for angle in sorted(side) if angle >= N_ANGLES]
        if gaps or beyond:
            raise ValueError(
                f"{path}: expected {what}_0 to {what}_359"
                + (f"; missing {listed(gaps)}" if gaps else "")
                + (f"; too much is {listed(beyond)} (360° is 0° again)" if beyond else "")
            )
    prediction, target = (
        np.column_stack([numbers(frame[s[k]], f"{path}: {s[k]}") for k in range(N_ANGLES)])
        for s in (sides[True], sides[False])
    )
    return frame, prediction, target


def _from_long(frame: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Return one row per model and sample, its predictions and ground truth (n, 360).

    Raises
    ------
    ValueError
        Listing samples with repeated, missing or impossible angles, or whose patient or laterality
        is not the same in all rows.
    """
    angle = _angles(frame, path)
    model, models = pd.factorize(frame["model"], sort=True)
    sample, samples = pd.factorize(frame["sample_id"], sort=True)
    pairs, row = np.unique(model * len(samples) + sample, return_inverse=True)
    several = len(models) > 1

    def name(i: int) -> str:
        text = samples[pairs[i] % len(samples)]
        return f"{text} of {models[pairs[i] // len(samples)]}" if several else text

    count = np.bincount(row * N_ANGLES + angle, minlength=len(pairs) * N_ANGLES)
    count = count.reshape(-1, N_ANGLES)
    repeated, gaps = np.argwhere(count > 1), np.argwhere(count == 0)
    if len(repeated):
        found = [f"{name(i)} at {k}° ({count[i, k]} rows)" for i, k in repeated[:6]]
        raise ValueError(
            f"{path}: {len(repeated)} angles of {len(set(repeated[:, 0]))} samples are repeated: "
            f"{listed(found, 5, len(repeated))}"
        )
    if len(gaps):
        short = np.unique(gaps[:, 0])
        found = [
            f"{name(i)} lacks {listed(f'{k}°' for k in np.flatnonzero(count[i] == 0))}"
            for i in short[:6]
        ]
        raise ValueError(
            f"{path}: {len(short)} samples have fewer than {N_ANGLES} angles: "
            f"{listed(found, 5, len(short), '; ')}"
        )
    first = np.zeros(len(pairs), dtype=int)
    first[row[::-1]] = np.arange(len(frame))[::-1]
    for column in {"patient_id", "laterality"} & set(frame):
        codes = pd.factorize(frame[column], use_na_sentinel=False)[0]
        differ = np.unique(row[codes != codes[first[row]]])
        if len(differ):
            found = listed((name(i) for i in differ[:6]), 5, len(differ))
            raise ValueError(f"{path}: {column} changes within samples: {found}")
    matrices = []
    for column in ("prediction", "ground_truth"):
        matrix = np.empty((len(pairs), N_ANGLES))
        matrix[row, angle] = numbers(frame[column], f"{path}: {column}")
        matrices.append(matrix)
    return frame.iloc[first].reset_index(drop=True), *matrices


def _angles(frame: pd.DataFrame, path: Path) -> np.ndarray:
    """Return the angles as whole degrees 0 to 359, or say what they seem to be."""
    angle = numbers(frame["angle"], f"{path}: angle")
    bad = ~np.isfinite(angle) | (angle != np.floor(angle)) | (angle < 0) | (angle >= N_ANGLES)
    if not bad.any():
        return angle.astype(int)
    known = angle[np.isfinite(angle)]
    whole = (known == np.floor(known)).all()
    if len(known) and not whole and np.abs(known).max() < 2 * np.pi + 0.01:
        hint = " They look like radians: multiply by 180/π."
    elif len(known) and whole and known.max() == N_ANGLES and known.min() == 1:
        hint = (
            " They run from 1 to 360: write the place of the first value as 0 (degrees, or "
            "subtract 1 if these are positions in an array)."
        )
    elif len(known) and whole and known.max() == N_ANGLES:
        hint = " 360° is 0° again: leave it out."
    else:
        hint = ""
    rows = frame.loc[bad, "sample_id"].to_numpy()
    found = [f"{s} at {a:g}" for s, a in zip(rows[:6], angle[bad][:6], strict=True)]
    raise ValueError(
        f"{path}: angles of {len(set(rows))} samples are not whole degrees from 0 to 359: "
        f"{listed(found, 5, int(bad.sum()))}.{hint}"
    )


def _assemble(
    keys: pd.DataFrame, prediction: np.ndarray, target: np.ndarray, path: Path, layout: str
) -> Imported:
    """Check rows of one model and sample each, and arrange them by model, samples sorted."""
    keys = keys[[n for n in ("sample_id", "model", "patient_id", "laterality") if n in keys]]
    repeated = keys.loc[keys.duplicated(["model", "sample_id"]), "sample_id"]
    if len(repeated):
        raise ValueError(f"{path}: samples have more than one row: {listed(repeated)}")
    order = keys.sort_values(["model", "sample_id"]).index.to_numpy()
    keys, prediction, target = keys.loc[order], prediction[order], target[order]
    samples = sorted(set(keys["sample_id"]))
    if len(samples) < 2:
        raise ValueError(f"{path}: one sample only: a spread between eyes needs at least two")
    models = {}
    for name, rows in keys.reset_index(drop=True).groupby("model").groups.items():
        lacking = sorted(set(samples) - set(keys["sample_id"].iloc[rows]))
        if lacking:
            raise ValueError(f"{path}: {len(lacking)} samples lack model {name}: {listed(lacking)}")
        models[name] = rows.to_numpy()
    for name, rows in models.items():
        _check_thickness(prediction[rows], samples, f"{path}: predictions of {name}", False)
        _check_thickness(target[rows], samples, f"{path}: ground truth", True)
    first = next(iter(models.values()))
    own = keys.drop(columns="model").iloc[first].reset_index(drop=True)
    for name, rows in models.items():
        same = np.equal(target[rows], target[first]) | np.isnan(target[rows] + target[first])
        same &= np.isnan(target[rows]) == np.isnan(target[first])
        _refuse_differing(same.all(axis=1), samples, f"{path}: ground truth", name)
        for column in own.columns[1:]:
            same = (keys[column].iloc[rows].to_numpy() == own[column].to_numpy()).astype(bool)
            _refuse_differing(same, samples, f"{path}: {column}", name)
    predicted = {_shown(name): prediction[rows] for name, rows in models.items()}
    return Imported(path, layout, own, target[first], predicted)


def _refuse_differing(same: np.ndarray, samples: Sequence[str], where: str, model: str) -> None:
    if not same.all():
        found = listed(np.array(samples)[~same])
        raise ValueError(f"{where} of model {model} differs from that of another model: {found}")


def _check_thickness(
    values: np.ndarray, samples: Sequence[str], where: str, may_be_missing: bool
) -> None:
    """Refuse values (n, 360) that cannot be a thickness in µm."""
    absent = ~np.isfinite(values) if not may_be_missing else np.isinf(values)
    if absent.any():
        raise ValueError(f"{where}: missing or infinite: {_places(absent, values, samples)}")
    if np.isnan(values).all():
        raise ValueError(
            f"{where}: every value is missing, and this compares profiles. Where quadrant means "
            f"were measured, 'rnfl transfer' and notebook 06_cross_modality compare those"
        )
    largest = np.nanmax(np.abs(values))
    if largest < NOT_MICROMETRES:
        raise ValueError(
            f"{where}: no value exceeds {largest:g}: expected µm, these look like mm or "
            "normalised values"
        )
    outside = (values < 0) | (values > THICKEST) | (may_be_missing & (values == 0))
    if outside.any():
        hint = " (leave it empty where nothing was measured)" if may_be_missing else ""
        raise ValueError(
            f"{where}: expected 0 to {THICKEST:g} µm{hint}, found "
            f"{_places(outside, values, samples)}"
        )


def _places(bad: np.ndarray, values: np.ndarray, samples: Sequence[str]) -> str:
    found = [f"{samples[i]} at {k}°: {values[i, k]:g}" for i, k in np.argwhere(bad)[:6]]
    eyes = f"{bad.any(axis=1).sum()} samples"
    return f"{bad.sum()} values of {eyes}: {listed(found, 5, int(bad.sum()))}"


def _shown(model: str) -> str:
    """Return the name of a model; that of a row of our own tables gets a suffix."""
    return f"{model} (file)" if model in RESERVED else model


def shortened(names: Sequence[str], longest: int = 15) -> list[str]:
    """Return names that fit into figures, still distinct: long ones lose their middle.

    A run's name loses the hash at its end first.

    Examples
    --------
    >>> shortened(["mine", "phantom-slo-2400-phantom_mae-naive-s42-01b4395359"])
    ['mine', 'phanto…aive-s42']
    """
    head = longest // 2 - 1
    names = [re.sub(r"-[0-9a-f]{10}$", "", n) if len(n) > longest else n for n in names]
    short = [n if len(n) <= longest else f"{n[:head]}…{n[head + 1 - longest :]}" for n in names]
    repeated = len(set(short)) < len(short)
    return [f"model {i}" for i in range(1, len(names) + 1)] if repeated else short
