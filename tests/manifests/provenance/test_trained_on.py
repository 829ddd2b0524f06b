"""Tests of contamination: what a model saw is known again, and nothing else is."""

import hashlib
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from didgen.manifests.choices import Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.importers.finding.harvest import Candidate
from didgen.manifests.provenance.trained_on import TRAINED_ON_NAME, TrainedOn
from didgen.manifests.sources.records import SourceManifest, SourceRecord
from tests.fixtures import sources

NAMES = st.text("abcIS_0123456789-", min_size=1, max_size=20)
NUMBERS = st.integers(0, 6).map("ISIC_{:07d}".format)
LESIONS = st.integers(0, 6).map("HAM_{:07d}".format)
HASHES = st.integers(0, 9).map(lambda number: f"{number:064x}")


def record(
    key: str,
    lesion: str = "",
    sha256: str = "",
    split: Split = "train",
    pixels: str | None = None,
    published: str | None = None,
) -> SourceRecord:
    return sources.record(
        key,
        sha256=sha256 or hashlib.sha256(key.encode()).hexdigest(),
        lesion_id=lesion or key,
        split=split,
        pixels=pixels,
        published=published,
    )


RECORDS = st.lists(
    st.builds(
        record,
        st.one_of(NAMES, NUMBERS),
        st.one_of(NAMES, LESIONS),
        HASHES,
        pixels=st.none() | HASHES,
        published=st.none() | HASHES,
    ),
    min_size=1,
    max_size=9,
)


def manifest(*records: SourceRecord) -> SourceManifest:
    return sources.manifest_of(Path("/"), *records, classes=(), fractions=(1, 0, 0))


def knows(trained_on: TrainedOn, one: SourceRecord) -> bool:
    known = trained_on.knows(one, one.sha256, one.pixels, one.published)
    assert trained_on.knows_record(one) == known
    return known


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


@settings(deadline=None, max_examples=200)
@given(records=RECORDS, others=RECORDS)
def test_it_knows_what_the_naive_search_finds(
    records: list[SourceRecord], others: list[SourceRecord]
) -> None:
    trained_on = TrainedOn.of(records)

    def same(one: SourceRecord, seen: SourceRecord) -> bool:
        numbered = one.key == seen.key and one.key.startswith("ISIC_0")
        digests = {one.pixels, one.published} & {seen.pixels, seen.published} - {None}
        return numbered or one.sha256 == seen.sha256 or bool(digests)

    for one in others:
        expected = any(
            same(one, seen)
            or (one.lesion_id == seen.lesion_id and one.lesion_id.startswith("HAM_"))
            for seen in records
        )
        assert knows(trained_on, one) == expected
    beyond = [seen for seen in records if not any(same(one, seen) for one in others)]
    assert trained_on.beyond(others) == TrainedOn.of(beyond)


@pytest.mark.parametrize(
    ("key", "same"),
    [
        ("ISIC_0024306", True),
        ("ISIC_0024306_downsampled", True),
        ("isic_0024306", True),
        ("ISIC_00243061", False),
        ("ISIC_0024307", False),
        ("my-ISIC_0024306", False),
    ],
)
def test_a_number_of_the_archive_is_one_image_in_every_collection(key: str, same: bool) -> None:
    trained_on = TrainedOn.of([record("ISIC_0024306", "HAM_0000550", "0" * 64)])
    assert knows(trained_on, record(key)) == same
    assert knows(trained_on, record("x", "HAM_0000550"))
    assert not knows(trained_on, record("HAM_0000550", "y")), "a lesion's number is no image's"


def test_other_names_are_neither_compared_nor_told() -> None:
    trained_on = TrainedOn.of([record("img_001", "Jane Doe")])
    assert b"img_001" not in trained_on.text() and b"Jane" not in trained_on.text()
    assert not knows(trained_on, record("img_001", "Jane Doe", "0" * 64)), "another clinic's"
    assert knows(trained_on, record("renamed", sha256=record("img_001").sha256))


def test_a_name_that_no_manifest_would_take_is_no_fault() -> None:
    candidate = Candidate("a", Path("a"), None, None, "l" * 1000, None, "photos", "CC0-1.0")
    assert not TrainedOn.of([record("b")]).knows(candidate, "0" * 64)


