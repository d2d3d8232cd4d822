"""From one camera to another: which way reads the other camera's pictures, from how many shots.

A reader learns from SLO pictures and is to read colour photographs of other patients, of whom a few
without labels are at hand. The backbone has never met a photograph. Everybody is read but those who
gave shots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from rnfl import datasets
from rnfl.adaptation import ways
from rnfl.adaptation.recolouring import RECOLOURINGS
from rnfl.core import masks, schema
from rnfl.core.geometry import QUADRANTS
from rnfl.runs.predictions import (
    oracle_predictions,
    predict_with,
    segment_with,
    template_predictions,
)
from rnfl.runs.results import RunResult
from rnfl.runs.run import run as train
from rnfl.storage.progress import progress
from rnfl.study.grid import run_grid
from rnfl.study.presets import SLO_BACKBONE, Preset
from rnfl.training import batches, segmentation
from rnfl.training.config import RunConfig

SICK = "-sick0.9"  # label shift: 90 % of the target's patients have glaucoma, not 60 %
ORACLE, LABELS = "oracle", "labels"  # upper bounds, no ways
ABLATIONS = ("dynamic", "no_style", "detached")  # with the first draw of shots alone
#: Networks that see the source alone, by how it is augmented; LoRA is the intensity's.
AUGMENTED = {"plain": None, "graded": "mild_to_severe"}
SHOTS = 10
#: GRAPE's two cameras, by what their names hold.
CAMERAS = {"Topcon": "TOPCON", "Canon": "CANON"}
REAL_WAYS = ("none", "histogram", "statistics", "fourier")  # of a few dozen eyes
#: Settings of networks that are trained by gradient.
TRAINED = ("warmup_epochs", "batch_size", "lr_scale")


@dataclass(frozen=True)
class Cell:
    """A reader of the target: the way it was made, from how many shots, which draw, its run."""

    way: str
    reader: str
    shots: int
    draw: int
    target: str
    run: RunResult

    @property
    def run_id(self) -> str:
        """Id of what it predicts; a run that no shot has changed is one per draw."""
        return f"{self.run.run_id}@{self.target}-{self.shots}-{self.draw}"


def shortened(study: Preset, n_draws: int | None) -> Preset:
    """Return a preset with its first draws of shots alone; None: all. A ValueError for no draw."""
    if n_draws is not None and not 1 <= n_draws <= study.draws:
        raise ValueError(f"n_draws {n_draws}: preset {study.name!r} has {study.draws}")
    return replace(study, draws=n_draws or study.draws)


def names(study: Preset) -> dict[str, str]:
    """Return the datasets: source, its true photographs, the target, other eyes of the target's
    camera, and the target under label shift."""
    n = study.shift_eyes
    target = f"phantom-cfp-{n}-s1"
    return {
        "source": f"phantom-slo-{n}",
        ORACLE: f"phantom-cfp-{n}",
        "target": target,
        LABELS: f"phantom-cfp-{n}-s2",
        "sick": target + SICK,
    }


def source(study: Preset, reader: str, seed: int) -> RunConfig:
    """Return the run that is adapted: of a protocol on SLO pictures."""
    config = study.config(SLO_BACKBONE, reader, seed)
    return replace(config, dataset=names(study)["source"], epochs=_epochs(study))


def _epochs(study: Preset) -> int:
    return study.shift_epochs or study.epochs


def cells(study: Preset) -> list[Cell]:
    """Train and adapt readers, by every way, number of shots, draw and seed of the preset.

    Ways with alignment end in one kind of network, whichever reader they come from; they stand
    beside the reader ``lora``, the same kind without alignment, and those of ``AUGMENTED``. Fewer
    or more than ``SHOTS`` are tried with readouts, by ``study.shot_ways``.
    """
    of, made = names(study), []
    for name in of.values():
        datasets.prepare(name)
    for seed in study.ablation_seeds[: study.draws]:
        for reader in ("readout", "lora"):
            base = train(source(study, reader, seed))
            bounds = {ORACLE: of[ORACLE], LABELS: of[LABELS]} if reader == "readout" else {}
            draw = seed - study.ablation_seeds[0]
            for name, dataset in bounds.items():
                found = train(replace(base.config, dataset=dataset))
                made.append(Cell(name, reader, SHOTS, draw, of["target"], found))
            asked = [(way, SHOTS, of["target"]) for way in _ways(study, reader, draw)]
            if reader == "readout":
                asked += [
                    (way, n, of["target"])
                    for n in study.shots if n != SHOTS for way in study.shot_ways
                ]  # fmt: skip
                asked += [(way, SHOTS, of["sick"]) for way in study.shot_ways]
            for way, n, target in progress(asked, f"{reader}, seed {seed}", len(asked), unit="way"):
                made += _adapted(study, base, way, n, draw, target)
            for name, augment in AUGMENTED.items() if reader == "lora" else ():
                other = train(replace(base.config, augment=augment))
                found = _adapted(study, other, "none", SHOTS, draw, of["target"])
                made += [replace(one, way=one.way.replace("none", name)) for one in found]
    return made


def _ways(study: Preset, reader: str, draw: int) -> list[str]:
    if reader == "readout":
        others = (*ways.ALIGNED, *(ABLATIONS if draw else ()))
        return [way for way in study.ways if way not in others]
    return ["none", *(way for way in study.ways if way in ways.ALIGNED)]


def _adapted(
    study: Preset, base: RunResult, way: str, n: int, draw: int, target: str
) -> list[Cell]:
    """Adapt by a way, then match the level too."""
    aligned = way in ways.ALIGNED
    changes = {name: getattr(study, name) for name in TRAINED} if aligned else {}
    changes |= {"epochs": _epochs(study)} if aligned else {}
    reader, made = base.config.protocol.name, []
    for level in ("", f"+{ways.PRIOR}"):
        found = ways.adapt(base, target, way + level, n, draw, **changes)
        made.append(Cell(way + level, reader, n, draw, target, found))
    return made


def evaluated(made: Sequence[Cell], target: str) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return what cells predict of a target's patients who gave no shot in any draw.

    Returns
    -------
    predictions : DataFrame
        Template and label-noise floor of the same eyes among them.
    samples : DataFrame
        Of the target.
    runs : DataFrame
        run_id, backbone, protocol (the way; of networks without alignment with 'lora' for 'none'),
        seed (the draw), shots.
    """
    made = [one for one in made if one.target == target]
    gave = set().union(
        *(ways.take_shots(target, one.shots, one.draw).samples["patient_id"] for one in made)
    )
    tables = [template_predictions(target, None), oracle_predictions(target, None)]
    tables += [predict_with(one.run, target, None).assign(run_id=one.run_id) for one in made]
    table = pd.concat(tables, ignore_index=True)
    runs = pd.DataFrame(
        {
            "run_id": one.run_id,
            "backbone": SLO_BACKBONE,
            "protocol": one.way.replace("none", "lora") if one.reader == "lora" else one.way,
            "seed": one.draw,
            "shots": one.shots,
        }
        for one in made
    )
    return table[~table["patient_id"].isin(gave)], datasets.load(target).samples, runs


