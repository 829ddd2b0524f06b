"""Fixtures of every room: what surrounds a test, and small sources and runs of noise."""

import pytest

from tests.fixtures.changed import pytest_addoption, pytest_ignore_collect
from tests.fixtures.commands import command
from tests.fixtures.environment import closed_readers, data_dir, datasets_offline, no_hub
from tests.fixtures.folders import photographs, source_and_run
from tests.fixtures.runs import make_run, run
from tests.fixtures.servers import store
from tests.fixtures.sharing import pytest_xdist_make_scheduler
from tests.fixtures.sources import make_source, source

__all__ = [
    "closed_readers",
    "command",
    "data_dir",
    "datasets_offline",
    "make_run",
    "make_source",
    "no_hub",
    "photographs",
    "pytest_addoption",
    "pytest_ignore_collect",
    "pytest_xdist_make_scheduler",
    "run",
    "source",
    "source_and_run",
    "store",
]

pytest.register_assert_rewrite("tests.contracts")
