"""Grids of runs: presets, ablations, baselines and the notebooks that execute them."""
