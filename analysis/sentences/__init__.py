"""Conclusions written from numbers: every sentence follows from a table, whatever it says."""

from analysis.sentences.common import seeds_note, with_interval
from analysis.sentences.study import (
    absent_domain,
    best_cell,
    calibration,
    collapse,
    convergence,
    differences,
    difficulty,
    eyes,
    flat_sigma,
    label_noise,
    longer_schedule,
    pretraining,
    sectors,
)

__all__ = [
    "absent_domain",
    "best_cell",
    "calibration",
    "collapse",
    "convergence",
    "differences",
    "difficulty",
    "eyes",
    "flat_sigma",
    "label_noise",
    "longer_schedule",
    "pretraining",
    "sectors",
    "seeds_note",
    "with_interval",
]
