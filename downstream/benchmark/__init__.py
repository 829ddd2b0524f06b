"""Benchmark: trainings with and without synthetic data, and what they say together."""
