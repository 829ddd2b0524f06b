"""Tests of the choice of tests that a change needs first."""

from tests.fixtures.changed import DOCUMENTS, HOUSE, needed


def test_a_module_needs_its_tests_and_those_of_what_imports_it() -> None:
    found = needed({"manifests/locks.py"})
    assert {"tests/manifests/test_locks.py", "tests/manifests/runs/test_tidy.py", HOUSE} <= {*found}
    assert found == sorted({*found})


def test_a_module_that_all_import_does_not_need_all_tests() -> None:
    assert needed({"manifests/errors.py"}) == ["tests/manifests/test_errors.py", HOUSE]


def test_a_test_a_fixture_and_a_page_need_what_stands_nearest() -> None:
    assert needed({"tests/manifests/test_files.py"}) == ["tests/manifests/test_files.py", HOUSE]
    assert needed({"README.md"}) == [DOCUMENTS, HOUSE]
    assert needed({"docs/results/speed.md", "Makefile"}) == [DOCUMENTS, HOUSE]
    assert needed(set()) == []


def test_guarantees_wait_for_the_slow_tests() -> None:
    found = needed({"tests/fixtures/demo.py", "manifests/runs/verify.py"})
    assert not [place for place in found if "guarantees" in place]
