"""Tests of the samples under review: what is read of a run, and of which source."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from didgen.downstream.review.samples import SIMILARITY, prepare_review
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.mix import MixRecipe
from didgen.manifests.runs.copy_scores import write_scores
from didgen.manifests.runs.mix import mix, prepare_mix
from didgen.manifests.shards.index import read_manifest
from didgen.manifests.shards.shard import Sample, read_sidecars
from tests.fixtures.runs import write_run
from tests.fixtures.sources import write_noise_source


def test_every_sample_that_was_made_is_there(run: Path) -> None:
    job = prepare_review(run)
    assert len(job.samples) == 16
    sample = job.samples["pairs", "pairs-000001"]
    assert (sample.label, sample.layout, sample.prompt) == ("BCC", "drawn", "lesion 1")
    assert sample.sha256 == read_manifest(run).configs["pairs"][0].sha256 and sample.nearest == ""
    assert job.source is None and job.records == {} and len(job.shards) == 4


def test_scores_of_the_copy_check_come_along(run: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(run, tmp_path / "run"))
    sidecar = read_sidecars(own, "images")[0]
    score = {"nearest": "ISIC_0000001", "similarity": 0.25, "is_copy": False}
    write_scores(own, "images", sidecar, {"images-000000": score})
    job = prepare_review(own)
    sample = job.samples["images", "images-000000"]
    assert sample.nearest == "ISIC_0000001" and sample.scores[SIMILARITY] == 0.25
    assert job.scores == [SIMILARITY]


def test_the_source_is_the_one_that_is_given_or_that_the_run_names(tmp_path: Path) -> None:
    source = write_noise_source(tmp_path / "data")
    named = {"kind": "augment", "source": str(source)}
    parts = [*read_parts(tmp_path)]
    run = write_run(tmp_path / "named", {"images": [parts]}, recipe=named, classes=["MEL"])
    assert json.loads((run / "run.json").read_bytes())["recipe"]["source"].startswith("$RUN/")
    assert len(prepare_review(run).records) == 30
    other = write_run(tmp_path / "other", {"images": [parts]}, classes=["MEL"])
    assert prepare_review(other).source is None
    assert len(prepare_review(other, source).records) == 30
    with pytest.raises(DidgenError, match="nowhere"):
        prepare_review(other, tmp_path / "nowhere")


def read_parts(folder: Path) -> Iterator[Sample]:
    """One image of a run."""
    from tests.fixtures.samples import noise_sample

    yield noise_sample("images", 0, "MEL")


def test_a_mix_and_a_torn_run_are_refused(run: Path, source: Path, tmp_path: Path) -> None:
    mix(prepare_mix(MixRecipe(source=source, run=run, ratio=1)), tmp_path / "mix")
    with pytest.raises(DidgenError, match="is a mix; review the run that"):
        prepare_review(tmp_path / "mix")
    own = Path(shutil.copytree(run, tmp_path / "run"))
    tar = own / "pairs" / "pairs-000000.tar"
    tar.write_bytes(tar.read_bytes()[:-600])
    with pytest.raises(DidgenError, match=r"pairs-000000\.tar is missing or not as"):
        prepare_review(own)
