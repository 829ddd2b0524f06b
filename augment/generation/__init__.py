"""Generation: a recipe's plan carried out sample by sample, here or on a cluster."""
