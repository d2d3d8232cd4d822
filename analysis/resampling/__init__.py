"""Patients resampled: sums, intervals, and the scale each metric is resampled on."""

from analysis.resampling.bootstrap import DEFAULT, PAIRED, Resampling
