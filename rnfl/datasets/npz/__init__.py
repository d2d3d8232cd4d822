"""Datasets of npz files, one per eye, with CSVs that say more: what such datasets share."""
