"""Tests of shards: what is written comes back, and nothing half-written stays."""

import io
import json
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import sha256_of
from didgen.manifests.shards.info import write_info
from didgen.manifests.shards.shard import (
    Failure,
    Sample,
    Sidecar,
    Sidecars,
    Stamp,
    TornError,
    is_shard_name,
    iterate,
    read_shard,
    read_sidecar,
    read_sidecars,
    shard_path,
    split_of,
    write_shard,
)
from tests.fixtures.samples import bare_image, bare_pair

keys = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_-]{0,79}\Z")
contents = st.binary(max_size=1500)
rows = st.dictionaries(
    st.text(min_size=1).filter(lambda name: name not in ("key", "status")),
    st.none() | st.integers() | st.text() | st.lists(st.booleans(), max_size=2),
    max_size=3,
)
images = st.builds(
    Sample, keys, st.fixed_dictionaries({"jpg": contents, "cls": contents, "json": contents}), rows
)
results = st.lists(
    images | st.builds(Failure, keys, st.text()), max_size=6, unique_by=lambda result: result.key
)


Result = Sample | Failure


def write(
    directory: Path, results: Iterable[Result], config: Config = "images", index: int = 0
) -> Sidecar:
    return write_shard(
        directory,
        config,
        index,
        results,
        Stamp("f00d", {"torch": "2.8"}),
    )


@settings(deadline=None, max_examples=40)
@given(st.lists(results, min_size=1, max_size=2))
def test_written_shards_come_back(shards: list[list[Result]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        expected = []
        for index, results in enumerate(shards):
            sidecar = write(directory, results, index=index)
            tar = shard_path(directory, "images", index)
            assert read_sidecar(tar.with_suffix(".json")) == sidecar
            assert (sidecar.sha256, sidecar.bytes) == (sha256_of(tar), tar.stat().st_size)
            assert [row["key"] for row in sidecar.rows] == [result.key for result in results]
            assert {row["key"]: row["reason"] for row in sidecar.rows if row["status"] != "ok"} == {
                result.key: result.reason for result in results if isinstance(result, Failure)
            }
            expected += [result for result in results if isinstance(result, Sample)]
        assert list(iterate(directory, "images")) == expected


@settings(deadline=None, max_examples=30)
@given(st.lists(images, max_size=4, unique_by=lambda sample: sample.key))
def test_tar_is_what_webdataset_and_tarfile_say(samples: list[Sample]) -> None:
    webdataset = pytest.importorskip("webdataset")
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), samples)
        data = shard_path(Path(folder), "images", 0).read_bytes()
    oracle = io.BytesIO()
    with webdataset.TarWriter(
        oracle, user="", group="", mode=0o644, mtime=0, encoder=False
    ) as writer:
        for sample in samples:
            writer.write({"__key__": sample.key, **sample.members})
    assert data == oracle.getvalue()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o644)
            assert (member.uname, member.gname) == ("", "")
        assert len(tar.getmembers()) == 3 * len(samples)


@settings(deadline=None, max_examples=20)
@given(results)
def test_same_samples_give_same_bytes(results: list[Result]) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        write(Path(one), results)
        # Neither the order of a sample's members nor the sidecar's rows may reach the tar.
        write(
            Path(two),
            [
                Sample(r.key, dict(reversed(r.members.items())), {"took": 1.5})
                if isinstance(r, Sample)
                else replace(r, reason="another")
                for r in results
            ],
        )
        assert (
            shard_path(Path(one), "images", 0).read_bytes()
            == shard_path(Path(two), "images", 0).read_bytes()
        )


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("before", [False, True])
def test_exception_while_making_leaves_nothing(
    tmp_path: Path, error: type[BaseException], before: bool
) -> None:
    if before:
        write(tmp_path, [bare_image("old")])

    def interrupted() -> Iterator[Sample]:
        yield bare_image("a", jpg=b"J" * 100_000)
        raise error

    with pytest.raises(error):
        write(tmp_path, interrupted())
    assert list((tmp_path / "images").iterdir()) == []


