"""Tests of manifests.contamination: what a model saw is known again, and nothing else is."""

import hashlib
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.contamination import TRAINED_ON_NAME, TrainedOn
from manifests.errors import DidgenError
from manifests.records import SourceHeader, SourceManifest, SourceRecord, Split

NAMES = st.text("abcIS_0123456789-", min_size=1, max_size=20)
SOURCES = st.sampled_from(["isic2018-task1", "isic2018-task3", "photos", "ü\U0001f600"])
HASHES = st.integers(0, 9).map(lambda number: f"{number:064x}")


def record(
    key: str, lesion: str = "", source: str = "photos", sha256: str = "", split: Split = "train"
) -> SourceRecord:
    return SourceRecord(
        key=key,
        image=f"{key}.jpg",
        width=8,
        height=8,
        sha256=sha256 or hashlib.sha256(f"{source}/{key}".encode()).hexdigest(),
        mask=None,
        label=None,
        lesion_id=lesion or key,
        split=split,
        source=source,
        licence="CC0-1.0",
    )


RECORDS = st.lists(st.builds(record, NAMES, NAMES, SOURCES, HASHES), max_size=12)


def manifest(*records: SourceRecord) -> SourceManifest:
    header = SourceHeader(
        importer="folder", didgen_version="0", root="/", classes=(), seed=0, fractions=(1, 0, 0)
    )
    return SourceManifest(header, records)


def knows(trained_on: TrainedOn, one: SourceRecord) -> bool:
    return trained_on.knows(one, one.sha256)


@settings(deadline=None, max_examples=100)
@given(records=RECORDS, data=st.data())
def test_a_list_is_read_as_it_was_written_whatever_its_order(
    tmp_path_factory: pytest.TempPathFactory, records: list[SourceRecord], data: st.DataObject
) -> None:
    trained_on = TrainedOn.of(records)
    path = tmp_path_factory.mktemp("list") / TRAINED_ON_NAME
    path.write_bytes(trained_on.text())
    assert TrainedOn.read(path) == trained_on
    assert TrainedOn.of(data.draw(st.permutations(records))).text() == trained_on.text()
    assert bool(trained_on) == bool(records)


@settings(deadline=None, max_examples=200)
@given(records=RECORDS, others=RECORDS)
def test_it_knows_what_the_naive_search_finds(
    records: list[SourceRecord], others: list[SourceRecord]
) -> None:
    """Oracle: without numbers of the archive, two names are one in the same collection alone."""
    trained_on = TrainedOn.of(records)
    for one in others:
        expected = any(
            one.sha256 == seen.sha256
            or (one.source == seen.source and one.key == seen.key)
            or (one.source == seen.source and one.lesion_id == seen.lesion_id)
            for seen in records
        )
        assert knows(trained_on, one) == expected
    beyond = [
        seen
        for seen in records
        if not any(
            one.sha256 == seen.sha256 or (one.source, one.key) == (seen.source, seen.key)
            for one in others
        )
    ]
    assert trained_on.beyond(others) == TrainedOn.of(beyond)


@pytest.mark.parametrize(
    ("key", "same"),
    [
        ("ISIC_0024306", True),
        ("ISIC_0024306_downsampled", True),
        ("ISIC_00243061", False),
        ("ISIC_0024307", False),
        ("my-ISIC_0024306", False),
    ],
)
def test_a_number_of_the_archive_is_one_image_in_every_collection(key: str, same: bool) -> None:
    trained_on = TrainedOn.of([record("ISIC_0024306", "HAM_0000550", "isic2018-task3")])
    assert knows(trained_on, record(key, source="anything")) == same
    assert knows(trained_on, record("x", "HAM_0000550", "anything"))
    assert not knows(trained_on, record("HAM_0000550", "y", "anything")), "no image's name"


def test_lists_add_up() -> None:
    one, other = TrainedOn.of([record("a")]), TrainedOn.of([record("b")])
    assert (one | other).text() == TrainedOn.of([record("b"), record("a")]).text()
    assert (one | TrainedOn()) == one


def test_what_is_held_out_and_known_is_named_with_the_mend() -> None:
    trained_on = TrainedOn.of([record("a", "one lesion"), record("b")])
    clean = manifest(record("a", "one lesion"), record("c", split="val"), record("d", split="test"))
    trained_on.check("The model m", Path("src"), clean)
    leaking = manifest(*clean.records, record("e", "one lesion", split="test"))
    with pytest.raises(DidgenError) as caught:
        trained_on.check("The model m", Path("src"), leaking)
    assert str(caught.value) == (
        "The model m was trained on e or on its lesion, which src holds out for test, one of 1 "
        "such of 3 images; import it again with `--for-model`, or train a model on this source."
    )
    TrainedOn().check("A model without a list", Path("src"), leaking)


@pytest.mark.parametrize(
    "line",
    ['{"image": "a", "lesion": "a"}', '{"image": 1, "lesion": "a", "sha256": "0"}', "[]", "{", ""],
)
def test_an_ill_formed_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / TRAINED_ON_NAME
    path.write_text(TrainedOn.of([record("a")]).text().decode() + line + "\n")
    with pytest.raises(DidgenError, match=f"{re.escape(str(path))} line 2"):
        TrainedOn.read(path)
