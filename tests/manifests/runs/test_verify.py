"""Tests of verify: each kind of damage gets its verdict, and sound files none."""

import json
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import sha256_of
from didgen.manifests.runs.verify import verify
from didgen.manifests.shards.shard import Sample, Stamp, shard_path, write_shard
from tests.fixtures.pictures import encoded, noise, square
from tests.fixtures.runs import Shards, write_run

CLASSES = ["MEL", "BCC"]


def picture(seed: int = 0, size: int = 8, form: str = "JPEG") -> bytes:
    return encoded(noise(seed, size, size), form)


def mask(size: int = 8, level: int = 255, mode: str = "L") -> bytes:
    pixels = square(size, 2, 5).astype(np.uint8) * np.uint8(level)
    return encoded(Image.fromarray(pixels).convert(mode), "PNG")


def image_sample(key: str, **members: bytes) -> Sample:
    return Sample(key, {"jpg": picture(), "cls": b"1", "json": b'{"label": 1}'} | members)


def pair_sample(key: str, **members: bytes) -> Sample:
    members = {name.replace("mask_png", "mask.png"): data for name, data in members.items()}
    return Sample(key, {"jpg": picture(), "mask.png": mask(), "json": b"{}"} | members)


Parts = Sequence[Sequence[Sample]]


def make_run(
    directory: Path, images: Parts | None = None, pairs: Parts | None = None, finish: bool = True
) -> Path:
    """Write a run of two image shards and one shard of pairs."""
    shards: Shards = {
        "images": images or [[image_sample("a"), image_sample("b")], [image_sample("c")]],
        "pairs": pairs or [[pair_sample("a"), pair_sample("d")]],
    }
    return write_run(directory, shards, finish=finish, classes=CLASSES)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def run(sound: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sound, tmp_path / "run")


def faults(directory: Path) -> dict[str, str]:
    verdicts = verify(directory)
    for verdict in verdicts:
        assert verdict.sentence.endswith(".") and str(directory) in verdict.sentence
    assert len({verdict.file for verdict in verdicts}) == len(verdicts)
    return {verdict.file: verdict.status for verdict in verdicts if verdict.status != "ok"}


def sentence(directory: Path, file: str) -> str:
    return next(verdict.sentence for verdict in verify(directory) if verdict.file == file)


def reseal(directory: Path, config: Config, index: int = 0) -> None:
    """Let sidecar and manifest agree with a tar that was changed by hand."""
    tar = shard_path(directory, config, index)
    seal = {"sha256": sha256_of(tar), "bytes": tar.stat().st_size}
    side = tar.with_suffix(".json")
    side.write_text(json.dumps(json.loads(side.read_text()) | seal))
    path = directory / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["configs"][config][index].update(seal)
    path.write_text(json.dumps(manifest))


