"""The catalogue: the bundled recipes, what each needs and what it costs."""
