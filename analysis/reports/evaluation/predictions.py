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
from rnfl.core.labels import refuse_unit, refuse_values
from rnfl.core.nanstats import mean
from rnfl.core.points import REMEDY, find_points
from rnfl.storage.tables import identifiers, listed, numbers, read_table

NUMBERED = re.compile(r"(prediction|pred|ground_truth|true|target)_(\d+(?:\.\d+)?)")
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
    ``resampled`` says from what points they were resampled, '' where they were not.
    """

    source: Path
    keys: pd.DataFrame
    target: np.ndarray
    predictions: dict[str, np.ndarray]
    resampled: str = ""

    def table(self, patients: Sequence[str]) -> pd.DataFrame:
        """Return the predictions table, given the patient of each sample of ``keys``."""
        eyes = self.keys["sample_id"].tolist()
        models = self.predictions.items()
        parts = (schema.predictions_frame(m, eyes, patients, p, self.target) for m, p in models)
        return pd.concat(parts, ignore_index=True)

    def runs(self) -> pd.DataFrame:
        """Return one row per model: backbone 'imported', the model's short name as its protocol."""
        names = list(self.predictions)
        # Between two dollars a figure would set a formula, or refuse to.
        shown = [name.replace("$", r"\$") for name in shortened(names)]
        columns = {"run_id": names, "backbone": "imported", "protocol": shown}
        return pd.DataFrame(columns)


def read_predictions(path: str | Path, do_resample: bool = False) -> Imported:
    """Read predictions in any of the three layouts.

    Without a column ``model`` the name of the file is the model's. With ``do_resample`` profiles
    may have any regular number of points, see :mod:`rnfl.core.points`.

    Raises
    ------
    ValueError
        Naming the file and listing the samples and angles, columns or values at fault.
    """
    path = Path(path)
    text = ("sample_id", "model", "patient_id", "laterality")
    frame = read_table(path, SAME, text, LAYOUTS, needed=("sample_id",))
    if "dice_disc" in frame:
        raise ValueError(
            f"{path} compares masks of disc and cup; evaluated here are RNFL profiles in µm. Means "
            "with intervals of masks: analysis.accuracy.segmentation.segmentation_table"
        )
    wide, long = any(map(NUMBERED.fullmatch, frame)), "angle" in frame
    lists = path.suffix == ".parquet" and "prediction" in frame and not long
    needed = {"sample_id", "prediction", "ground_truth"} if long or lists else {"sample_id"}
    absent = needed - set(frame)
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
    reader = _from_long if long else _from_wide if wide else _from_lists
    return _assemble(path, *reader(frame, path, do_resample))


# Each reader returns rows of one model and sample, their predictions and ground truth (n, 360), and
# from what points these were resampled.
Rows = tuple[pd.DataFrame, np.ndarray, np.ndarray, str]


def _from_lists(frame: pd.DataFrame, path: Path, do_resample: bool) -> Rows:
    """Read columns that hold lists."""
    sides = ["prediction", "ground_truth"]
    lengths = {len(row) for name in sides for row in frame[name]}
    if len(lengths) != 1:
        raise ValueError(f"{path}: profiles of {listed(sorted(lengths))} points: expected 360")
    points = find_points(map(str, range(lengths.pop())), str(path), do_resample)
    if not points.names:
        raise ValueError(f"{path}: profiles of fewer than 12 points: expected 360")
    pair = [points.profiles(np.stack(frame[name].to_list()).astype(float)) for name in sides]
    names = {"model": "run_id", "sample_id": "eye_id", "ground_truth": "target"}
    lists = frame.assign(**{name: list(side) for name, side in zip(sides, pair, strict=True)})
    schema.validate(lists.rename(columns=names), "predictions", str(path))
    return frame.reset_index(drop=True), *pair, points.said