def test_sound_run_is_all_ok_and_every_file_is_judged(sound: Path) -> None:
    calls = []
    verdicts = verify(sound, lambda done, total: calls.append((done, total)))
    assert {verdict.status for verdict in verdicts} == {"ok"}
    assert sorted(verdict.file for verdict in verdicts) == sorted(
        str(path.relative_to(sound)) for path in sound.rglob("*") if path.is_file()
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_pairs_may_all_have_a_class(tmp_path: Path) -> None:
    make_run(tmp_path, pairs=[[pair_sample("a", cls=b"0")], [pair_sample("b", cls=b"1")]])
    assert faults(tmp_path) == {}


@pytest.mark.parametrize("cut", [1, 512, 1024, 10_000])
def test_truncated_shard_is_torn(run: Path, cut: int) -> None:
    tar = shard_path(run, "images", 0)
    tar.write_bytes(tar.read_bytes()[:-cut])
    assert faults(run) == {"images/images-000000.tar": "torn"}


def test_shard_without_its_end_is_torn_even_if_recorded_so(run: Path) -> None:
    tar = shard_path(run, "images", 1)
    tar.write_bytes(tar.read_bytes()[:2000])
    reseal(run, "images", 1)
    assert faults(run) == {"images/images-000001.tar": "torn"}


@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_any_flipped_byte_is_a_mismatch(run: Path, data: st.DataObject) -> None:
    tar = shard_path(run, "pairs", 0)
    whole = bytearray(tar.read_bytes())
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    original = tar.read_bytes()
    try:
        tar.write_bytes(whole)
        assert faults(run) == {"pairs/pairs-000000.tar": "mismatch"}
    finally:
        tar.write_bytes(original)


def test_longer_shard_is_a_mismatch(run: Path) -> None:
    with open(shard_path(run, "images", 0), "ab") as file:
        file.write(b"\0" * 512)
    assert faults(run) == {"images/images-000000.tar": "mismatch"}


@pytest.mark.parametrize(
    "file",
    [
        "images/images-000001.tar",
        "images/images-000001.json",
        "images/_info.json",
        "run.json",
        "README.md",
        "croissant.json",
    ],
)
def test_deleted_file_is_missing(run: Path, file: str) -> None:
    (run / file).unlink()
    assert faults(run) == {file: "missing"}


def test_shard_that_is_only_in_the_manifest_is_missing(run: Path) -> None:
    shutil.rmtree(run / "pairs")
    assert faults(run) == {
        "pairs/pairs-000000.tar": "missing",
        "pairs/pairs-000000.json": "missing",
        "pairs/_info.json": "missing",
    }


def test_unfinished_run_is_told_to_go_on(tmp_path: Path) -> None:
    make_run(tmp_path, finish=False)
    assert faults(tmp_path) == {"manifest.json": "missing"}
    assert "the run is not finished; run `didgen augment` again" in sentence(
        tmp_path, "manifest.json"
    )


def test_without_manifest_a_sidecar_still_tells_of_its_shard(tmp_path: Path) -> None:
    make_run(tmp_path, finish=False)
    shard_path(tmp_path, "images", 0).unlink()
    shard_path(tmp_path, "images", 1).with_suffix(".json").unlink()
    assert faults(tmp_path) == {
        "manifest.json": "missing",
        "images/images-000000.tar": "missing",
        "images/images-000001.json": "missing",
    }


def test_foreign_files_are_extra_and_leftovers_torn(run: Path) -> None:
    (run / "images" / "notes.txt").write_text("mine")
    (run / "images" / "images-1.tar").write_bytes(b"")
    (run / "images" / ".hidden").write_bytes(b"")
    (run / "pairs" / "folder").mkdir()
    (run / "images" / "images-000001.tar.host-1-ab.tmp").write_bytes(b"half")
    (run / "manifest.json.host-1-ab.tmp").write_bytes(b"half")
    (run / "notes.txt").write_text("mine, and in nobody's way")
    assert faults(run) == {
        "images/notes.txt": "extra",
        "images/images-1.tar": "extra",
        "images/.hidden": "extra",
        "pairs/folder": "extra",
        "images/images-000001.tar.host-1-ab.tmp": "torn",
        "manifest.json.host-1-ab.tmp": "torn",
    }


@pytest.mark.parametrize("name", ["README.md", "croissant.json"])
def test_changed_document_is_a_mismatch(run: Path, name: str) -> None:
    with open(run / name, "a") as file:
        file.write(" ")
    assert faults(run) == {name: "mismatch"}
    assert "run `didgen augment` again to write it" in sentence(run, name)


def test_documents_of_older_runs_are_left_alone(run: Path) -> None:
    path = run / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["documents"], manifest["made_from"]
    path.write_text(json.dumps(manifest))
    (run / "README.md").write_text("mine")
    (run / "croissant.json").unlink()
    assert faults(run) == {}


def test_shard_that_the_manifest_does_not_list_is_extra(run: Path) -> None:
    write_shard(run, "images", 2, [image_sample("z")], Stamp("f00d"))
    assert faults(run) == {
        "images/images-000002.tar": "extra",
        "images/images-000002.json": "extra",
    }


@pytest.mark.parametrize(
    ("file", "field", "value"),
    [
        ("images/images-000000.json", "samples", 7),
        ("images/images-000000.json", "fingerprint", "beef"),
        ("images/images-000000.json", "shard", "images-000001.tar"),
        ("images/images-000000.json", "sha256", "0" * 64),
        ("images/images-000000.json", "bytes", 1),
        ("images/_info.json", "splits", {}),
        ("manifest.json", "configs", {"other": []}),
        ("manifest.json", "fingerprint", "beef"),
        ("run.json", "recipe", None),
    ],
)
def test_changed_record_is_a_mismatch(run: Path, file: str, field: str, value: Any) -> None:
    path = run / file
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    assert faults(run).get(file) == "mismatch"


@pytest.mark.parametrize("file", ["images/images-000000.json", "images/_info.json", "run.json"])
def test_record_that_is_not_json_is_a_mismatch(run: Path, file: str) -> None:
    (run / file).write_text("{")
    assert faults(run) == {file: "mismatch"}


def test_rows_must_be_the_keys_of_the_tar(run: Path) -> None:
    path = run / "images" / "images-000000.json"
    path.write_text(path.read_text().replace('"key": "b"', '"key": "other"'))
    assert faults(run) == {"images/images-000000.tar": "mismatch"}


def told(key: str, label: int, **row: object) -> Sample:
    """A sample of a class that its row and its record tell alike."""
    record = {"label": label, "class": CLASSES[label], "seed": 7, "scores": {"contrast": 1 / 3}}
    members = {"jpg": picture(), "cls": str(label).encode(), "json": json.dumps(record).encode()}
    return Sample(key, members, {"label": CLASSES[label], "scores": {"contrast": 1 / 3}} | row)


@pytest.mark.parametrize(
    ("was", "now", "field"),
    [
        ('"label": "BCC"', '"label": "MEL"', "label"),
        ('"contrast": 0.3333333333333333', '"contrast": 0.4', "scores"),
        ('"seed": 7', '"seed": 8', "seed"),
    ],
)
def test_rows_must_say_what_their_samples_say(
    tmp_path: Path, was: str, now: str, field: str
) -> None:
    run = make_run(tmp_path / "run", images=[[told("a", 1, seed=7)]])
    assert faults(run) == {}
    path = run / "images" / "images-000000.json"
    assert path.read_text().count(was) == 1
    path.write_text(path.read_text().replace(was, now))
    (verdict,) = [one for one in verify(run) if one.status != "ok"]
    assert verdict.status == "mismatch"
    assert f"a.json and the sample's row in the sidecar differ in {field}" in verdict.sentence


@pytest.mark.parametrize(("field", "value"), [("seed", "x"), ("seed", None), ("label", 0)])
def test_a_record_that_no_run_writes_is_a_mismatch(
    tmp_path: Path, field: str, value: object
) -> None:
    sample = told("a", 1)
    record = json.loads(sample.members["json"]) | {field: value}
    odd = replace(sample, members=sample.members | {"json": json.dumps(record).encode()})
    assert faults(make_run(tmp_path / "run", images=[[odd]])) == {
        "images/images-000000.tar": "mismatch"
    }


def test_classes_in_another_order_are_a_mismatch(tmp_path: Path) -> None:
    pair = pair_sample("d", json=json.dumps({"label": 0, "class": "MEL"}).encode())
    run = make_run(tmp_path / "run", images=[[told("a", 1)]], pairs=[[pair]])
    path = run / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"classes": manifest["classes"][::-1]}))
    assert faults(run) == {
        "images/images-000000.tar": "mismatch",
        "pairs/pairs-000000.tar": "mismatch",
    }


