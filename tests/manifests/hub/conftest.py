"""The hub on this machine."""

from tests.fixtures.hub import hub

__all__ = ["hub"]
