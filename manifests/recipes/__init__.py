"""Recipes: what each command is asked to do, as pydantic models read from YAML."""
