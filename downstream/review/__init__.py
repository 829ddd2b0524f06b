"""Review: a local web page on which experts judge the samples of a run, and a blind test."""
