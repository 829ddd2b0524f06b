"""Tests of the samples of a run that real images are joined by."""

from collections.abc import Callable
from pathlib import Path

import pytest

from didgen.manifests.errors import DidgenError
from didgen.manifests.runs.training_samples import training_samples
from didgen.manifests.shards.index import read_manifest
from didgen.manifests.shards.shard import read_sidecars
from didgen.manifests.sources.records import SourceManifest


@pytest.mark.parametrize("score", [None, "yes", {}, {"is_copy": "no"}, {"is_copy": None}])
def test_nothing_is_dropped_by_guess(
    make_run: Callable[..., Path], source: Path, tmp_path: Path, score: object
) -> None:
    run, manifest = make_run(tmp_path / "run"), SourceManifest.read(source)
    (first, *_) = read_sidecars(run, "images")
    rows = [row | ({} if score is None else {"copy": score}) for row in first.rows]
    odd = first.model_copy(update={"rows": rows})
    samples = training_samples(run, read_manifest(run), "images", [odd], manifest, drop_copies=True)
    with pytest.raises(DidgenError, match=r"without the score .* run `didgen quality --write-sco"):
        list(samples)
