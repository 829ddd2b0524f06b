"""Tests of pseudonyms: one for each name, by a key that its source alone has."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from didgen.manifests.errors import DidgenError
from didgen.manifests.privacy.pseudonyms import KEY_NAME, Pseudonyms, as_it_is, own_records
from didgen.manifests.recipes.fields import DRAWN
from tests.fixtures.sources import manifest_of, record


def test_the_key_is_made_once_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    first = Pseudonyms.of(tmp_path)
    assert not first.stored and not list(tmp_path.iterdir()), "nothing is written before it counts"
    first.store()
    path = tmp_path / KEY_NAME
    assert path.stat().st_mode & 0o777 == 0o600
    again = Pseudonyms.of(tmp_path)
    assert again.stored and again.name("a") == first.name("a")
    path.chmod(0o644)
    again.store()
    assert path.stat().st_mode & 0o777 == 0o600
    assert first.secret.hex() not in repr(first)
    first.store()


def test_another_key_gives_other_names(tmp_path: Path) -> None:
    one, other = Pseudonyms(tmp_path, b"1" * 32, True), Pseudonyms(tmp_path, b"2" * 32, True)
    assert one.name("a") != other.name("a") and one.name("a") == one.name("a")


@given(st.sets(st.text(min_size=1), min_size=2, max_size=30))
def test_each_name_has_a_pseudonym_of_its_own(names: set[str]) -> None:
    pseudonyms = Pseudonyms(Path(), b"k" * 32, stored=True)
    made = {pseudonyms.name(name) for name in names - {DRAWN}}
    assert len(made) == len(names - {DRAWN})
    assert all(len(name) == 16 and not set(name) - set("0123456789abcdef") for name in made)


def test_what_names_no_image_stays() -> None:
    pseudonyms = Pseudonyms(Path(), b"k" * 32, stored=True)
    assert [pseudonyms.name(name) for name in ("", DRAWN)] == ["", DRAWN]
    assert as_it_is("a") == "a"


@pytest.mark.parametrize("text", ["", "x", "0" * 63, "Ä" * 64])
def test_a_broken_key_is_named_with_the_mend(tmp_path: Path, text: str) -> None:
    (tmp_path / KEY_NAME).write_text(text)
    with pytest.raises(DidgenError, match=rf"{KEY_NAME} is not the key that didgen wrote; restore"):
        Pseudonyms.of(tmp_path)


def test_of_two_commands_at_once_one_begins_again(tmp_path: Path) -> None:
    first, second = Pseudonyms.of(tmp_path), Pseudonyms.of(tmp_path)
    first.store()
    with pytest.raises(DidgenError, match="was written by another command meanwhile; run this one"):
        second.store()
    assert Pseudonyms.of(tmp_path).secret == first.secret


def test_a_key_that_is_cut_short_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        Pseudonyms.of(tmp_path).store()
    assert caught.value.filename == str(tmp_path / KEY_NAME) and not list(tmp_path.iterdir())


def test_images_of_an_archive_are_nobodys_own() -> None:
    mine = manifest_of(Path(), record("a"))
    archive = mine.header.model_copy(update={"importer": "isic2018"})
    assert own_records(mine) == mine.records
    assert own_records(type(mine)(archive, mine.records)) == ()
