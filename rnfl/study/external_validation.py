"""Models measured on a dataset they have not seen, beside baselines fitted to the one they have.

All see the same training eyes (those that trained or validated the network) and the same test
eyes, and none knows the level of the other dataset.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from rnfl import datasets
from rnfl.core import schema
from rnfl.core.geometry import QUADRANTS, quadrant_means
from rnfl.core.identity import bare
from rnfl.datasets.prepared import Prepared
from rnfl.inference import trained
from rnfl.runs import restore, results
from rnfl.runs.results import RunResult
from rnfl.storage.tables import listed
from rnfl.study import baselines

Learnt = tuple[Prepared, np.ndarray]  # a dataset and the rows that a model has learnt from

LINEAR = "PCA + ridge"  # the baseline that models are compared with, eye by eye
BASELINES: dict[str, baselines.Fit] = {
    "constant": baselines.fit_constant,
    LINEAR: baselines.fit_pca_ridge,
}


@dataclass(frozen=True)
class Comparison:
    """Models and baselines on the eyes of a dataset that they have not seen.

    ``frames`` hold the :func:`rnfl.core.schema.quadrant_pairs` (µm) of each method; runs that
    differ in their seed alone are one method. ``doubts`` name patients that may be the same people
    as those of another source that a model learnt from.
    """

    dataset: str
    frames: dict[str, pd.DataFrame]
    constant: list[str]  # the methods that predict the same for every eye
    n_shared: int  # patients that were left out because a model has learnt from them
    doubts: list[str] = field(default_factory=list)

    @property
    def predictions(self) -> pd.DataFrame:
        """All frames, one below the other, with a column ``method``."""
        named = [frame.assign(method=method) for method, frame in self.frames.items()]
        return pd.concat(named, ignore_index=True)

    @property
    def heading(self) -> str:
        """How many eyes of how many patients were measured, in words."""
        frame = next(iter(self.frames.values()))
        text = f"{self.dataset}: {len(frame)} eyes of {frame['patient_id'].nunique()} patients"
        text += f", {self.n_shared} patients left out" if self.n_shared else ""
        return "\n".join([text, *self.doubts])


def describe(table: pd.DataFrame) -> str:
    """Return the errors of a quadrant table, three lines per method: µm with 95 % intervals.

    Its columns are method, metric, group, estimate, low and high.
    """
    cells = table.set_index(["method", "metric", "group"])
    lines = []
    for method in table["method"].unique():
        errors = {name: _cell(cells.loc[(method, "mae", name)]) for name in ("mean", *QUADRANTS)}
        bias, r = (_cell(cells.loc[(method, metric, "global")]) for metric in ("bias", "r"))
        lines.append(method)
        lines.append(f"  MAE {errors.pop('mean')}, bias of mean {bias}, r of mean {r}")
        lines.append("  MAE " + ", ".join(f"{name} {text}" for name, text in errors.items()))
    return "\n".join(lines)


def describe_paired(table: pd.DataFrame) -> str:
    """Return differences in mean quadrant error to one method, one line each, µm.

    The table is that of :func:`analysis.accuracy.quadrants.paired_quadrants`.
    """
    lines = [f"MAE mean less that of {table['against'].iloc[0]}, on the same eyes:"]
    width = table["method"].str.len().max()
    for row in table.itertuples():
        interval = f"{row.estimate:+.2f} [{row.low:+.2f}, {row.high:+.2f}]"
        p = f"p {row.p_holm:.3f}" if row.p_holm >= 0.0005 else "p < 0.001"
        lines.append(f"{row.method:<{width}}  {interval}  {p} (Holm)")
    return "\n".join(lines)


def _cell(row: pd.Series) -> str:
    if not np.isfinite(row["estimate"]):
        return "-"
    return f"{row['estimate']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


def compare(
    found: Sequence[RunResult],
    dataset: str,
    fitted: Mapping[str, baselines.Fit] | None = None,
    drop_shared: bool = False,
) -> Comparison:
    """Predict all eyes of a dataset with models trained elsewhere, and with baselines.

    A patient is one that a model has learnt from by the id, however it is spelt, where both
    datasets are of one source, and by the image, pixel for pixel, everywhere.

    Parameters
    ----------
    found, dataset
        Finished runs, and the prepared dataset to predict.
    fitted : mapping of str to baselines.Fit, optional
        By default :data:`BASELINES`; fitted once to each dataset that the runs were trained on.
    drop_shared : bool
        Leave out patients that a model has learnt from, in place of refusing.

    Raises
    ------
    ValueError
        If no eye was measured, a model has learnt from patients of the dataset, or nothing else
        is left.
    """
    prepared = datasets.load(dataset)
    every = np.arange(len(prepared))
    truth = schema.true_quadrants(prepared.samples, prepared.profiles)
    if np.isnan(truth).all():
        raise ValueError(
            f"{prepared.name}: no quadrant of its {len(prepared)} eyes was measured, so there is "
            f"nothing to compare with; 'rnfl predict' reads eyes without labels"
        )
    shared = set().union(*(restore.shared_patients(one, prepared, every) for one in found))
    learnt = {  # once, where several runs have learnt from the same eyes
        (of.name, rows.tobytes()): (of, rows)
        for one in found
        for of, rows in restore.learnt_from(one)
    }.values()
    shared |= _seen_again(learnt, prepared)
    rows = np.flatnonzero(~prepared.samples["patient_id"].isin(shared))
    if shared and (not drop_shared or not len(rows)):
        raise ValueError(
            f"these models were trained on {len(shared)} of "
            f"{prepared.samples['patient_id'].nunique()} patients of {prepared.name}, by ids "
            f"(zeros, case and spaces do not count) or photographs: {listed(sorted(shared))}; "
            f"measure on other patients, or leave these out with --drop-shared where some remain"
        )
    fitted = BASELINES if fitted is None else fitted
    sources = {(one.config.dataset, one.config.split, one.config.lesson): None for one in found}
    frames, constant, samples, truth = {}, [], prepared.samples.iloc[rows], truth[rows]
    for source, split, lesson in sources:
        trained_on = _trained_on(results.divided(datasets.load(source), split, lesson))
        for name, fit in fitted.items():
            label = name if len(sources) == 1 else f"{name} of {source}, {split}"
            quadrants = fit(*trained_on)(prepared.images[rows])
            frames[label] = schema.quadrant_pairs(samples.assign(run_id=label), quadrants, truth)
            constant += [label] if name == "constant" else []
    for one in found:
        label = _label(one)
        profiles = trained.load(one.folder).predict(prepared.images[rows])
        quadrants = quadrant_means(profiles).to_numpy()
        frame = schema.quadrant_pairs(samples.assign(run_id=one.run_id), quadrants, truth)
        frames[label] = pd.concat([frames[label], frame]) if label in frames else frame
    doubts = list(dict.fromkeys(_namesakes(learnt, prepared, rows)))
    return Comparison(prepared.name, frames, constant, len(shared), doubts)


def _seen_again(learnt: Collection[Learnt], prepared: Prepared) -> set[str]:
    """Return the patients with an image that a model has learnt from, whatever their names."""
    digests = [_digest(image) for image in prepared.images]
    seen = {
        _digest(of.images[row])
        for of, rows in learnt
        if of.images.shape[1:] == prepared.images.shape[1:]
        for row in rows
    }
    again = [digest in seen for digest in digests]
    return set(prepared.samples.loc[again, "patient_id"])


def _digest(image: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(image)).digest()


def _namesakes(learnt: Collection[Learnt], prepared: Prepared, rows: np.ndarray) -> Iterator[str]:
    """Say which patients have the id of one of another source, in whatever spelling."""
    patients = set(prepared.samples["patient_id"].iloc[rows])
    for of, known in learnt:
        ids = {bare(one): one for one in of.samples["patient_id"].iloc[known]}
        pairs = sorted(f"{one} (there {ids[bare(one)]})" for one in patients if bare(one) in ids)
        if pairs:
            yield (
                f"WARNING: {len(pairs)} patients have ids of {of.name}, which was trained on: "
                f"{listed(pairs)}; if they are the same people, leave them out"
            )


def _label(result: RunResult) -> str:
    """Return a run's slug without its seed."""
    protocol = result.config.protocol.name
    return result.config.slug.replace(f"-{protocol}-s{result.config.seed}", f"-{protocol}", 1)


def _trained_on(learnt: Prepared) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return images, quadrants and patients that are not tested on and have all quadrants."""
    rows = np.flatnonzero(learnt.samples["split"] != "test")
    samples = learnt.samples.iloc[rows]
    truth = schema.true_quadrants(samples, np.asarray(learnt.profiles)[rows])
    complete = np.isfinite(truth).all(axis=1)
    patients = samples["patient_id"].to_numpy()[complete]
    return learnt.images[rows[complete]], truth[complete], patients
