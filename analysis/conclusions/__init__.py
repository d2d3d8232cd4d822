"""Conclusions written from numbers: every sentence follows from a table, whatever it says.

Notebooks use the makers by these short names; the kinds of claim are in
:mod:`analysis.conclusions.claims`.
"""

from analysis.conclusions.ablations import (
    freezing_claim,
    freezing_costs,
    layer_decay,
    learning_rates,
    loss_terms,
    structured_parts,
)
from analysis.conclusions.agreement import (
    as_read,
    floor_effect,
    limits,
    proportional_bias,
    thinning,
)
from analysis.conclusions.audit import audit_findings
from analysis.conclusions.camera_shift import (
    camera_shift,
    discs_and_cups,
    kept_labels,
    label_shift,
    real_cameras,
)
from analysis.conclusions.claims import seeds_note
from analysis.conclusions.fairness import (
    gap_claims,
    gaps_and_chance,
    intersections,
    planted_differences,
    published_gaps,
    reproduction,
)
from analysis.conclusions.learning import (
    anything_learnt,
    baselines,
    best_method,
    better_methods,
    luck_of_folds,
    other_subjects,
    phantom_start,
    pretrained_readouts,
    selection,
)
from analysis.conclusions.lessons import (
    best_by_fraction,
    by_sharpness,
    image_quality,
    labels_saved,
    own_photographs,
    passes,
    self_pretraining,
    specialists,
    thinking,
    time_saved,
)
from analysis.conclusions.overfitting import (
    collapse,
    few_templates,
    flat_sigma,
    response,
    rotation,
    template_claim,
)
from analysis.conclusions.robustness import robustness
from analysis.conclusions.strategies import few_parameters, output_scale, strategies
from analysis.conclusions.study import (
    absent_domain,
    appearance,
    best_cell,
    calibration,
    convergence,
    differences,
    difficulty,
    eyes,
    known,
    label_noise,
    longer_schedule,
    pretraining,
    sectors,
    verdicts,
    zero_shot,
)
from analysis.conclusions.translation import translation
