"""The project's tables: formatted wide, as CSV, Markdown and LaTeX, with a sidecar per folder."""

from analysis.tables.about import ABOUT, read_about, table_hashes, write_about
from analysis.tables.study import (
    COMPARISONS_CAPTION,
    TABLE1_CAPTION,
    TABLE2_CAPTION,
    comparisons_wide,
    table1_wide,
    table2_wide,
)
from analysis.tables.text import number, with_interval, write

__all__ = [
    "ABOUT",
    "COMPARISONS_CAPTION",
    "TABLE1_CAPTION",
    "TABLE2_CAPTION",
    "comparisons_wide",
    "number",
    "read_about",
    "table1_wide",
    "table2_wide",
    "table_hashes",
    "with_interval",
    "write",
    "write_about",
]
