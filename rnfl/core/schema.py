"""Columns, types and units of the project's tables, and the one way to join them: by eye.

``samples`` has one row per image, ``predictions`` and ``segmentation`` one row per run and eye,
``history`` one per run and epoch, ``runs`` one per run, and a ``statistic`` one per estimate.
Attributes of an eye (age, sex, race, ...) live in ``samples`` only and reach predictions by key,
never by row order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rnfl.core import identity
from rnfl.core.geometry import LATERALITIES, N_ANGLES, QUADRANTS, quadrant_means
from rnfl.storage.tables import listed

MODALITIES = ("SLO", "CFP")
SPLITS = ("train", "val", "test")
SEXES = ("F", "M")
RACES = ("Asian", "Black", "White")
ETHNICITIES = ("Hispanic", "Non-Hispanic")
SEVERITIES = ("healthy", "mild", "moderate", "severe")
RNFL_COLUMNS = ("rnfl_mean", *(f"rnfl_{name}" for name in QUADRANTS))


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    kind: str  # 'str', 'float', 'int', 'bool' or 'profile'
    unit: str = ""
    values: tuple[str, ...] = ()  # the valid ones; () = any
    #: 'value' (present, no missing entry), 'column' (present, entries may be missing), 'fill'
    #: (added as missing when absent) or 'optional'.
    need: str = "value"


TABLES: dict[str, dict[str, Column]] = {
    "samples": {
        **dict.fromkeys(("eye_id", "patient_id"), Column("str")),
        "laterality": Column("str", values=LATERALITIES),
        "modality": Column("str", values=MODALITIES),
        "split": Column("str", values=SPLITS),
        "age": Column("float", "years", need="fill"),
        "sex": Column("str", values=SEXES, need="fill"),
        "race": Column("str", values=RACES, need="fill"),
        "ethnicity": Column("str", values=ETHNICITIES, need="fill"),
        "severity": Column("str", values=SEVERITIES, need="fill"),
        **dict.fromkeys(RNFL_COLUMNS, Column("float", "µm", need="optional")),
    },
    "predictions": {
        **dict.fromkeys(("run_id", "eye_id", "patient_id"), Column("str")),
        "prediction": Column("profile", "µm"),
        "target": Column("profile", "µm, NaN where missing"),
    },
    "history": {
        "run_id": Column("str"),
        **dict.fromkeys(("epoch", "step"), Column("int")),
        "train_loss": Column("float"),
        "val_mae": Column("float", "µm", need="optional"),  # of profiles
        "val_dice_error": Column("float", need="optional"),  # of masks: 1 - mean Dice
        "val_masked_error": Column("float", need="optional"),  # of pictures: 1 - R² of hidden parts
        "lr_encoder": Column("float", need="column"),
        "lr_head": Column("float"),
        "seconds": Column("float", "s"),
    },
    "segmentation": {
        **dict.fromkeys(("run_id", "eye_id", "patient_id"), Column("str")),
        **dict.fromkeys(("dice_disc", "dice_cup"), Column("float", need="column")),
        **dict.fromkeys(("cdr", "cdr_true", "cdr_error"), Column("float", need="column")),
    },
    "runs": {
        **dict.fromkeys(("run_id", "dataset", "backbone", "protocol"), Column("str")),
        "seed": Column("int"),
        **dict.fromkeys(("best_epoch", "n_epochs"), Column("int", need="optional")),
        "best_val_mae": Column("float", "µm", need="optional"),
        "best_val_dice_error": Column("float", need="optional"),
        "stopped_early": Column("bool", need="optional"),
    },
    "statistic": {
        "metric": Column("str"),
        **dict.fromkeys(("attribute", "group"), Column("str", need="column")),
        **dict.fromkeys(("estimate", "low", "high"), Column("float", need="column")),
        "n": Column("int"),
    },
}

KEYS = {
    "samples": ["eye_id"],
    "predictions": ["run_id", "eye_id"],
    "segmentation": ["run_id", "eye_id"],
    "runs": ["run_id"],
}


def validate(frame: pd.DataFrame, table: str, source: str = "") -> pd.DataFrame:
    """Check a table and return it with its standard columns first and a fresh index.

    Parameters
    ----------
    frame : DataFrame
    table : str
        One of :data:`TABLES`.
    source : str
        File or step the table came from, named in errors.

    Returns
    -------
    DataFrame
        Other columns are kept, after the standard ones; 'fill' columns are added when absent.

    Raises
    ------
    ValueError
        Naming the table, the column, the bad values and the valid ones.
    """
    if table not in TABLES:
        raise ValueError(f"table {table!r}: expected one of {', '.join(TABLES)}")
    columns = TABLES[table]
    where = f"{table} ({source})" if source else table
    needed = [name for name, column in columns.items() if column.need in ("value", "column")]
    if absent := [name for name in needed if name not in frame]:
        raise ValueError(f"{where}: columns {absent} are missing; found {list(frame.columns)}")
    fill = [name for name, column in columns.items() if column.need == "fill"]
    frame = frame.assign(**{name: None for name in fill if name not in frame})
    known = [name for name in columns if name in frame]
    checked = {n: _check_column(frame[n], columns[n], f"{where}: {n}") for n in known}
    others = frame.drop(columns=known)
    frame = pd.concat([pd.DataFrame(checked), others], axis=1).reset_index(drop=True)
    if table in KEYS:
        _refuse_duplicates(frame, KEYS[table], where)
    if table == "samples":
        identity.check(frame, where)
    return frame


def _check_column(series: pd.Series, column: Column, where: str) -> pd.Series:
    """Return the column in its declared type, or raise a ValueError that begins with ``where``."""
    present = series[series.notna()]
    if column.need == "value" and len(present) < len(series):
        raise ValueError(f"{where}: {len(series) - len(present)} values are missing")
    if column.kind == "str":
        if foreign := [value for value in present if not isinstance(value, str)]:
            raise ValueError(f"{where}: {listed(map(repr, foreign))}: expected strings")
        unknown = sorted(set(present) - set(column.values)) if column.values else []
        if unknown:
            raise ValueError(f"{where}: {listed(unknown)}: expected {', '.join(column.values)}")
        return series.astype(object).where(series.notna(), None)
    if column.kind == "profile":
        if lengths := {len(value) for value in present} - {N_ANGLES}:
            raise ValueError(f"{where}: profiles of length {sorted(lengths)}: expected {N_ANGLES}")
        return series
    try:
        numbers = series.astype(float)
        if column.kind == "float":
            return numbers
        whole = series.astype(int if column.kind == "int" else bool)
        if (whole == numbers).all():
            return whole
        raise ValueError(listed(numbers[whole != numbers].astype(str)))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}: expected {column.kind}") from error


def _refuse_duplicates(frame: pd.DataFrame, key: list[str], where: str) -> None:
    repeated = frame.loc[frame.duplicated(key), key].astype(str).agg("/".join, axis=1)
    if len(repeated):
        raise ValueError(f"{where}: {'/'.join(key)} repeated: {listed(repeated)}")


def predictions_frame(
    run_id: str,
    eye_ids: Sequence[str],
    patient_ids: Sequence[str],
    prediction: np.ndarray,
    target: np.ndarray,
) -> pd.DataFrame:
    """Return a predictions table of one run from matrices (n, 360), µm.

    A ValueError says when the shapes or lengths disagree, or an eye occurs twice.
    """
    shape = (len(eye_ids), N_ANGLES)
    for name, values in (("prediction", prediction), ("target", target)):
        if np.shape(values) != shape:
            raise ValueError(f"{name} of shape {np.shape(values)}: expected {shape}")
    columns = {
        "run_id": [run_id] * len(eye_ids),
        "eye_id": list(eye_ids),
        "patient_id": list(patient_ids),
        "prediction": list(np.asarray(prediction, dtype=np.float32)),
        "target": list(np.asarray(target, dtype=np.float32)),
    }
    return validate(pd.DataFrame(columns), "predictions", run_id)


def matrix(predictions: pd.DataFrame, column: str = "prediction") -> np.ndarray:
    """Return one list column of a predictions table as a matrix (n, 360) of float64, µm."""
    rows = predictions[column].to_list()
    return np.concatenate([np.empty(0), *rows]).reshape(len(rows), N_ANGLES)


def join_samples(predictions: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """Return predictions with the other attributes of each eye, rows in the order of predictions.

    Raises
    ------
    ValueError
        When an eye is absent from ``samples`` or repeated there, when a run predicts an eye twice,
        or when the two tables disagree on whose eye it is.
    """
    _refuse_duplicates(samples, KEYS["samples"], "samples")
    _refuse_duplicates(predictions, KEYS["predictions"], "predictions")
    if len(unknown := predictions.loc[~predictions["eye_id"].isin(samples["eye_id"]), "eye_id"]):
        raise ValueError(f"predictions: eyes absent from samples: {listed(unknown)}")
    owner = predictions["eye_id"].map(samples.set_index("eye_id")["patient_id"])
    disagree = predictions.loc[owner != predictions["patient_id"], "eye_id"]
    if len(disagree):
        raise ValueError(f"predictions: patient_id differs from samples: {listed(disagree)}")
    others = samples.columns.difference(predictions.columns, sort=False)
    return predictions.merge(samples[["eye_id", *others]], on="eye_id", how="left")


def true_quadrants(samples: pd.DataFrame, profiles: np.ndarray) -> np.ndarray:
    """Return the true quadrant means (n, 4), µm, in the order S, N, I, T, NaN where missing.

    They are ``rnfl_S`` ... ``rnfl_T`` of ``samples`` where an eye has them (measured quadrants, as
    in GRAPE), else the quadrant means of its profile.

    Parameters
    ----------
    samples : DataFrame
        One row per eye.
    profiles : ndarray (n, 360), µm
        In the same order.
    """
    truth, columns = quadrant_means(profiles).to_numpy(), list(RNFL_COLUMNS[1:])
    if not set(columns) <= set(samples):
        return truth
    measured = samples[columns].to_numpy(dtype=float)
    return np.where(np.isfinite(measured), measured, truth)


def quadrant_pairs(eyes: pd.DataFrame, predicted: np.ndarray, truth: np.ndarray) -> pd.DataFrame:
    """Return predicted beside true quadrant means (n, 4), S N I T, one row per run and eye, µm.

    Parameters
    ----------
    eyes : DataFrame
        run_id, eye_id and patient_id, in the order of the quadrants.

    Returns
    -------
    DataFrame
        run_id, eye_id, patient_id, pred_S, pred_N, pred_I, pred_T, true_S, true_N, true_I, true_T.
    """
    keys = eyes[["run_id", "eye_id", "patient_id"]].reset_index(drop=True)
    sides = {"pred_": predicted, "true_": truth}.items()
    means = [pd.DataFrame(q, columns=list(QUADRANTS)).add_prefix(side) for side, q in sides]
    return pd.concat([keys, *means], axis=1)


def quadrant_frame(predictions: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """Return the :func:`quadrant_pairs` of a predictions table and its eyes' samples."""
    joined = join_samples(predictions, samples)
    predicted = quadrant_means(matrix(joined, "prediction")).to_numpy()
    return quadrant_pairs(joined, predicted, true_quadrants(joined, matrix(joined, "target")))
