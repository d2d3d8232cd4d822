"""The project's tables: formatted wide with their captions, as CSV, Markdown and LaTeX, and the
sidecar of their folder. Notebooks use them by these short names."""

from analysis.presentation.sidecar import ABOUT, read_about, table_hashes, write_about
from analysis.presentation.text import number, with_interval, write
from analysis.tables.ablations import (
    factorial_wide,
    freezing_wide,
    learning_rates_wide,
    loss_wide,
    regressions_wide,
)
from analysis.tables.agreement import (
    agreement_wide,
    collapse_wide,
    sensitivity_wide,
    thickness_wide,
)
from analysis.tables.audit import audit_wide
from analysis.tables.camera_shift import (
    camera_shift_wide,
    kept_labels_wide,
    real_cameras_wide,
    segmentation_wide,
)
from analysis.tables.fairness import (
    effects_wide,
    equity_wide,
    fairness_wide,
    gap_differences_wide,
    groups_wide,
)
from analysis.tables.learning import (
    learning_note,
    learning_wide,
    other_subjects_wide,
    selection_wide,
)
from analysis.tables.lessons import lessons_wide, quality_wide, thinking_wide
from analysis.tables.published_and_ours import METRICS as BESIDE_METRICS
from analysis.tables.published_and_ours import (
    beside_freezing,
    beside_grape,
    beside_loss,
    beside_table1,
)
from analysis.tables.robustness import robustness_wide
from analysis.tables.strategies import scales_wide, strategies_wide
from analysis.tables.study import comparisons_wide, table1_wide, table2_wide
from analysis.tables.translation import translation_wide
