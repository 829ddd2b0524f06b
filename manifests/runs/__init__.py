"""Runs: whose a run directory is, whether it is whole, and what may train with it."""
