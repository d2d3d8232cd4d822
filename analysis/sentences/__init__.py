"""Conclusions written from numbers: every sentence follows from a table, whatever it says."""

from analysis.sentences.ablations import layer_decay, learning_rates, loss_terms, structured_parts
from analysis.sentences.agreement import (
    as_read,
    floor_effect,
    limits,
    proportional_bias,
    thinning,
)
from analysis.sentences.audit import audit_findings
from analysis.sentences.common import seeds_note, with_interval
from analysis.sentences.fairness import (
    gap_claims,
    gaps_and_chance,
    intersections,
    planted_differences,
    published_gaps,
    reproduction,
)
from analysis.sentences.freezing import freezing_claim, freezing_costs
from analysis.sentences.learning import (
    anything_learnt,
    best_way,
    better_ways,
    luck_of_folds,
    phantom_start,
    pretrained_readouts,
    yardsticks,
)
from analysis.sentences.overfitting import few_templates, response, template_claim
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
    "anything_learnt",
    "as_read",
    "audit_findings",
    "best_cell",
    "best_way",
    "better_ways",
    "calibration",
    "collapse",
    "convergence",
    "differences",
    "difficulty",
    "eyes",
    "few_templates",
    "flat_sigma",
    "floor_effect",
    "freezing_claim",
    "freezing_costs",
    "gap_claims",
    "gaps_and_chance",
    "intersections",
    "label_noise",
    "layer_decay",
    "learning_rates",
    "limits",
    "longer_schedule",
    "loss_terms",
    "luck_of_folds",
    "phantom_start",
    "planted_differences",
    "pretrained_readouts",
    "pretraining",
    "proportional_bias",
    "published_gaps",
    "reproduction",
    "response",
    "sectors",
    "seeds_note",
    "structured_parts",
    "template_claim",
    "thinning",
    "with_interval",
    "yardsticks",
]
