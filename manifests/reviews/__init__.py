"""Reviews: what experts say of the samples of a run, line by line, and what they say together."""
