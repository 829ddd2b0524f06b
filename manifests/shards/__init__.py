"""Shards: tars with their sidecars, and the first and last record of a run."""
