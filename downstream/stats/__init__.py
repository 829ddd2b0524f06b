"""Statistics: paired tests over lesions and seeds, bootstrap intervals, comparisons."""
