"""Foreign: samples of other generators as a run."""