def _from_wide(frame: pd.DataFrame, path: Path, do_resample: bool) -> Rows:
    """Read numbered columns; no angle may be there twice."""
    sides: dict[str, dict[str, str]] = {"prediction": {}, "ground_truth": {}}
    for name in frame:
        if match := NUMBERED.fullmatch(name):
            side = sides["prediction" if match[1].startswith("pred") else "ground_truth"]
            angle = f"{float(match[2]):.10g}"
            if angle in side:
                raise ValueError(f"{path}: columns {side[angle]} and {name} are the same angle")
            side[angle] = name
    matrices, said = [], []
    for what, side in sides.items():
        points = find_points(side, str(path), do_resample, f"{what}_")
        if not points.names:
            raise ValueError(
                f"{path}: {what} has {len(side)} numbered columns: expected {what}_0 to {what}_359"
            )
        columns = [side[name] for name in points.names]
        values = np.column_stack([numbers(frame[name], f"{path}: {name}") for name in columns])
        matrices.append(points.profiles(values))
        said.append(points.said)
    return frame, *matrices, said[0]


def _from_long(frame: pd.DataFrame, path: Path, do_resample: bool) -> Rows:
    """Read one row per angle; samples have each angle once, one patient and one laterality."""
    angle, names = _angles(frame, path, do_resample)
    points, n_points = find_points(names, str(path), do_resample), len(names)
    if not points.names:
        raise ValueError(f"{path}: {n_points} angles, {listed(names)}: expected 0 to 359")
    row = frame.groupby(["model", "sample_id"]).ngroup().to_numpy()
    first = np.unique(row, return_index=True)[1]
    rows = frame.iloc[first].reset_index(drop=True)
    who = rows["sample_id"].to_numpy(object)
    if rows["model"].nunique() > 1:
        who = who + " of " + rows["model"].to_numpy(object)
    count = np.bincount(row * n_points + angle, minlength=len(rows) * n_points)
    count = count.reshape(-1, n_points)
    repeated, gaps = np.argwhere(count > 1), np.argwhere(count == 0)
    if len(repeated):
        found = [f"{who[i]} at {names[k]}° ({count[i, k]} rows)" for i, k in repeated[:6]]
        raise ValueError(
            f"{path}: {len(repeated)} angles of {len(set(repeated[:, 0]))} samples are repeated: "
            f"{listed(found, 5, len(repeated))}"
        )
    if len(gaps):
        short, seen = np.unique(gaps[:, 0]), np.unique(angle)
        even = len(short) == len(rows) and len(gaps) == len(rows) * (n_points - len(seen))
        hint = f". All have {len(seen)} angles, to {seen[-1]}°: {REMEDY}" if even else ""
        found = [
            f"{who[i]} lacks {listed(f'{names[k]}°' for k in np.flatnonzero(count[i] == 0))}"
            for i in short[:6]
        ]
        raise ValueError(
            f"{path}: {len(short)} samples have fewer than {n_points} angles: "
            f"{listed(found, 5, len(short), '; ')}{hint}"
        )
    for column in {"patient_id", "laterality"} & set(frame):
        codes = pd.factorize(frame[column], use_na_sentinel=False)[0]
        differ = np.unique(row[codes != codes[first[row]]])
        if len(differ):
            found = listed(who[differ], 5)
            raise ValueError(f"{path}: {column} changes within samples: {found}")
    pair = []
    for column in ("prediction", "ground_truth"):
        matrix = np.empty((len(rows), n_points))
        matrix[row, angle] = numbers(frame[column], f"{path}: {column}")
        pair.append(points.profiles(matrix[:, [names.index(one) for one in points.names]]))
    return rows, *pair, points.said