def kept_labels(
    study: Preset, made: Sequence[Cell]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return what a reader of true photographs reads of translations: a label kept can be read.

    The reader is the upper bound ``oracle``; the eyes are the source's test eyes, translated by
    each way that translates, as they are (``none``), and truly photographed (``oracle``).

    Returns
    -------
    predictions : DataFrame
        Template and label-noise floor of the same eyes among them.
    samples : DataFrame
        Of the source.
    runs : DataFrame
        run_id, backbone, protocol (the way), seed (the draw).
    """
    of = names(study)
    before, tables, rows = datasets.load(of["source"]), [], []
    for reader in (one for one in made if one.way == ORACLE):
        shots = ways.take_shots(of["target"], SHOTS, reader.draw)
        shown = {"none": of["source"], ORACLE: of[ORACLE]}
        for way in _ways(study, "readout", reader.draw):
            if way != "none":
                shown[way] = ways.translated(before, shots, way, reader.draw).name
        for way, name in shown.items():
            run_id = f"{way}-read-{reader.draw}"
            tables.append(predict_with(reader.run, name).assign(run_id=run_id))
            rows.append({"run_id": run_id, "backbone": SLO_BACKBONE, "protocol": way,
                         "seed": reader.draw})  # fmt: skip
    ends = template_predictions(of["source"]), oracle_predictions(of["source"])
    return pd.concat([*ends, *tables], ignore_index=True), before.samples, pd.DataFrame(rows)


def pictures(study: Preset) -> dict[str, np.ndarray]:
    """Return two source eyes as they are, translated, and as the target's camera truly sees them.

    Returns
    -------
    dict of str to ndarray
        ``images`` uint8 (2, k, 112, 112, 3), ``title`` str (k,).
    """
    of, rows = names(study), [0, 1]
    shots, before = ways.take_shots(of["target"], SHOTS), datasets.load(of["source"])
    shown = {"source": before}
    for way in study.ways:
        if way in (*RECOLOURINGS, *ways.DIFFUSIONS):
            shown[way] = ways.translated(before, shots, way)
    shown["true photograph"] = datasets.load(of[ORACLE])
    small = [batches.at_size(np.array(one.images[rows]), 112) for one in shown.values()]
    colour = [one if one.ndim == 4 else np.repeat(one[..., None], 3, axis=3) for one in small]
    return {"images": np.stack(colour, axis=1), "title": np.array(list(shown))}


def curves(study: Preset, made: Sequence[Cell]) -> pd.DataFrame:
    """Return how the diffusion models of cells were adapted.

    Returns
    -------
    DataFrame
        way, shots, draw, step, loss, gate, cosine_with_static, direction_loss.
    """
    columns = ["way", "shots", "draw", "step", "loss", "gate", "cosine_with_static"]
    asked = {(one.way, one.shots, one.draw, one.target) for one in made}
    rows = []
    for way, shots, draw, target in sorted(asked):
        if way in ways.DIFFUSIONS and target == names(study)["target"]:
            from rnfl.adaptation import diffusion

            given = datasets.load(names(study)["source"]), ways.take_shots(target, shots, draw)
            learnt = diffusion.adapted(*given, ways.recipe_of(way, draw))
            rows += [{"way": way, "shots": shots, "draw": draw, **row} for row in learnt.curve]
    return pd.DataFrame(rows, columns=[*columns, "direction_loss"])


def segmented(study: Preset) -> tuple[pd.DataFrame, list[RunResult]]:
    """Segment disc and cup on the target, trained on the source and adapted by every way.

    Returns
    -------
    found : DataFrame
        The segmentation tables (:func:`rnfl.runs.predictions.segment_with`) of ``study.ways``, of
        the true photographs (``oracle``) and of one mask for every eye (``template``: per pixel
        what most source eyes have), with ``way``; patients who gave shots are left out.
    runs : list of RunResult
    """
    of, seed = names(study), study.ablation_seeds[0]
    learnt = datasets.prepare(of["source"])
    datasets.prepare(of["target"])
    base = train(replace(source(study, "naive", seed), task="masks"))
    configs = {way: ways.to_train(base, of["target"], way, SHOTS) for way in study.ways}
    configs[ORACLE] = replace(base.config, dataset=of[ORACLE])
    runs = dict(zip(configs, run_grid(list(configs.values())), strict=True))
    target = datasets.load(of["target"])
    gave = set(ways.take_shots(of["target"], SHOTS).samples["patient_id"])
    rows = np.flatnonzero(~target.samples["patient_id"].isin(gave))
    tables = {way: segment_with(run, of["target"], None).iloc[rows] for way, run in runs.items()}
    usual = masks.commonest(np.asarray(learnt.masks)[learnt.subset("train")])
    same = np.broadcast_to(usual, (len(rows), *usual.shape))
    tables["template"] = segmentation.table(same, target, rows, "template")
    found = [one.assign(way=way) for way, one in tables.items()]
    return pd.concat(found, ignore_index=True), list(runs.values())


def on_grape(dataset: str = "grape") -> tuple[dict[str, dict[str, pd.DataFrame]], list[RunResult]]:
    """Train readouts on one of GRAPE's cameras, adapt them to the other, and the other way round.

    Patients seen by both cameras, and those who gave shots, are not read. The readout is of the
    backbone that has met no photograph.

    Returns
    -------
    frames : dict
        Quadrant frames by direction, such as 'Topcon to Canon', and way; 'constant' is the mean of
        the source's eyes.
    runs : list of RunResult
    """
    samples, frames, runs = datasets.prepare(dataset).samples, {}, []
    rows = {name: np.flatnonzero(samples["device"].str.contains(word))
            for name, word in CAMERAS.items()}  # fmt: skip
    for name, other in (tuple(CAMERAS), tuple(CAMERAS)[::-1]):
        learnt = ways.part(dataset, name.lower(), rows[name])
        known = samples["patient_id"].iloc[rows[other]].isin(learnt.samples["patient_id"])
        target = ways.part(dataset, f"{other.lower()}-only", rows[other][~known])
        base = train(RunConfig(learnt.name, SLO_BACKBONE, "readout", split="all"))
        gave = ways.take_shots(target.name, SHOTS).samples["patient_id"]
        here = frames.setdefault(f"{name} to {other}", {})
        for way in REAL_WAYS:
            for level in ("", f"+{ways.PRIOR}"):
                found = ways.adapt(base, target.name, way + level, SHOTS)
                table = predict_with(found, target.name, None)
                table = table[~table["patient_id"].isin(gave)]
                here[way + level] = schema.quadrant_frame(table, target.samples)
                runs.append(found)
        mean = learnt.samples[[f"rnfl_{quadrant}" for quadrant in QUADRANTS]].mean()
        same = dict(zip((f"pred_{quadrant}" for quadrant in QUADRANTS), mean, strict=True))
        here["constant"] = here["none"].assign(**same, run_id="constant")
    return frames, runs
