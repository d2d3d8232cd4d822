"""Runs: what decides one, where it lies, and how it is computed at most once."""
