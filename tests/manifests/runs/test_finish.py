"""Tests of runs: a directory is one recipe's, and its index comes last."""

from pathlib import Path

import pytest

from didgen.manifests.choices import Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json, sha256_of, write_json
from didgen.manifests.privacy.paths import LEFT_OUT
from didgen.manifests.runs.claim import start_run
from didgen.manifests.runs.finish import (
    Provenance,
    finish_run,
    mend_run,
    read_trained_on,
    read_whole_run,
)
from didgen.manifests.shards.index import read_manifest, read_run
from didgen.manifests.shards.shard import Failure, Stamp, shard_path, write_shard
from tests.fixtures.bare_runs import (
    CHOICES,
    DOCUMENTS,
    MADE_FROM,
    RECIPE,
    SEEN,
    finished_run,
    write,
)
from tests.fixtures.samples import bare_image, bare_pair


def test_finish_indexes_every_shard(tmp_path: Path) -> None:
    start_run(tmp_path, fingerprint="f00d", recipe=RECIPE)
    write(tmp_path, 0, bare_image("a"), Failure("b", "no lesion found"))
    write(tmp_path, 1, bare_image("c"), bare_image("d"))
    write(tmp_path, 0, bare_pair("e"), config="pairs")
    manifest = finish_run(tmp_path, {"images": 2, "pairs": 1}, **CHOICES)
    assert read_manifest(tmp_path) == manifest
    tars = list(tmp_path.rglob("*.tar"))
    assert manifest.totals.model_dump() == {
        "shards": 3,
        "samples": 4,
        "failures": 1,
        "bytes": sum(path.stat().st_size for path in tars),
        "redraws": 0,
    }
    assert [e.file for e in manifest.configs["images"]] == [
        "images-000000.tar",
        "images-000001.tar",
    ]
    assert [failure.model_dump() for failure in manifest.failures] == [
        {
            "config": "images",
            "shard": "images-000000.tar",
            "key": "b",
            "reason": "no lesion found",
        }
    ]
    assert manifest.recipe == RECIPE
    assert (tmp_path / "images" / "_info.json").is_file()
    assert (tmp_path / "pairs" / "_info.json").is_file()


@pytest.mark.parametrize("fault", ["never made", "no tar", "cut off", "other run"])
def test_unfinished_run_gets_no_manifest(tmp_path: Path, fault: str) -> None:
    start_run(tmp_path, fingerprint="f00d", recipe=RECIPE)
    write(tmp_path, 0, bare_image("a"))
    tar = shard_path(tmp_path, "images", 1)
    if fault != "never made":
        write(tmp_path, 1, bare_image("b"), fingerprint="beef" if fault == "other run" else "f00d")
    if fault == "no tar":
        tar.unlink()
    if fault == "cut off":
        tar.write_bytes(tar.read_bytes()[:-512])
    with pytest.raises(DidgenError, match="images-000001"):
        finish_run(tmp_path, {"images": 2}, **CHOICES)
    assert not (tmp_path / "manifest.json").exists()
    assert not (tmp_path / "images" / "_info.json").exists()


def test_documents_are_written_and_their_hashes_recorded(tmp_path: Path) -> None:
    manifest = finished_run(tmp_path)
    assert manifest.documents == {name: sha256_of(tmp_path / name) for name in DOCUMENTS}
    assert manifest.made_from == MADE_FROM
    assert read_trained_on(tmp_path, manifest) == SEEN
    assert "`trained_on.jsonl` lists 1 real images" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("fault", ["changed", "missing"])
def test_a_list_that_is_not_as_it_was_written_is_not_taken(tmp_path: Path, fault: str) -> None:
    manifest, path = finished_run(tmp_path), tmp_path / "trained_on.jsonl"
    path.unlink() if fault == "missing" else path.write_bytes(b"")
    with pytest.raises(DidgenError, match=f"{path} is missing or not as the run wrote it; run"):
        read_trained_on(tmp_path, manifest)
    with pytest.raises(DidgenError, match="its model has no such list at hand; restore either"):
        mend_run(tmp_path, Provenance(MADE_FROM))
    assert read_trained_on(tmp_path, mend_run(tmp_path, Provenance(MADE_FROM, SEEN))) == SEEN


