"""Tests of the worker: whole shards are left alone, others are made."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from didgen.augment.generation import worker as worker_module
from didgen.augment.generation.prepare import GenerationJob
from didgen.augment.generation.run import augment
from didgen.augment.generation.samples import make
from didgen.manifests.runs.verify import verify
from didgen.manifests.shards.shard import Failure, Sample, shard_path
from tests.fixtures.runs import tars


def test_a_second_run_does_no_work(
    finished: Path, job: GenerationJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*.tar")}
    monkeypatch.setattr(worker_module, "make", lambda *_: pytest.fail("a whole shard was remade"))
    augment(job, finished)
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*.tar")} == before


def test_a_broken_run_goes_on_to_the_same_bytes(
    finished: Path, job: GenerationJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "broken"

    def breaking(*arguments: Any) -> Iterator[Sample | Failure]:
        if shard_path(out, "images", 0).exists():
            raise RuntimeError("the power failed")
        yield from make(*arguments)

    monkeypatch.setattr(worker_module, "make", breaking)
    with pytest.raises(RuntimeError, match="the power failed"):
        augment(job, out)
    assert list(tars(out)) == ["images/images-000000.tar"]
    assert not (out / "manifest.json").exists()
    monkeypatch.setattr(worker_module, "make", make)
    augment(job, out)
    assert tars(out) == tars(finished)
    assert {verdict.status for verdict in verify(out)} == {"ok"}
