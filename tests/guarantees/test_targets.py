"""Tests of object stores: their runs are those of a folder, found and mended alike."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from didgen.augment.generation.prepare import GenerationJob
from didgen.augment.generation.remake import remake
from didgen.augment.generation.run import augment
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import atomic_file, located
from didgen.manifests.runs.verify import verify
from tests.fixtures.commands import Command
from tests.fixtures.runs import flip, lay, told, truncate


@pytest.fixture(scope="module", params=["s3", "memory"])
def remote(request: pytest.FixtureRequest, job: GenerationJob) -> Path:
    """The same run in a store."""
    base = request.getfixturevalue("store") if request.param == "s3" else "memory://didgen"
    out = located(f"{base}/{request.node.name.replace('[', '-').strip(']')}/run")
    augment(job, out)
    return out


def test_a_run_in_a_store_is_that_of_a_folder(remote: Path, finished: Path) -> None:
    assert told(remote) == told(finished)
    assert {verdict.status for verdict in verify(remote)} == {"ok"}


def test_a_second_run_does_no_work(
    remote: Path, job: GenerationJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "didgen.augment.generation.worker.make", lambda *_: pytest.fail("a whole shard was remade")
    )
    augment(job, remote)


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("name", "damage", "status"),
    [
        ("pairs/pairs-000001.tar", truncate, "torn"),
        ("pairs/pairs-000001.tar", flip, "mismatch"),
        ("pairs/pairs-000001.tar", remove, "missing"),
        ("images/images-000000.json", remove, "missing"),
        ("images/_info.json", truncate, "mismatch"),
        ("manifest.json", remove, "missing"),
        ("images/images-000007.tar", lay, "extra"),
    ],
)
def test_damage_is_named_and_mended(
    remote: Path,
    finished: Path,
    job: GenerationJob,
    name: str,
    damage: Callable[[Path], object],
    status: str,
) -> None:
    damage(remote / name)
    faults = {verdict.file: verdict.status for verdict in verify(remote) if verdict.status != "ok"}
    assert faults == {name: status}
    augment(job, remote)
    assert {verdict.status for verdict in verify(remote)} == {"ok"}
    kept = {n: v for n, v in told(remote).items() if not n.startswith("set-aside/")}
    assert kept == told(finished)
    if status == "extra":
        assert (remote / "set-aside" / name).read_bytes() == b"not of the run"


def test_an_exception_leaves_no_object(remote: Path) -> None:
    with pytest.raises(RuntimeError), atomic_file(remote / "half") as file:
        file.write(b"half of it")
        raise RuntimeError
    assert not (remote / "half").exists()


def test_a_sample_is_remade_from_its_record(remote: Path, job: GenerationJob) -> None:
    from didgen.manifests.shards.shard import iterate

    wanted = next(iterate(remote, "pairs"))
    assert remake(job, remote, wanted.key).members == wanted.members


@pytest.fixture
def shards(store: str, job: GenerationJob) -> str:
    """The URL of the pairs' folder of a run in the S3 server."""
    augment(job, located(f"{store}/read/run"))
    return f"{store}/read/run/pairs"


KEYS = ["pair-000000", "pair-000001", "pair-000002"]


def test_datasets_reads_the_shards_from_the_store(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    # Without the hub `datasets` asks no store either.
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    rows = datasets.load_dataset(
        "webdataset",
        data_files={"train": f"{shards}/*.tar"},
        split="train",
        cache_dir=str(tmp_path),
    )
    assert [row["__key__"].rpartition("/")[2] for row in rows] == KEYS
    assert all(isinstance(row["mask.png"], Image.Image) for row in rows)


def test_webdataset_reads_the_shards_from_the_store(shards: str) -> None:
    import fsspec
    import webdataset

    webdataset.gopen_schemes["s3"] = lambda url, mode, bufsize, **_: fsspec.open(url, mode).open()
    urls = [f"{shards}/pairs-{index:06d}.tar" for index in range(2)]
    rows = list(webdataset.WebDataset(urls, shardshuffle=False).decode("pil"))
    assert [row["__key__"] for row in rows] == KEYS
    assert all(isinstance(row["mask.png"], Image.Image) for row in rows)


def test_the_command_verifies_and_exports_from_the_store(
    store: str,
    job: GenerationJob,
    tmp_path: Path,
    command: Command,
) -> None:
    augment(job, located(f"{store}/command/run"))
    assert command("verify", f"{store}/command/run").code == 0
    out = tmp_path / "folder"
    arguments = ["export", f"{store}/command/run", "--to", "imagefolder", "--out", str(out)]
    assert command(*arguments).code == 0
    assert len(list(out.rglob("*.jpg"))) == 7
    picture = next(out.rglob("*.jpg")).read_bytes()
    assert Image.open(io.BytesIO(picture)).size == (256, 256)


@pytest.mark.parametrize(
    ("url", "code", "sentence"),
    [
        ("s3://no-such-bucket/run", 1, "s3://no-such-bucket/run cannot be reached"),
        ("gopher://somewhere/run", 1, "gopher://somewhere/run is no object store (s3,"),
    ],
)
def test_a_wrong_target_is_one_sentence(
    store: str,
    url: str,
    code: int,
    sentence: str,
    command: Command,
) -> None:
    done = command("verify", url)
    assert (done.code, done.sentence.startswith(f"Error: {sentence}")) == (code, True), done.err


def test_a_url_of_a_file_is_a_folder(tmp_path: Path) -> None:
    assert located(f"file://{tmp_path}") == located(str(tmp_path)) == tmp_path


def test_what_takes_no_url_says_so(command: Command) -> None:
    done = command("mix", "a", "s3://b/c", "--ratio", 1, "--out", "d")
    assert done.code == 2 and "takes a folder or file of this machine" in done.sentence


def test_a_store_that_fails_in_the_middle_is_one_sentence(store: str) -> None:
    place = located(f"{store}/closing/run")
    import fsspec

    fsspec.filesystem("s3", use_listings_cache=False).mkdir("didgen-gone")
    gone = located("s3://didgen-gone/run")
    fsspec.filesystem("s3", use_listings_cache=False).rmdir("didgen-gone")
    with pytest.raises(DidgenError, match="could not be written"), atomic_file(gone / "x") as file:
        file.write(b"1")
    assert not (place / "x").exists()
