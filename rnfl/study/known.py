"""What a backbone knows of the thickness before any fine-tuning, and what its pretraining told it.

A backbone that was asked for the thickness, or for what is nearly the thickness, has little left to
learn. Three linear readers say how near: of a frozen backbone's tokens (protocol `readout`), of the
targets that pretraining asked for, and of what the phantom's eyes show without a camera. **Ours**.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rnfl import datasets
from rnfl.core import metrics, schema
from rnfl.datasets import phantom
from rnfl.datasets.phantom import calibration
from rnfl.datasets.phantom.eyes import population
from rnfl.datasets.phantom.render import cues
from rnfl.datasets.prepared import Prepared
from rnfl.models.checkpoints import files
from rnfl.models.registry import BACKBONES
from rnfl.runs.predictions import predict_with
from rnfl.storage.paths import project_root
from rnfl.study.grid import run_grid
from rnfl.training.config import RunConfig

FIRST_PHANTOM = project_root() / "data" / "external" / "first_phantom" / "appearance.csv"
PENALTIES = np.logspace(-1, 5, 13)


def _scores(predicted: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    return {
        "r_mean": metrics.global_r(predicted, labels),
        "r_between": metrics.pearson_between_eyes(predicted, labels),
        "mae": metrics.mae(predicted, labels),
        "n": len(labels),
    }


def at_hand() -> list[str]:
    """Return random weights, the packaged backbones, and those that an installed extra brings."""
    names = ["phantom_scratch"]
    for name, spec in BACKBONES.items():
        brought = spec.source and spec.source.package and files.find(spec)
        if spec.weights == "packaged" or brought:
            names.append(name)
    return names


def readouts(backbones: Sequence[str], names: Iterable[str], engine: str = "auto") -> pd.DataFrame:
    """Train the readout of each frozen backbone on each phantom dataset; runs are kept.

    What is read at the smallest gap, by the cameras of pretraining, is also tried on the pictures
    of the other gaps: there the pictures of backbone and readout both come from elsewhere. The
    ``engine`` is that of :func:`rnfl.study.grid.run_grid`.

    Returns
    -------
    DataFrame
        camera, gap (of the test eyes' pictures), learnt ('at this gap', 'at gap <smallest>'),
        backbone, dataset, and of the test eyes: r_mean (correlation of the mean thickness between
        eyes), r_between (mean of the angles' correlations), mae (µm), n.
    """
    recipes = {name: phantom.parse(name) for name in names}
    order = sorted(recipes, key=lambda name: (recipes[name].modality != "slo", recipes[name].gap))
    for name in order:
        datasets.prepare(name)
    cells = [(name, backbone) for name in order for backbone in backbones]
    trained = run_grid([RunConfig(name, backbone, "readout") for name, backbone in cells], engine)
    readers, rows = dict(zip(cells, trained, strict=True)), []
    for name, backbone in cells:
        recipe = recipes[name]
        nearest = next(one for one in order if recipes[one].modality == recipe.modality)
        at = {"camera": recipe.modality.upper(), "gap": recipe.gap}
        for learnt, of in (("at this gap", name), (f"at gap {recipes[nearest].gap:g}", nearest)):
            seen = predict_with(readers[of, backbone], name)
            scores = _scores(schema.matrix(seen), schema.matrix(seen, "target"))
            rows.append(at | {"learnt": learnt, "backbone": backbone, "dataset": name} | scores)
    return pd.DataFrame(rows)


def of_targets(n_eyes: int = 600, seed: int = phantom.PRETRAINING_SEED + 1) -> pd.DataFrame:
    """Read the thickness off the very targets of pretraining, by ridge regression in five folds.

    Returns
    -------
    DataFrame
        ``targets`` ('classes', of `phantom_cls`, one column per class; 'heights', of
        `phantom_depth`, 14 x 14 cells) and the scores of :func:`readouts`. Of eyes that no
        backbone met; the folds are of patients.
    """
    eyes = population(n_eyes, seed)
    _, classes, heights = phantom.pretraining_set(n_eyes, seed)
    labels, patients = np.stack([e.label for e in eyes]), [e.patient_id for e in eyes]
    per_eye = pd.DataFrame({name: values[::2] for name, values in classes.items()})
    half = heights[::2].astype(float)  # both cameras show the same surface
    cells = half.reshape(n_eyes, 14, half.shape[1] // 14, 14, -1).mean((2, 4))
    features = {
        "classes": pd.get_dummies(per_eye.astype(str)).to_numpy(float),
        "heights": cells.reshape(n_eyes, -1),
    }
    model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))
    return pd.DataFrame(
        {"targets": name}
        | _scores(cross_val_predict(model, x, labels, groups=patients, cv=GroupKFold(5)), labels)
        for name, x in features.items()
    )


def appearance(real: Prepared | None, simulated: Prepared) -> pd.DataFrame:
    """Tell real colour photographs from phantom ones: of the first phantom, and of this one.

    One eye of each phantom patient, as many as there are real ones; the first phantom's figures are
    those that were kept of it (``data/external/first_phantom``).

    Returns
    -------
    DataFrame
        eyes, auc (:func:`rnfl.datasets.phantom.calibration.told_apart`), n (phantom eyes); no rows
        where there are no real eyes.
    """
    table = pd.DataFrame(columns=["eyes", "auc", "n"])
    if real is None:
        return table
    first = np.flatnonzero(~simulated.samples["patient_id"].duplicated())[: len(real)]
    drawn = {
        "phantom 1": pd.read_csv(FIRST_PHANTOM).drop(columns="eye_id").to_numpy(),
        f"phantom {phantom.VERSION}": calibration.appearance(np.asarray(simulated.images[first])),
    }
    seen, patients = calibration.appearance(np.asarray(real.images)), real.samples["patient_id"]
    for eyes, figures in drawn.items():
        auc = calibration.told_apart(seen, figures[: len(real)], patients)
        table.loc[len(table)] = eyes, auc, len(figures[: len(real)])
    return table


def floors(name: str) -> pd.DataFrame:
    """Return what bounds the error on the test eyes of a phantom of one view and visit.

    Returns
    -------
    DataFrame
        ``floor`` ('template', the mean of the training labels; 'noise-free cues', ridge regression
        on :func:`rnfl.datasets.phantom.render.cues`; 'label noise', the truth itself) and the
        scores of :func:`readouts`.
    """
    prepared = datasets.prepare(name)
    labels, split = np.asarray(prepared.profiles, float), prepared.samples["split"]
    train, test = (np.flatnonzero(split == which) for which in ("train", "test"))
    seen = np.stack([cues(eye) for eye in phantom.parse(name).eyes()])
    reader = make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(seen[train], labels[train])
    predicted = {
        "template": metrics.template_predictions(labels[train], len(test)),
        "noise-free cues": reader.predict(seen[test]),
        "label noise": np.asarray(prepared.profiles_true, float)[test],
    }
    return pd.DataFrame({"floor": k} | _scores(p, labels[test]) for k, p in predicted.items())