def test_lists_add_up() -> None:
    one, other = TrainedOn.of([record("a")]), TrainedOn.of([record("b")])
    assert (one | other).text() == TrainedOn.of([record("b"), record("a")]).text()
    assert (one | TrainedOn()) == one
    assert (len(one | other), len(TrainedOn())) == (2, 0)
    smaller = TrainedOn.of([record("ISIC_0000001", sha256=digit * 64) for digit in "01"])
    assert len(smaller) == 1, "one image in two sizes"


def test_what_is_held_out_and_known_is_named_with_the_mend() -> None:
    trained_on = TrainedOn.of([record("a", "HAM_0000001"), record("b")])
    clean = manifest(
        record("a", "HAM_0000001"), record("c", split="val"), record("d", split="test")
    )
    trained_on.check("The model m", Path("src"), clean)
    leaking = manifest(*clean.records, record("e", "HAM_0000001", split="test"))
    with pytest.raises(DidgenError) as caught:
        trained_on.check("The model m", Path("src"), leaking)
    assert str(caught.value) == (
        "The model m was trained on e or on its lesion, which src holds out for test, one of 1 "
        "such of 3 images; import it again with `--for-model`, or train a model on this source."
    )
    TrainedOn().check("A model without a list", Path("src"), leaking)


@pytest.mark.parametrize(
    "line",
    [
        '{"image": null, "lesion": null}',
        f'{{"image": "img_001", "lesion": null, "sha256": "{"0" * 64}"}}',
        "[]",
        "{",
        "",
    ],
)
def test_an_ill_formed_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / TRAINED_ON_NAME
    path.write_text(TrainedOn.of([record("a")]).text().decode() + line + "\n")
    with pytest.raises(DidgenError, match=f"{re.escape(str(path))} line 2"):
        TrainedOn.read(path)


def test_an_empty_list_is_no_list_that_was_written(tmp_path: Path) -> None:
    (tmp_path / TRAINED_ON_NAME).write_bytes(b"")
    with pytest.raises(DidgenError, match=f"{TRAINED_ON_NAME} is empty; restore the file"):
        TrainedOn.read(tmp_path / TRAINED_ON_NAME)


def test_a_copy_without_metadata_is_refused_by_its_pixels() -> None:
    """Of an upright JPEG, and of one that was encoded anew before it was published."""
    trained_on = TrainedOn.of(
        [record("a", pixels="1" * 64), record("b", pixels="2" * 64, published="3" * 64)]
    )
    for pixels in ("1", "2", "3"):
        copy = record("renamed", split="test", pixels=pixels * 64)
        assert knows(trained_on, copy)
        with pytest.raises(DidgenError, match="was trained on renamed or on its lesion"):
            trained_on.check("The model m", Path("src"), manifest(copy))
    assert not knows(trained_on, record("other", pixels="4" * 64))
    assert not trained_on.beyond([record("x", pixels="1" * 64), record("y", pixels="3" * 64)])


def test_lists_and_sources_of_older_versions_have_hashes_alone(tmp_path: Path) -> None:
    line = f'{{"image": null, "lesion": null, "sha256": "{"a" * 64}"}}\n'
    (tmp_path / TRAINED_ON_NAME).write_text(line)
    older = TrainedOn.read(tmp_path / TRAINED_ON_NAME)
    assert older.text() == line.encode(), "it is written as it was"
    assert knows(older, record("x", sha256="a" * 64, pixels="1" * 64))
    assert not knows(older, record("x", pixels="1" * 64))
    newer = TrainedOn.of([record("x", sha256="a" * 64, pixels="1" * 64)])
    assert knows(newer, record("y", sha256="a" * 64)) and not knows(newer, record("y"))
    assert len(newer | older) == 1


def test_numbers_go_where_they_may_be_somebodys_own() -> None:
    trained_on = TrainedOn.of([record("IL_0000001", "HAM_0000001"), record("ISIC_0000002")])
    mine = record("IL_0000001").sha256
    text = trained_on.without_numbers({mine}).text().decode()
    assert "IL_0000001" not in text and "HAM_0000001" not in text and mine in text
    assert "ISIC_0000002" in text
