"""Tests of the index of shards: what is no record of a run is named."""

from collections.abc import Callable
from pathlib import Path

import pytest

from didgen.manifests.errors import DidgenError
from didgen.manifests.runs.claim import start_run
from didgen.manifests.runs.finish import finish_run
from didgen.manifests.shards.index import read_manifest, read_run
from tests.fixtures.bare_runs import CHOICES, RECIPE, finished_run, write
from tests.fixtures.samples import bare_image


@pytest.mark.parametrize("read", [read_run, read_manifest])
def test_absent_and_foreign_records_are_named(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    name = "run.json" if read is read_run else "manifest.json"
    with pytest.raises(DidgenError, match=name):
        read(tmp_path)
    for text in ("", "[]", '{"format": 9}'):
        (tmp_path / name).write_text(text)
        with pytest.raises(DidgenError, match=name):
            read(tmp_path)


def test_a_manifest_names_no_document_but_its_own(tmp_path: Path) -> None:
    finished_run(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace('"README.md"', '"../secret"'))
    with pytest.raises(DidgenError, match=r"manifest.json is not what didgen writes"):
        read_manifest(tmp_path)


def test_manifest_cannot_point_outside(tmp_path: Path) -> None:
    start_run(tmp_path, fingerprint="f00d", recipe=RECIPE)
    write(tmp_path, 0, bare_image("a"))
    finish_run(tmp_path, {"images": 1}, **CHOICES)
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace("images-000000.tar", "../images-000000.tar"))
    with pytest.raises(DidgenError, match=r"manifest.json is not what didgen writes"):
        read_manifest(tmp_path)
