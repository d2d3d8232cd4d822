"""From batches to a fitted model, and from a model to predictions."""
