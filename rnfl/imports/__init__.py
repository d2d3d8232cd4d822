"""Predictions and demographics that were made elsewhere, read, checked and joined by sample."""