def test_two_shards_swapped_are_mismatches(run: Path) -> None:
    first, second = (shard_path(run, "images", index) for index in (0, 1))
    held = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(held)
    assert faults(run) == {
        "images/images-000000.tar": "mismatch",
        "images/images-000001.tar": "mismatch",
    }


@pytest.mark.parametrize(
    ("member", "data"),
    [
        ("jpg", b""),
        ("jpg", b"\xff\xd8\xff and no more"),
        ("jpg", picture(size=64)[:-200]),
        ("jpg", picture(form="PNG")),
        ("cls", b"2"),
        ("cls", b"-1"),
        ("cls", b" 1"),
        ("cls", b"9" * 5000),
        ("cls", "\u0661".encode()),
        ("json", b"[1]"),
        ("json", b"{"),
        ("json", b"\xff"),
        ("json", b"[" * 100_000),
    ],
)
def test_image_sample_with_a_bad_member_is_a_mismatch(
    tmp_path: Path, member: str, data: bytes
) -> None:
    make_run(tmp_path, images=[[image_sample("a", **{member: data})], [image_sample("b")]])
    assert faults(tmp_path) == {"images/images-000000.tar": "mismatch"}
    assert f"a.{member}" in sentence(tmp_path, "images/images-000000.tar")


@pytest.mark.parametrize(
    "data",
    [
        mask(level=254),
        mask(size=9),
        mask(mode="RGB"),
        mask(mode="1"),
        mask(mode="LA"),
        mask()[:-30],
        picture(),
        b"",
    ],
    ids=["grey", "other size", "three channels", "bits", "alpha", "cut", "jpeg", "empty"],
)
def test_pair_with_a_bad_mask_is_a_mismatch(tmp_path: Path, data: bytes) -> None:
    make_run(tmp_path, pairs=[[pair_sample("a", mask_png=data)]])
    assert faults(tmp_path) == {"pairs/pairs-000000.tar": "mismatch"}
    assert "a.mask.png" in sentence(tmp_path, "pairs/pairs-000000.tar")


