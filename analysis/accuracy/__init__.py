"""How well models predict, and whether they differ."""