def test_a_run_of_a_model_without_a_list_has_none(tmp_path: Path) -> None:
    start_run(tmp_path, fingerprint="f00d", recipe=RECIPE)
    write(tmp_path, 0, bare_image("a"))
    manifest = finish_run(tmp_path, {"images": 1}, **CHOICES)
    assert not (tmp_path / "trained_on.jsonl").exists()
    assert not read_trained_on(tmp_path, manifest)
    assert "the model was trained on is not recorded" in (tmp_path / "README.md").read_text()
    # A list may be added to a model later, and then goes to its runs, where it stays.
    assert read_trained_on(tmp_path, mend_run(tmp_path, Provenance(MADE_FROM, SEEN))) == SEEN
    (tmp_path / "README.md").unlink()
    for _ in range(2):
        mended = mend_run(tmp_path, Provenance(MADE_FROM))
        assert read_trained_on(tmp_path, mended) == SEEN
    (tmp_path / "images" / "_info.json").unlink()
    assert read_trained_on(tmp_path, finish_run(tmp_path, {"images": 1}, **CHOICES)) == SEEN
    assert "lists 1 real images that the model" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("fault", ["changed", "missing", "never recorded", "other licence"])
def test_documents_are_mended(tmp_path: Path, fault: str) -> None:
    manifest = finished_run(tmp_path)
    made_from, before = MADE_FROM, (tmp_path / "README.md").read_bytes()
    if fault == "changed":
        (tmp_path / "README.md").write_text("mine")
    elif fault == "missing":
        (tmp_path / "croissant.json").unlink()
    elif fault == "never recorded":
        # As older versions left it.
        told = read_json(tmp_path / "manifest.json")
        del told["documents"], told["made_from"]
        write_json(tmp_path / "manifest.json", told)
        (tmp_path / "README.md").unlink()
    else:
        made_from = [MADE_FROM[0].model_copy(update={"licence": "CC0-1.0"})]
    mended = mend_run(tmp_path, Provenance(made_from, SEEN))
    assert mended == read_manifest(tmp_path)
    assert mended.documents == {name: sha256_of(tmp_path / name) for name in DOCUMENTS}
    if fault == "other licence":
        assert "license: cc0-1.0" in (tmp_path / "README.md").read_text()
    else:
        assert (tmp_path / "README.md").read_bytes() == before
        assert mended == manifest


def as_older(directory: Path) -> None:
    """Put absolute paths into the records of a run, as older versions did."""
    (directory / "README.md").write_text("source: /homes/anna/src")
    for name in ("run.json", "manifest.json"):
        record = read_json(directory / name)
        record["recipe"]["source"] = "/homes/anna/src"
        if name == "manifest.json":
            record["made_from"][0]["name"] = "/homes/anna/model"
            record["documents"]["README.md"] = sha256_of(directory / "README.md")
        write_json(directory / name, record)


def test_paths_that_an_older_version_recorded_go(tmp_path: Path) -> None:
    finished_run(tmp_path)
    as_older(tmp_path)
    made_from = [MADE_FROM[0].model_copy(update={"name": "/homes/anna/model"})]
    mended = mend_run(tmp_path, Provenance(made_from, SEEN))
    assert [one.name for one in mended.made_from] == ["model"]
    assert mended.recipe["source"] == read_run(tmp_path).recipe["source"] == LEFT_OUT
    assert not [path for path in tmp_path.rglob("*.*") if b"anna" in path.read_bytes()]
    files = [tmp_path / name for name in (*DOCUMENTS, "manifest.json", "run.json")]
    before = [file.stat().st_mtime_ns for file in files]
    assert mend_run(tmp_path, Provenance(made_from, SEEN)) == mended
    assert [file.stat().st_mtime_ns for file in files] == before


