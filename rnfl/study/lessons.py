"""Which start, how many labels, which pictures, how long to think: runs on parts of the labels.

Runs that are compared take the same steps, whatever the number of eyes they learn from; a fraction
of the patients is drawn anew for each seed, and is the same for every start. At all of the labels a
run is that of the other notebooks. Test eyes choose nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from rnfl import datasets
from rnfl.core import schema
from rnfl.core.splits import Lesson
from rnfl.imaging import inspection
from rnfl.models.registry import BACKBONES, WEIGHTS
from rnfl.runs.predictions import kept, predict_with
from rnfl.runs.results import RunResult, load_run, predictions_of
from rnfl.storage.readers import read_json, read_parquet
from rnfl.study import baselines, crossval
from rnfl.study.grid import run_grid
from rnfl.study.known import at_hand
from rnfl.study.presets import Preset
from rnfl.study.strategies import FULL
from rnfl.training.config import RunConfig

#: Starts by what they are to the phantom's eyes.
STARTS = {
    "random": "phantom_scratch",
    "generic": "leaves_mae",
    "domain": "phantom_mae",
}
#: Objective and pictures of a backbone's pretraining.
PRETRAINED = {
    "phantom_scratch": ("none", "none"),
    "leaves_mae": ("MAE", "leaves"),
    "phantom_mae": ("MAE", "eyes"),
    "phantom_depth": ("depth", "eyes"),
    "phantom_cls": ("classes", "eyes"),
    "imagenet_lite0": ("classes", "photographs"),
    "retfound_mae_naturecfp": ("MAE", "eyes"),
    "timm:vit_large_patch16_224.mae": ("MAE", "photographs"),
    "retfound_dinov2_meh": ("DINOv2", "eyes"),
    "dinov2_vitl14": ("DINOv2", "photographs"),
    "dinov3_vitl16": ("DINOv3", "photographs"),
}
OWN, NONE = "own pictures", "none"
FULLY, READ, PROBED = FULL, "readout", "probe"
MASKED_BATCH = 64
TIMES = (1, 2, 4, 8, 16)  # pictures of an eye that are read


@dataclass(frozen=True)
class Cell:
    """A run of a study, and what sets it apart there."""

    factors: tuple[tuple[str, object], ...]
    config: RunConfig


def table(cells: Sequence[Cell], results: Sequence[RunResult]) -> pd.DataFrame:
    """Return what sets runs apart: run_id, backbone, seed, the factors, and what each took.

    ``protocol`` names a cell: its factors but for the seed.
    """
    rows = []
    for cell, run in zip(cells, results, strict=True):
        named = dict(cell.factors)
        row = {"run_id": run.run_id, "backbone": run.config.backbone, "seed": run.config.seed}
        row |= {"protocol": ", ".join(map(_said, named.values()))} | named
        spent = ("n_train", "n_trainable", "bytes_stored", "seconds", "peak_bytes")
        rows.append(row | {name: run.summary[name] for name in spent})
    return pd.DataFrame(rows)


def _said(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def of_part(config: RunConfig, fraction: float, quality: float | None = None) -> RunConfig:
    """Return a run on a fraction of the patients that takes the steps of the run on all of them.

    Examples
    --------
    >>> from rnfl.study import presets
    >>> config = presets.get("smoke").config("phantom_mae", "aggressive", 42)
    >>> of_part(config, 1.0) == config
    True
    """
    lesson = Lesson(fraction, config.seed, quality) if fraction < 1 else Lesson(quality=quality)
    if lesson == Lesson():
        return config
    n = len(datasets.load(config.dataset).subset("train"))
    n = n // 2 if quality is not None else n
    return replace(config, lesson=lesson, steps=config.epochs * -(-n // config.batch_size))


def self_pretraining(study: Preset, dataset: str | None = None) -> list[Cell]:
    """Return runs from each start, as it is and taught the training pictures first.

    One network of each start learns the pictures, whatever the seed and the fraction. A preset that
    has none of :data:`STARTS` is a ValueError.
    """
    starts = {name: one for name, one in STARTS.items() if one in study.starts}
    if not starts:
        raise ValueError(
            f"preset {study.name!r} has none of the starts {list(STARTS.values())}, which are "
            "taught pictures here; for others: rnfl train DATASET BACKBONE --protocol mae"
        )
    first, dataset = study.ablation_seeds[0], dataset or study.slo
    masked = [
        replace(
            study.config(backbone, "mae", first), dataset=dataset, lr_scale=1.0,
            steps=study.mask_steps, batch_size=MASKED_BATCH, epochs=min(10, study.mask_steps),
            warmup_epochs=min(1, study.warmup_epochs),
        )
        for backbone in starts.values()
    ]  # fmt: skip
    taught = dict(zip(starts, run_grid(masked), strict=True))
    cells = []
    for name, backbone in starts.items():
        for pretraining in (NONE, OWN):
            start = taught[name].run_id if pretraining == OWN else None
            for fraction, seed in _each(study, study.few):
                config = replace(study.config(backbone, FULLY, seed), dataset=dataset, start=start)
                said = (("start", name), ("pretraining", pretraining), ("fraction", fraction))
                cells.append(Cell(said, of_part(config, fraction)))
    return cells


def masked_runs(cells: Iterable[Cell]) -> list[RunResult]:
    """Return the runs that taught starts their pictures."""
    return [load_run(one) for one in dict.fromkeys(cell.config.start for cell in cells) if one]


def specialists(study: Preset) -> list[Cell]:
    """Return runs of each start of the preset that is at hand, by way of adaptation and fraction.

    In the phantom's presets those beside :data:`STARTS` are read alone: else they would double the
    time, and the convolutional one, fine-tuned at 224 px, take longer than all others.
    """
    cells = []
    for backbone in study.starts:
        if not (backbone in at_hand() or study.name == "paper"):
            continue
        objective, pictures = PRETRAINED[backbone]
        small = backbone in STARTS.values() or study.name == "paper"
        for adaptation in (READ, PROBED, FULLY) if small else (READ,):
            for fraction, seed in _each(study, study.few):
                config = study.config(backbone, adaptation, seed)
                said = (("start", backbone), ("objective", objective), ("pictures", pictures))
                said += (("adaptation", adaptation), ("fraction", fraction))
                cells.append(Cell(said, of_part(config, fraction)))
    return cells


def plainest(study: Preset) -> str:
    """Return the start that others are compared with: the random one, else the last of the preset.

    Examples
    --------
    >>> from rnfl.study import presets
    >>> plainest(presets.get("smoke")), plainest(presets.get("paper"))
    ('phantom_scratch', 'dinov3_vitl16')
    """
    return STARTS["random"] if STARTS["random"] in study.starts else study.starts[-1]


def qualities(study: Preset) -> list[Cell]:
    """Return runs on mixes of high and low quality, from a pretrained and from a random start."""
    cells = []
    for name in ("domain", "random"):
        for mix in study.mixes:
            for fraction, seed in _each(study, study.few):
                config = study.config(STARTS[name], FULLY, seed)
                epochs = study.spoilt_epochs or study.epochs
                config = replace(config, dataset=two_qualities(study), epochs=epochs)
                said = (("start", name), ("mix", mix), ("fraction", fraction))
                cells.append(Cell(said, of_part(config, fraction, mix)))
    return cells


def two_qualities(study: Preset) -> str:
    """Return the dataset of a preset's eyes in both qualities.

    Examples
    --------
    >>> from rnfl.study import presets
    >>> two_qualities(presets.get("smoke"))
    'phantom-slo-64-qualities'
    """
    return f"{study.spoilt_slo}-qualities"


def fractions(study: Preset) -> list[Cell]:
    """Return runs from a pretrained and a random start on growing parts of the labels.

    At equal steps, and, for less than all, at equal passes over their eyes.
    """
    cells = []
    for name in ("domain", "random"):
        for fraction, seed in _each(study, study.fractions):
            config = of_part(study.config(STARTS[name], FULLY, seed), fraction)
            said = (("start", name), ("fraction", fraction))
            cells.append(Cell((*said, ("equal", "steps")), config))
            if fraction < 1:
                passes = replace(config, steps=None)
                cells.append(Cell((*said, ("equal", "passes")), passes))
    return cells


def _each(study: Preset, parts: Iterable[float]) -> list[tuple[float, int]]:
    return [(float(one), seed) for one in parts for seed in study.ablation_seeds]


def thinking(results: Sequence[RunResult], cells: pd.DataFrame, n_eyes: int = 200) -> pd.DataFrame:
    """Return what runs read of test eyes when each is looked at several times.

    The ways: ``views`` (the mean over pictures of changed brightness and contrast), ``rotations``
    (the mean over pictures turned about the disc, each reading turned back), ``best of`` (of the
    views' readings the one nearest to the label: a ceiling that no one can reach), ``one of`` (of
    as many, a random one: its control) and ``ensemble`` (the mean over seeds of a cell, one view
    each).

    Returns
    -------
    DataFrame
        Predictions tables with ``way``, ``passes`` (of the encoder, per eye), and of the
        ensembles' run id the first seed's.
    """
    made = []
    for run in results:
        data = datasets.load(run.config.dataset)
        name = f"thinking-{n_eyes}-{data.name}-{data.hash[:10]}.parquet"
        made.append(read_parquet(kept(run, name, partial(_ways, run, n_eyes))))
    whole = pd.concat(made, ignore_index=True)
    return pd.concat([whole, *_ensembles(whole, cells)], ignore_index=True)


def _ways(run: RunResult, n_eyes: int, model, device, precision: str) -> pd.DataFrame:
    """Return the readings of one run by views and rotations."""
    import torch

    from rnfl.imaging.pixels import turn
    from rnfl.training import augmentation, batches, predict

    prepared = datasets.load(run.config.dataset)
    rows = prepared.subset("test")[:n_eyes]
    target = np.asarray(prepared.profiles)[rows]
    size, largest = model.backbone.spec.input_size, max(TIMES)
    whose = [prepared.samples[name].iloc[rows].tolist() for name in ("eye_id", "patient_id")]
    empty = torch.from_numpy(target.astype(np.float32))

    def read(images: np.ndarray) -> np.ndarray:
        stack = batches.channels_first(batches.at_size(images, size)).to(device)
        data = batches.Batches(stack, empty.to(device), device)
        return predict.predict(model, data, precision).cpu().numpy()

    plain = np.stack([np.asarray(prepared.images[row]) for row in rows])
    views, angles = [read(plain)], np.linspace(-10, 10, largest)
    random = augmentation.seeded_generator(run.config.seed, 7)
    for _ in range(largest - 1):
        shown = batches.channels_first(plain.copy()).float() / 255
        shown = augmentation.augmented(shown, "intensity", random)
        shown = (shown * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        views.append(read(shown.reshape(plain.shape)))
    turned = []
    for degrees in angles:
        images = np.stack([turn(one, float(degrees)) for one in plain])
        turned.append(np.roll(read(images), -round(float(degrees)), axis=1))
    found, tables = {"views": np.stack(views), "rotations": np.stack(turned)}, []
    errors = np.nanmean(np.abs(found["views"] - target), axis=2)
    chosen = np.random.default_rng(run.config.seed).random((largest, len(rows)))
    for n in TIMES:
        nearest, some = errors[:n].argmin(axis=0), chosen[:n].argmax(axis=0)
        spread = np.linspace(0, largest - 1, n).round().astype(int) if n > 1 else [largest // 2]
        readings = {
            "views": found["views"][:n].mean(axis=0),
            "rotations": found["rotations"][spread].mean(axis=0),
            "best of": found["views"][nearest, np.arange(len(rows))],
            "one of": found["views"][some, np.arange(len(rows))],
        }
        for way, prediction in readings.items():
            one = schema.predictions_frame(run.run_id, *whose, prediction, target)
            tables.append(one.assign(way=way, passes=n))
    return pd.concat(tables, ignore_index=True)


def _ensembles(whole: pd.DataFrame, cells: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the mean over the first seeds of each cell, one view each."""
    once, tables = whole[(whole["way"] == "views") & (whole["passes"] == 1)], []
    by_run = dict(list(once.groupby("run_id", sort=False)))
    for _, group in cells[cells["run_id"].isin(by_run)].groupby("protocol", sort=False):
        members = [schema.matrix(by_run[run_id]) for run_id in group["run_id"]]
        for n in (k for k in TIMES if 1 < k <= len(members)):
            first = by_run[group["run_id"].iloc[0]]
            mean = list(np.mean(members[:n], axis=0))
            tables.append(first.assign(prediction=mean, way="ensemble", passes=n))
    return tables


