"""Files, whole or not at all: where they lie, how they appear, who may write, what a table says."""
