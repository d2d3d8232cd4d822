"""Model cards: what a trained model is, what it was trained on and how well it did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnfl.core import metrics, schema
from rnfl.models.registry import registered
from rnfl.runs import address
from rnfl.runs.results import RunResult

KINDS = {"CFP": "fundus photographs", "SLO": "SLO images"}


def make(run: RunResult, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the card of a finished run.

    Parameters
    ----------
    run : RunResult
    facts : mapping
        What is known of its training set, as :func:`rnfl.datasets.normative.facts` gives it; only
        ``dataset`` is needed.

    Returns
    -------
    dict
        Plain fields, None where nobody knows; ``sentence`` says them in words, and ``notes`` lists
        what a user should know before believing a number.
    """
    config, summary = run.config, run.summary
    specs = [registered(name) for name in config.backbones]
    pretraining = "; ".join(s.pretraining if s else "see the model's page" for s in specs)
    predicted, target = (schema.matrix(run.predictions, n) for n in ("prediction", "target"))
    measured = np.isfinite(target).any(axis=1)
    r = metrics.global_r(predicted[measured], target[measured]) if measured.sum() > 2 else np.nan
    names = ("modality", "phantom", "train_eyes", "train_patients", "images")
    card = {
        "run_id": run.run_id,
        "backbone": config.backbone,
        "pretraining": pretraining if config.pretrained else "none (random initialisation)",
        "protocol": config.protocol.name,
        "start": config.start,
        "seed": config.seed,
        "dataset": facts["dataset"],
        **{name: facts.get(name) for name in names},
        "parameters": summary.get("n_parameters"),
        "same_version": run.resolved.get("training_version") == address.TRAINING_VERSION,
        "test_eyes": len(predicted),
        "test_mae": summary.get("test_mae"),
        "target": summary.get("target", "profile"),
        "trained_on": summary.get("val_target", "profile"),
        "test_r_mean": float(r) if np.isfinite(r) else None,
    }
    return card | {"sentence": sentence(card), "notes": _notes(card)}


def sentence(card: Mapping[str, Any]) -> str:
    """Say in a sentence what a model is and how well it did; phantoms are named as such."""
    count = f"{card['train_eyes']:,} " if card["train_eyes"] else ""
    phantom = "phantom " if card["phantom"] else ""
    text = (
        f"{card['backbone']} (pretraining: {card['pretraining']}), adapted by the protocol "
        f"{card['protocol']!r} on {count}{phantom}{KINDS.get(card['modality'], 'images')} "
        f"({card['dataset']})"
    )
    if card["start"]:
        text += f", starting from the run {card['start']}"
    if card["test_mae"] is not None:
        per = "quadrant" if card["target"] == "quadrants" else "angle"
        text += f"; mean absolute error {card['test_mae']:.1f} µm per {per} on its "
        text += f"{card['test_eyes']:,} {phantom}test eyes"
    else:
        text += "; its test error is not known"
    if card["test_r_mean"] is not None:
        text += f", correlation of the mean thickness {card['test_r_mean']:.2f}"
    return f"{text}."


def _notes(card: Mapping[str, Any]) -> list[str]:
    notes = []
    if card["phantom"]:
        notes.append("trained on phantom eyes: its numbers mean nothing for a patient")
    if card["phantom"] is None:
        notes.append("the training set is not at hand and the run does not say what it was")
    if card["trained_on"] == "quadrants":
        notes.append("trained on quadrant means: the shape within a quadrant was not measured")
    if not card["same_version"]:
        notes.append("trained by a version of the training code that gave other results")
    return notes


def for_photographs(card: dict[str, Any]) -> dict[str, Any]:
    """Return a card with a note where a model trained on other images is shown photographs.

    Examples
    --------
    >>> for_photographs({"modality": "SLO", "notes": []})["notes"]
    ['trained on SLO images, shown fundus photographs']
    """
    if card["modality"] in ("CFP", None):
        return card
    images = KINDS.get(card["modality"], card["modality"])
    return card | {"notes": [*card["notes"], f"trained on {images}, shown fundus photographs"]}