def test_a_run_that_an_older_version_began_goes_on(tmp_path: Path) -> None:
    recipe = {**RECIPE, "source": "/homes/anna/src"}
    start_run(tmp_path, fingerprint="f00d", recipe=recipe)
    record = read_json(tmp_path / "run.json")
    assert record["recipe"]["source"] == LEFT_OUT
    write_json(tmp_path / "run.json", record | {"recipe": recipe})
    assert start_run(tmp_path, fingerprint="f00d", recipe=recipe).recipe == recipe
    with pytest.raises(DidgenError) as caught:
        start_run(tmp_path, fingerprint="beef", recipe={**recipe, "seed": 7})
    assert "it differs in seed" in str(caught.value) and "source" not in str(caught.value)
    write(tmp_path, 0, bare_image("a"))
    manifest = finish_run(tmp_path, {"images": 1}, **CHOICES)
    assert manifest.recipe["source"] == read_run(tmp_path).recipe["source"] == LEFT_OUT


def test_documents_that_are_as_written_are_left_alone(tmp_path: Path) -> None:
    manifest = finished_run(tmp_path)
    files = [tmp_path / name for name in (*DOCUMENTS, "manifest.json")]
    before = [file.stat().st_mtime_ns for file in files]
    assert mend_run(tmp_path, Provenance(MADE_FROM, SEEN)) == manifest
    assert [file.stat().st_mtime_ns for file in files] == before


def test_finish_takes_shards_of_splits(tmp_path: Path) -> None:
    start_run(tmp_path, fingerprint="f00d", recipe=RECIPE)
    counts: dict[Split, int] = {"train": 2, "test": 1}
    for split, count in counts.items():
        for index in range(count):
            write_shard(
                tmp_path,
                "images",
                index,
                [bare_image(f"{split}{index}")],
                Stamp("f00d"),
                split=split,
            )
    manifest = finish_run(tmp_path, {"images": counts}, **CHOICES)
    names = ["images-train-000000.tar", "images-train-000001.tar", "images-test-000000.tar"]
    assert [entry.file for entry in manifest.configs["images"]] == names
    splits = read_json(tmp_path / "images" / "_info.json")["splits"]
    assert {name: split["filenames"] for name, split in splits.items()} == {
        "train": names[:2],
        "test": names[2:],
    }
    assert {name: split["num_samples"] for name, split in splits.items()} == {"train": 2, "test": 1}


def test_a_whole_run_is_read_with_its_sidecars(tmp_path: Path) -> None:
    manifest = finished_run(tmp_path)
    calls = []
    found, sidecars = read_whole_run(tmp_path, lambda *at: calls.append(at))
    assert found == manifest
    assert [list(sidecar.kept) for sidecar in sidecars["images"]] == [["a"]]
    assert calls == [(1, 1)]


@pytest.mark.parametrize("kind", ["augment", "mix"])
@pytest.mark.parametrize("fault", ["flip", "missing", "sidecar of another"])
def test_a_run_that_is_not_whole_names_its_command(tmp_path: Path, kind: str, fault: str) -> None:
    start_run(tmp_path, fingerprint="f00d", recipe={"kind": kind})
    write(tmp_path, 0, bare_image("a"))
    finish_run(tmp_path, {"images": 1}, **CHOICES)
    tar = shard_path(tmp_path, "images", 0)
    if fault == "flip":
        tar.write_bytes(tar.read_bytes()[:-1] + b"1")
    elif fault == "missing":
        tar.unlink()
    else:
        side = tar.with_suffix(".json")
        side.write_text(side.read_text().replace(sha256_of(tar), "0" * 64))
    with pytest.raises(DidgenError, match=f"images-000000.tar is missing.*`didgen {kind}`"):
        read_whole_run(tmp_path)


def test_a_key_in_two_shards_is_named(tmp_path: Path) -> None:
    start_run(tmp_path, fingerprint="f00d", recipe={"kind": "augment"})
    for index in (0, 1):
        write(tmp_path, index, bare_image("a"))
    finish_run(tmp_path, {"images": 2}, **CHOICES)
    with pytest.raises(DidgenError, match=r"images-000001.tar has a, as an earlier .* `didgen aug"):
        read_whole_run(tmp_path)
