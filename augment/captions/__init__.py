"""Captions: measured from pixels or asked of a language model, and new ones of a class."""
