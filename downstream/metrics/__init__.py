"""Metrics: pure functions from predictions or features to figures."""
