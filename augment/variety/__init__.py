"""Variety at sampling: how predictions are combined, how prompts are annealed, weaker models."""
