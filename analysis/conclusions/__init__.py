"""Conclusions written from numbers: every sentence follows from a table, whatever it says."""

from analysis.conclusions.ablations import layer_decay, learning_rates, loss_terms, structured_parts
from analysis.conclusions.agreement import (
    as_read,
    floor_effect,
    limits,
    proportional_bias,
    thinning,
)
from analysis.conclusions.audit import audit_findings
from analysis.conclusions.common import seeds_note, with_interval
from analysis.conclusions.fairness import (
    gap_claims,
    gaps_and_chance,
    intersections,
    planted_differences,
    published_gaps,
    reproduction,
)
from analysis.conclusions.freezing import freezing_claim, freezing_costs
from analysis.conclusions.learning import (
    anything_learnt,
    best_way,
    better_ways,
    luck_of_folds,
    phantom_start,
    pretrained_readouts,
    yardsticks,
)
from analysis.conclusions.overfitting import few_templates, response, template_claim
from analysis.conclusions.study import (
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
