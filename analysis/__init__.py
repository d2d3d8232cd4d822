"""Statistics, tables and figures of predictions: the half of the project that needs no torch."""
