"""Importers: folders of real images made a source manifest."""
