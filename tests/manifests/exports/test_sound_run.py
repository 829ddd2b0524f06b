"""Tests of runs that are to be exported: what they hold, and what is no part of them."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from didgen.manifests.choices import ExportForm
from didgen.manifests.errors import DidgenError
from didgen.manifests.exports.export import export
from didgen.manifests.exports.sound_run import Export, prepare_export
from didgen.manifests.files import read_json
from didgen.manifests.privacy.pseudonyms import KEY_NAME
from didgen.manifests.recipes.mix import MixRecipe
from didgen.manifests.runs.claim import start_run
from didgen.manifests.runs.finish import finish_run
from didgen.manifests.runs.mix import mix, prepare_mix
from didgen.manifests.runs.verify import verify
from didgen.manifests.shards.shard import (
    Sample,
    Stamp,
    iterate,
    read_shard,
    shard_path,
    write_shard,
)
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.pictures import encoded, noise
from tests.fixtures.runs import write_run
from tests.fixtures.samples import whole_sample

pytestmark = pytest.mark.usefixtures("datasets_offline")


def test_shards_that_the_manifest_does_not_list_are_left_out(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    mine = make_run(tmp_path / "run")
    shutil.copy(shard_path(mine, "pairs", 0), shard_path(mine, "pairs", 7))
    job = prepare_export(mine, "parquet", tmp_path / "out")
    assert job.counts() == {("images", "train"): 10, ("pairs", "train"): 6}


@pytest.mark.parametrize("index", [b"3", b"-1", b"x", b"\xff", b""])
@pytest.mark.parametrize("to", ["imagefolder", "parquet"])
def test_an_image_without_a_class_of_its_run_is_named(
    run: Path, tmp_path: Path, to: ExportForm, index: bytes
) -> None:
    mine = tmp_path / "run"
    start_run(mine, fingerprint="f00d", recipe={})
    image = next(iterate(run, "images"))
    sample = Sample(image.key, image.members | {"cls": index})
    write_shard(mine, "images", 0, [sample], Stamp("f00d"))
    finish_run(mine, {"images": 1}, decisions={}, versions={}, classes=["MEL", "NV", "BCC"])
    with pytest.raises(DidgenError, match=r"class.*; delete it .* run `didgen \w+` again"):
        export(prepare_export(mine, to, tmp_path / "out"))
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("lost", ["jpg", "json", "mask.png", "sample"])
@pytest.mark.parametrize("to", ["imagefolder", "parquet"])
def test_a_sample_that_lacks_a_part_is_named(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: ExportForm, lost: str
) -> None:
    def torn(tar: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
        for key, members in read_shard(tar):
            # A hostile author hashes the shard again, so that nothing else tells.
            if (key, lost) != ("pairs-000005", "sample"):
                yield key, {n: m for n, m in members.items() if (key[:5], n) != ("pairs", lost)}

    monkeypatch.setattr("didgen.manifests.shards.sample.read_shard", torn)
    with pytest.raises(DidgenError, match=r"pairs-00000\d .*; delete it .* run `didgen \w+` again"):
        export(prepare_export(run, to, tmp_path / "out"))
    assert not list(tmp_path.glob("out*"))


def test_pseudonyms_need_the_source_of_the_run(
    make_source: Callable[..., Path],
    make_run: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = make_source(tmp_path / "one")
    recipe = {"kind": "augment", "model": "mini", "source": "gone"}
    run = make_run(tmp_path / "run", layouts=("drawn", "ISIC_0000001"), recipe=recipe)

    def hidden(out: str, given: Path | None = None) -> Export:
        return prepare_export(run, "parquet", tmp_path / out, pseudonymise=True, source=given)

    with pytest.raises(DidgenError, match=r"is not at hand, and its key .* by `--source`"):
        hidden("out")
    (tmp_path / "other").mkdir()
    replace(SourceManifest.read(source), records=()).write(tmp_path / "other")
    with pytest.raises(DidgenError, match=r"has no image ISIC_0000001, which .*run names; name"):
        hidden("out", tmp_path / "other")
    job = hidden("out", source)
    assert job.pseudonyms is not None and not (source / KEY_NAME).exists()
    export(job)
    assert (source / KEY_NAME).is_file()
    # As it was given to the run: relative to the working folder.
    source.rename(tmp_path / "gone")
    monkeypatch.chdir(tmp_path)
    assert hidden("again").pseudonyms


def test_a_run_that_names_no_real_image_needs_no_key(run: Path, tmp_path: Path) -> None:
    job = prepare_export(run, "parquet", tmp_path / "out", pseudonymise=True)
    assert job.pseudonyms is None
    export(job)
    assert [one.name for one in job.manifest.made_from] == ["mini"]


def test_a_fold_names_its_cases_by_their_pseudonyms(
    make_source: Callable[..., Path], make_run: Callable[..., Path], tmp_path: Path
) -> None:
    source, run = make_source(tmp_path / "source"), make_run(tmp_path / "run")
    mix(prepare_mix(MixRecipe(source=source, run=run, ratio=0.5)), tmp_path / "mix")
    out = tmp_path / "Dataset501_Test"
    export(prepare_export(tmp_path / "mix", "nnunet", out, pseudonymise=True))
    first, *_ = read_json(out / "splits_final.json")
    cases = {path.name.removesuffix("_0000.png") for path in (out / "imagesTr").iterdir()}
    assert {*first["train"], *first["val"]} == cases
    assert not any("ISIC" in case for case in cases)


@pytest.mark.parametrize("to", ["imagefolder", "parquet"])
def test_images_of_a_run_without_classes_are_exported(tmp_path: Path, to: ExportForm) -> None:
    known = {"key": "a", "label": -1, "class": "", "prompt": "An image.", "seed": 1}
    image = encoded(noise(1), "JPEG")
    plain = whole_sample("images", "a", image, b"", -1, known, {"label": "", "prompt": "An image."})
    run = write_run(tmp_path / "run", {"images": [[plain]]}, classes=[])
    assert {verdict.status for verdict in verify(run)} == {"ok"}
    export(prepare_export(run, to, tmp_path / "out"))
    assert (tmp_path / "out").is_dir()
