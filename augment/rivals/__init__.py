"""The rivals of the paper's tables, each written from its equations: nets, losses, generators."""
