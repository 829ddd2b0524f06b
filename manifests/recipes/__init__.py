"""Recipes: what each command is asked to do, as pydantic models read from YAML.

Notable choices:
- Paths in a recipe are relative to the working folder, like every path typed on the command line.
- A fingerprint covers what decides the result and leaves out what only decides the speed.
"""
