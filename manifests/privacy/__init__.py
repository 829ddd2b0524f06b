"""Privacy: what of a photograph, its names and its paths leaves with what is published."""