@pytest.mark.parametrize("level", [0, 255])
def test_mask_of_one_level_is_sound(tmp_path: Path, level: int) -> None:
    mask_of_one_level = encoded(Image.new("L", (8, 8), level), "PNG")
    make_run(tmp_path, pairs=[[pair_sample("a", mask_png=mask_of_one_level)]])
    assert faults(tmp_path) == {}


def test_all_samples_of_a_config_have_the_same_members_and_other_keys(tmp_path: Path) -> None:
    make_run(
        tmp_path,
        images=[[image_sample("a")], [image_sample("a")]],
        pairs=[[pair_sample("a")], [pair_sample("b", cls=b"1")]],
    )
    assert faults(tmp_path) == {
        "images/images-000001.tar": "mismatch",
        "pairs/pairs-000001.tar": "mismatch",
    }


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../evil.jpg", tarfile.REGTYPE),
        ("/tmp/evil.jpg", tarfile.REGTYPE),
        ("evil.jpg", tarfile.SYMTYPE),
        ("evil.jpg", tarfile.LNKTYPE),
        ("evil.jpg", tarfile.BLKTYPE),
        ("a.jpg", tarfile.REGTYPE),
    ],
)
def test_hostile_tar_is_a_mismatch_and_never_unpacked(run: Path, name: str, kind: bytes) -> None:
    tar = shard_path(run, "images", 0)
    with tarfile.open(tar, "a") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "../../run.json"
        archive.addfile(member)
    reseal(run, "images", 0)
    before = sorted(run.parent.rglob("*"))
    assert faults(run) == {"images/images-000000.tar": "mismatch"}
    assert sorted(run.parent.rglob("*")) == before


def test_image_bomb_is_refused_unopened(tmp_path: Path) -> None:
    header = bytearray(picture())
    # The frame header of a JPEG: marker, length, precision, then height and width.
    frame = header.index(b"\xff\xc0") + 5
    header[frame : frame + 4] = b"\xff\xf0\xff\xf0"
    make_run(tmp_path, images=[[image_sample("a", jpg=bytes(header))], [image_sample("b")]])
    assert faults(tmp_path) == {"images/images-000000.tar": "mismatch"}
    assert "limit" in sentence(tmp_path, "images/images-000000.tar")


def test_directory_that_is_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DidgenError, match="not a run directory"):
        verify(tmp_path)
    with pytest.raises(DidgenError, match="not a run directory"):
        verify(tmp_path / "absent")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(picture())
    with pytest.raises(DidgenError, match="not a run directory"):
        verify(tmp_path)


def test_shards_alone_are_a_run_without_its_records(sound: Path, tmp_path: Path) -> None:
    shutil.copytree(sound / "images", tmp_path / "images")
    assert faults(tmp_path) == {"run.json": "missing", "manifest.json": "missing"}
