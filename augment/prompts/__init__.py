"""Prompts: what the model is told, from measured lesions or a language model's words."""