def _angles(frame: pd.DataFrame, path: Path, do_resample: bool) -> tuple[np.ndarray, list[str]]:
    """Return which of the file's angles each row has, and their names in ascending order.

    They are 0 to 359, unless others may be resampled; an error says what they seem to be.
    """
    angle = numbers(frame["angle"], f"{path}: angle")
    if do_resample and np.isfinite(angle).all() and (angle >= 0).all():
        distinct, place = np.unique(angle, return_inverse=True)
        return place, [f"{one:.10g}" for one in distinct]
    bad = ~np.isfinite(angle) | (angle != np.floor(angle)) | (angle < 0) | (angle >= N_ANGLES)
    if not bad.any():
        return angle.astype(int), [str(one) for one in range(N_ANGLES)]
    seen = np.unique(angle[np.isfinite(angle)])
    span, hint = "", f" If they are regular, {REMEDY}."
    if len(seen):
        span, whole = f", {seen[0]:g} to {seen[-1]:g}", (seen == np.floor(seen)).all()
        if not whole and np.abs(seen).max() < 2 * np.pi + 0.01:
            hint = " They look like radians: multiply by 180/π."
        elif whole and seen[-1] == N_ANGLES and seen[0] == 1:
            hint = (
                " They run from 1 to 360: write the place of the first value as 0 (degrees, or "
                f"subtract 1 if these are positions in an array), or {REMEDY}."
            )
        elif whole and seen[-1] == N_ANGLES:
            hint = f" 360° is 0° again: leave it out, or {REMEDY}."
    rows = frame.loc[bad, "sample_id"].to_numpy()
    found = [f"{s} at {a:g}" for s, a in zip(rows[:6], angle[bad][:6], strict=True)]
    raise ValueError(
        f"{path}: angles of {len(set(rows))} samples are not whole degrees from 0 to 359: "
        f"{listed(found, 5, int(bad.sum()))}. Seen {len(seen)} angles{span}.{hint}"
    )


def _assemble(
    path: Path, keys: pd.DataFrame, prediction: np.ndarray, target: np.ndarray, resampled: str
) -> Imported:
    """Check rows of one model and sample each, and arrange them by model, samples sorted."""
    keys = keys[[n for n in ("sample_id", "model", "patient_id", "laterality") if n in keys]]
    repeated = keys.loc[keys.duplicated(["model", "sample_id"]), "sample_id"]
    if len(repeated):
        raise ValueError(f"{path}: samples have more than one row: {listed(repeated)}")
    samples = np.unique(keys["sample_id"])
    if len(samples) < 2:
        raise ValueError(f"{path}: one sample only: a spread between eyes needs at least two")
    models = {}
    for name, rows in keys.groupby("model"):
        lacking = np.setdiff1d(samples, rows["sample_id"])
        if len(lacking):
            raise ValueError(f"{path}: {len(lacking)} samples lack model {name}: {listed(lacking)}")
        models[name] = rows.sort_values("sample_id").index.to_numpy()
    for name, rows in models.items():
        refuse_values(prediction[rows], samples, f"{path}: predictions of {name}", False)
        refuse_values(target[rows], samples, f"{path}: ground truth", True)
        if np.isnan(target[rows]).all():
            raise ValueError(
                f"{path}: ground truth: every value is missing, and this compares profiles. Where "
                "quadrant means were measured, 'rnfl transfer' and notebook 06_cross_modality "
                "compare those"
            )
        refuse_unit(mean(target[rows], axis=1), f"{path}: ground truth", samples)
    first = next(iter(models.values()))
    own = keys.drop(columns="model")
    for name, rows in models.items():
        both_nan = np.isnan(target[rows]) & np.isnan(target[first])
        same = {"ground truth": ((target[rows] == target[first]) | both_nan).all(axis=1)}
        for column in list(own)[1:]:
            same[column] = own[column].to_numpy()[rows] == own[column].to_numpy()[first]
        for what, equal in same.items():
            if not equal.all():
                raise ValueError(
                    f"{path}: {what} of model {name} differs from that of another model: "
                    f"{listed(samples[~equal])}"
                )
    own = own.iloc[first].reset_index(drop=True)
    # The name of a row of our own tables gets a suffix.
    shown = {name: f"{name} (file)" if name in RESERVED else name for name in models}
    predicted = {shown[name]: prediction[rows] for name, rows in models.items()}
    return Imported(path, own, target[first], predicted, resampled)


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
