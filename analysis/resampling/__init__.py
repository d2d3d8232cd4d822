"""Patients resampled: sums, intervals, and the scale each metric is resampled on."""
