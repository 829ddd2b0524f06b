"""Exports: a run in the layouts that other training code reads."""
