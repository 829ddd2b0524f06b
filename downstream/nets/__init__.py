"""This project's own implementations of published segmentation nets, written from the papers."""
