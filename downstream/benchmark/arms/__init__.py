"""Arms: what a training learns from, and how it uses that; a module a use."""
