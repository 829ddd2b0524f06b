"""Statistics: paired tests over lesions (or patients) and seeds, bootstrap, comparisons."""
