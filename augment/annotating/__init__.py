"""Annotating: masks of real photographs, read from a model's attention."""
