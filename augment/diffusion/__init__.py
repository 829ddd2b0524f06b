"""Diffusion: losses, attention, annotation and the guided pipeline of the method."""