def test_row_that_is_not_json_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="serialize"):
        write(tmp_path, [Sample("a", bare_image("a").members, {"score": object()})])
    assert list((tmp_path / "images").iterdir()) == []


def test_sidecar_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    wrong: Any = {"torch": 2}
    with pytest.raises(ValueError, match="versions"):
        write_shard(tmp_path, "images", 0, [bare_image("a")], Stamp("f00d", wrong))
    assert list((tmp_path / "images").iterdir()) == []


def test_old_sidecar_is_gone_while_its_shard_is_written_anew(tmp_path: Path) -> None:
    write(tmp_path, [bare_image("old")])

    def look() -> Iterator[Sample]:
        (name,) = [path.name for path in (tmp_path / "images").iterdir()]
        assert name.startswith("images-000000.tar.") and name.endswith(".tmp")
        yield bare_image("new")

    write(tmp_path, look())
    assert [sample.key for sample in iterate(tmp_path, "images")] == ["new"]


@pytest.mark.parametrize(
    "key", ["", "a.b", "../a", "a/b", "/a", "__a", "-a", "a b", "ä", "a\n", "a" * 81]
)
def test_odd_keys_are_refused(key: str) -> None:
    with pytest.raises(DidgenError, match="key"):
        Sample(key, {})
    with pytest.raises(DidgenError, match="key"):
        Failure(key, "no reason")


@pytest.mark.parametrize(
    ("config", "samples"),
    [
        ("images", [bare_image("a"), bare_image("a")]),
        ("images", [bare_image("a"), Failure("a", "it failed")]),
        ("images", [bare_image("a", png=b"P")]),
        ("images", [bare_pair("a")]),
        ("pairs", [Sample("a", {"jpg": b"J", "json": b"{}"})]),
        ("pairs", [bare_pair("a"), bare_pair("b", cls=b"1")]),
        ("pairs", [bare_pair("a", cls=b"1"), bare_pair("b")]),
    ],
)
def test_samples_that_do_not_fit_are_refused(
    tmp_path: Path, config: Config, samples: list[Result]
) -> None:
    with pytest.raises(DidgenError, match=r"images-000000.tar|pairs-000000.tar"):
        write(tmp_path, samples, config)
    assert list((tmp_path / config).iterdir()) == []


def test_longest_key_fits_a_plain_header(tmp_path: Path) -> None:
    write(tmp_path, [bare_pair("k" * 80)], "pairs")
    assert next(iterate(tmp_path, "pairs")).key == "k" * 80


@pytest.mark.parametrize(
    "change",
    [
        {"samples": 2},
        {"rows": [{"key": "a"}]},
        {"rows": [{"status": "ok"}]},
        {"rows": [{"key": "a", "status": "ok"}, {"key": "a", "status": "failed"}]},
        {"format": 2},
        {"sha256": "short"},
        {"more": 1},
    ],
)
def test_sidecar_that_does_not_add_up_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    sidecar = write(tmp_path, [bare_image("a")])
    path = shard_path(tmp_path, "images", 0).with_suffix(".json")
    path.write_text(json.dumps(sidecar.model_dump() | change))
    with pytest.raises(DidgenError, match=r"images-000000.json is not what didgen writes"):
        read_sidecar(path)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_every_truncation_is_torn(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), [bare_image("a", jpg=b"J" * 700), bare_image("b")])
        path = shard_path(Path(folder), "images", 0)
        whole = path.read_bytes()
        # Six headers, seven blocks of content: from there on only the end's padding is cut.
        end = (6 + 7) * 512
        path.write_bytes(whole[: data.draw(st.integers(0, end + 512 + 511))])
        with pytest.raises(TornError, match="ends in the middle"):
            list(read_shard(path))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 511), st.integers(1, 255))
