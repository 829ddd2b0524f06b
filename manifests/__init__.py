"""Describing data: sources, recipes, shards, runs, provenance and exports; no torch."""
