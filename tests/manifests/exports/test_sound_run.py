"""Tests of runs that are to be exported: what they hold, and what is no part of them."""

import shutil

import pytest

from didgen.manifests.errors import DidgenError
from didgen.manifests.exports.export import export
from didgen.manifests.exports.sound_run import prepare_export
from didgen.manifests.runs.claim import start_run
from didgen.manifests.runs.finish import finish_run
from didgen.manifests.shards.shard import Sample, iterate, shard_path, write_shard

pytestmark = pytest.mark.usefixtures("datasets_offline")


def test_shards_that_the_manifest_does_not_list_are_left_out(make_run, tmp_path):
    mine = make_run(tmp_path / "run")
    shutil.copy(shard_path(mine, "pairs", 0), shard_path(mine, "pairs", 7))
    job = prepare_export(mine, "parquet", tmp_path / "out")
    assert job.counts() == {("images", "train"): 10, ("pairs", "train"): 6}


@pytest.mark.parametrize("index", [b"3", b"-1", b"x", b"\xff", b""])
@pytest.mark.parametrize("to", ["imagefolder", "parquet"])
def test_an_image_without_a_class_of_its_run_is_named(run, tmp_path, to, index):
    mine = tmp_path / "run"
    start_run(mine, fingerprint="f00d", recipe={})
    image = next(iterate(run, "images"))
    sample = Sample(image.key, image.members | {"cls": index})
    write_shard(mine, "images", 0, [sample], fingerprint="f00d", versions={})
    finish_run(mine, {"images": 1}, decisions={}, versions={}, classes=["MEL", "NV", "BCC"])
    with pytest.raises(DidgenError, match="without a class of its run"):
        export(prepare_export(mine, to, tmp_path / "out"))
    assert not list(tmp_path.glob("out*"))
