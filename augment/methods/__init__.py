"""What samples are drawn by: the generator's interface, DiDGen's own, and the method of a model."""
