"""Annotating: masks of real photographs, drawn by a trained segmentation net."""