def on_both(results: Sequence[RunResult], study: Preset) -> pd.DataFrame:
    """Return what runs predict of test pictures, with their ``quality``."""
    name = two_qualities(study)
    quality = datasets.load(name).samples.set_index("eye_id")["quality"]
    found = pd.concat([predict_with(run, name) for run in results], ignore_index=True)
    return found.assign(quality=found["eye_id"].map(quality))


def histories(cells: pd.DataFrame, results: Sequence[RunResult]) -> pd.DataFrame:
    """Return validation error over seconds of each run, with what sets it apart."""
    named = cells.set_index("run_id")[["start", "fraction", "seed", "protocol"]]
    rows = [run.history[["run_id", "epoch", "step", "val_mae", "seconds"]] for run in results]
    return pd.concat(rows, ignore_index=True).join(named, on="run_id")


def not_at_hand(study: Preset) -> list[str]:
    """Return the starts of a preset whose weights are not here."""
    return [name for name in study.starts if name in BACKBONES and name not in at_hand()]


def masked_curves(masked: Sequence[RunResult]) -> pd.DataFrame:
    """Return what starts learnt of hidden patches: start, step, r2 (pictures held out), seconds."""
    names = {backbone: name for name, backbone in STARTS.items()}
    rows = [
        {"start": names[run.config.backbone], "step": row.step, "r2": 1 - row.val_masked_error,
         "seconds": row.seconds}
        for run in masked for row in run.history.itertuples()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def pretraining_steps(backbone: str) -> int:
    """Return for how many steps a packaged backbone was pretrained."""
    recipe = read_json(WEIGHTS / f"{backbone}.json", "get the file from the repository")
    return recipe["settings"]["steps"]


def on_photographs(study: Preset, dataset: str) -> tuple[dict[str, pd.DataFrame], list[RunResult]]:
    """Return what readouts read of real photographs, of starts as they are and taught these first.

    Each division teaches the photographs of its own training subjects alone, in a tenth of the
    preset's steps, as there are a tenth of the pictures.

    Returns
    -------
    frames : dict
        Quadrant frames by method, cross-validated by subject.
    runs : list of RunResult
    """
    samples, frames, made = datasets.load(dataset).samples, {}, []
    steps, seed = max(1, study.mask_steps // 10), study.ablation_seeds[0]
    configs, names = [], []
    for name in ("random", "domain"):
        read = RunConfig(dataset, STARTS[name], "readout", seed=seed)
        masked = replace(
            read, protocol="mae", steps=steps, epochs=1, warmup_epochs=0, batch_size=MASKED_BATCH
        )
        folds = crossval.fold_configs(read, study.folds, study.fold_seeds[0])
        taught = run_grid(crossval.fold_configs(masked, study.folds, study.fold_seeds[0]))
        made += taught
        own = [replace(one, start=s.run_id) for one, s in zip(folds, taught, strict=True)]
        configs += [*folds, *own]
        names += [f"{name}, as it is"] * len(folds) + [f"{name}, {OWN} first"] * len(own)
    results = run_grid(configs)
    for name in dict.fromkeys(names):
        runs = [run for run, one in zip(results, names, strict=True) if one == name]
        found = predictions_of(runs).assign(run_id=name)
        frames[name] = schema.quadrant_frame(found, samples)
    return frames, [*made, *results]


def by_sharpness(
    study: Preset, dataset: str
) -> tuple[dict[str, dict[str, pd.DataFrame]], dict[str, float], list[RunResult]]:
    """Return what a readout and the constant read of real photographs, by thirds of sharpness.

    Returns
    -------
    frames : dict
        Quadrant frames by third and method, cross-validated by subject.
    ages : dict
        Mean age of each third (years).
    runs : list of RunResult
    """
    prepared, k, seed = datasets.load(dataset), study.folds, study.fold_seeds[0]
    config = RunConfig(dataset, STARTS["domain"], "readout", seed=study.ablation_seeds[0])
    frames = {"readout": crossval.out_of_fold({"readout": config}, k, (seed,))["readout"]}
    constant = baselines.BY_NAME["constant"](prepared, k, seed, config.seed)
    frames["constant"] = constant.assign(run_id="constant")
    sharp = pd.Series(
        [inspection.measure(np.asarray(one)).get("sharpness", np.nan) for one in prepared.images],
        prepared.samples["eye_id"],
    )
    thirds = pd.qcut(sharp, 3, labels=["least", "middle", "most"]).astype(str) + " sharp third"
    ages = prepared.samples["age"].groupby(thirds.to_numpy()).mean()
    by = {
        third: {name: one[one["eye_id"].map(thirds) == third] for name, one in frames.items()}
        for third in ("least sharp third", "middle sharp third", "most sharp third")
    }
    return by, ages.to_dict(), run_grid(crossval.fold_configs(config, k, seed))