def test_damaged_header_is_never_passed_over(position: int, flip: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        samples = [bare_image("a"), bare_image("b")]
        write(Path(folder), samples)
        path = shard_path(Path(folder), "images", 0)
        data = bytearray(path.read_bytes())
        data[3 * 1024 + position] ^= flip
        path.write_bytes(data)
        try:
            found = [Sample(key, members) for key, members in read_shard(path)]
        except DidgenError:
            return
        # Only the slack of a header's fields may change without harm.
        assert found == samples


def hostile(name: str, kind: bytes = tarfile.REGTYPE, **fields: Any) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    for field, value in fields.items():
        setattr(member, field, value)
    return member


@pytest.mark.parametrize(
    "member",
    [
        hostile("../evil.jpg"),
        hostile("/etc/evil.jpg"),
        hostile("sub/evil.jpg"),
        hostile("noextension"),
        hostile(".hidden"),
        hostile("a..jpg"),
        hostile("a.jpg", tarfile.SYMTYPE, linkname="/etc/passwd"),
        hostile("a.jpg", tarfile.LNKTYPE, linkname="b.jpg"),
        hostile("a.jpg", tarfile.CHRTYPE, devmajor=1, devminor=3),
        hostile("a.jpg", tarfile.FIFOTYPE),
        hostile("a.jpg", tarfile.DIRTYPE),
        hostile("a" * 200 + ".jpg"),
        hostile("a.jpg", pax_headers={"comment": "hidden"}),
    ],
    ids=lambda member: f"{member.name[:12]}-{member.type!r}",
)
def test_hostile_member_is_refused(tmp_path: Path, member: tarfile.TarInfo) -> None:
    path = tmp_path / "hostile.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(member)
    with pytest.raises(DidgenError, match="plain file"):
        list(read_shard(path))
    assert list(tmp_path.iterdir()) == [path]


def test_oversized_member_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.tar"
    path.write_bytes(hostile("a.jpg", size=2**32).tobuf(tarfile.USTAR_FORMAT))
    with pytest.raises(DidgenError, match="has the oversized member"):
        list(read_shard(path))


@pytest.mark.parametrize("names", [["a.jpg", "a.jpg"], ["a.jpg", "b.jpg", "a.cls"]])
def test_duplicate_and_scattered_members_are_refused(tmp_path: Path, names: list[str]) -> None:
    path = tmp_path / "twice.tar"
    with tarfile.open(path, "w") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(DidgenError, match="twice or apart"):
        list(read_shard(path))


def test_data_after_the_end_is_refused(tmp_path: Path) -> None:
    write(tmp_path, [bare_image("a")])
    path = shard_path(tmp_path, "images", 0)
    path.write_bytes(path.read_bytes() + b"\0" * 512 + b"more")
    with pytest.raises(DidgenError, match="goes on after its end"):
        list(read_shard(path))


def test_iterate_wants_shards_that_fit_their_sidecars(tmp_path: Path) -> None:
    with pytest.raises(DidgenError, match="holds no shards"):
        list(iterate(tmp_path, "images"))
    write(tmp_path, [bare_image("a")], index=0)
    write(tmp_path, [bare_image("b"), bare_image("c")], index=1)
    first, second = (shard_path(tmp_path, "images", index) for index in (0, 1))
    first_bytes, second_bytes = first.read_bytes(), second.read_bytes()
    second.write_bytes(first_bytes)
    with pytest.raises(DidgenError, match=r"images-000001.tar does not hold the samples"):
        list(iterate(tmp_path, "images"))
    second.write_bytes(second_bytes[: 3 * 1024] + second_bytes[6 * 1024 :])
    with pytest.raises(DidgenError, match=r"images-000001.tar does not hold the samples"):
        list(iterate(tmp_path, "images"))
    second.unlink()
    with pytest.raises(DidgenError, match=r"images-000001.tar does not exist"):
        list(iterate(tmp_path, "images"))


def test_info_lists_the_shards_in_order(tmp_path: Path) -> None:
    write(tmp_path, [bare_image("c")], index=1)
    write(tmp_path, [bare_image("a"), bare_image("b"), Failure("x", "no")], index=0)
    shards = read_sidecars(tmp_path, "images")
    write_info(tmp_path, "images", ((one.shard, one.samples) for one in shards))
    train = json.loads((tmp_path / "images" / "_info.json").read_text())["splits"]["train"]
    assert train == {
        "name": "train",
        "filenames": ["images-000000.tar", "images-000001.tar"],
        "shard_lengths": [2, 1],
        "num_samples": 3,
    }


def test_a_shard_says_its_split(tmp_path: Path) -> None:
    names = {
        split: shard_path(tmp_path, "pairs", 3, split).name
        for split in (None, "train", "val", "test")
    }
    assert names[None] == "pairs-000003.tar"
    assert names["val"] == "pairs-val-000003.tar"
    for split, name in names.items():
        assert is_shard_name(name, "pairs") and not is_shard_name(name, "images")
        assert split_of(name) == (split or "train")
    for name in (
        "pairs-dev-000003.tar",
        "pairs-val-3.tar",
        "pairs-val-000003.tar.tmp",
        "pairs-.tar",
    ):
        assert not is_shard_name(name, "pairs")


def test_sidecars_come_split_by_split(tmp_path: Path) -> None:
    for split in ("test", "val", "train"):
        write_shard(
            tmp_path,
            "images",
            0,
            [bare_image(split)],
            Stamp("f00d"),
            split=split,
        )
    found = [list(sidecar.kept) for sidecar in read_sidecars(tmp_path, "images")]
    assert found == [["train"], ["val"], ["test"]]


def test_sidecars_are_read_whenever_they_are_asked_for(tmp_path: Path) -> None:
    for index, key in enumerate("abc"):
        write(tmp_path, [bare_image(key)], index=index)
    sidecars = read_sidecars(tmp_path, "images")
    assert len(sidecars) == 3 and [*sidecars[1].kept] == ["b"] and [*sidecars[-1].kept] == ["c"]
    assert [[*one.kept] for one in sidecars[1:]] == [["b"], ["c"]]
    assert [[*one.kept] for _ in range(2) for one in sidecars] == [["a"], ["b"], ["c"]] * 2
    with pytest.raises(IndexError):
        sidecars[3]
    write(tmp_path, [bare_image("d")], index=1)
    assert [*sidecars[1].kept] == ["d"]
    sidecars.paths[2].write_text("{")
    assert [*next(iter(sidecars)).kept] == ["a"]
    with pytest.raises(DidgenError, match=r"images-000002\.json"):
        list(sidecars)
    known = Sidecars(sidecars.paths[:2], (one.sha256 for one in sidecars[:2]))
    assert len(list(known)) == 2
    write(tmp_path, [bare_image("e")], index=1)
    assert [*known[0].kept] == ["a"]
    for looked_at in (known, known[1:]):
        with pytest.raises(DidgenError, match=r"images-000001\.json is that of another shard"):
            list(looked_at)


def test_a_sidecar_has_a_line_for_each_row(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": 'a\n  "rows": []', "scores": {"b": 1.5, "a": [1]}},
        {"prompt": "ü"},
    ]
    samples = [replace(bare_image(f"k{n}"), row=row) for n, row in enumerate(rows)]
    sidecar = write(tmp_path, samples, index=0)
    path = shard_path(tmp_path, "images", 0).with_suffix(".json")
    assert read_sidecar(path) == sidecar
    lines = path.read_text().splitlines()
    assert [json.loads(line.rstrip(","))["key"] for line in lines if '"prompt"' in line] == [
        "k0",
        "k1",
    ]
    assert json.loads(path.read_text()) == json.loads(sidecar.model_dump_json())
    empty = write(tmp_path, [], index=1)
    assert read_sidecar(path.with_name("images-000001.json")) == empty
