"""Tests of licence: the strictest wins, and non-commercial stays so."""

from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from didgen.manifests.provenance.licence import LICENCES, card_licence, known_licence, strictest
from didgen.manifests.shards.index import Ingredient
from tests.fixtures.places import MINI

names = st.lists(st.sampled_from(list(LICENCES)), min_size=1, max_size=5)


def of(*licences: str | None) -> list[Ingredient]:
    return [Ingredient(kind="data", name=f"set {n}", licence=x) for n, x in enumerate(licences)]


@pytest.mark.parametrize(
    ("licences", "name", "hub", "commercial"),
    [
        (["CC0-1.0"], "CC0-1.0", "cc0-1.0", True),
        (["CC0-1.0", "CC-BY-4.0"], "CC-BY-4.0", "cc-by-4.0", True),
        (["CC0-1.0", "CC-BY-NC-4.0", "CC-BY-4.0"], "CC-BY-NC-4.0", "cc-by-nc-4.0", False),
        (["CC-BY-SA-4.0", "CC-BY-NC-4.0"], "CC-BY-NC-SA-4.0", "cc-by-nc-sa-4.0", False),
        (["Apache-2.0", "CC-BY-4.0", "MIT"], "CC-BY-4.0", "cc-by-4.0", True),
        (["CC-BY-ND-4.0", "CC-BY-NC-SA-4.0"], "CC-BY-NC-ND-4.0", "cc-by-nc-nd-4.0", False),
        (["OpenRAIL++", "CC-BY-NC-4.0"], "OpenRAIL++ AND CC-BY-NC-4.0", "other", False),
        (["OpenRAIL++", "CC0-1.0"], "OpenRAIL++", "openrail++", True),
        (["CC0-1.0", "Ask Bob"], "Ask Bob", "other", False),
        (["CC-BY-4.0", None], "unknown (set 1)", "other", False),
        ([], "unknown", "other", False),
    ],
)
def test_strictest(licences: Any, name: str, hub: str, commercial: bool) -> None:
    found = strictest(of(*licences))
    assert (found.name, found.hub, found.commercial) == (name, hub, commercial)


def test_an_unknown_licence_comes_with_a_sentence() -> None:
    assert "counts as the strictest" in strictest(of("Ask Bob", "CC0-1.0")).sentence


@given(names)
def test_every_term_of_every_licence_holds(licences: list[str]) -> None:
    found = strictest(of(*licences))
    held = frozenset().union(*(LICENCES[name] for name in found.name.split(" AND ")))
    assert held >= frozenset().union(*(LICENCES[name] for name in licences))
    assert found.commercial == ("non-commercial" not in held)


@given(names, st.randoms())
def test_neither_order_nor_number_matters(licences: list[str], random: Random) -> None:
    shuffled = licences + licences[:1]
    random.shuffle(shuffled)
    assert strictest(of(*shuffled)) == strictest(of(*licences))


@given(names, st.sampled_from(list(LICENCES)))
def test_more_ingredients_never_free_anything(licences: list[str], further: str) -> None:
    assert strictest(of(*licences)).commercial >= strictest(of(*licences, further)).commercial


def test_the_table_goes_from_the_freest_to_the_strictest() -> None:
    terms = list(LICENCES.values())
    for number, these in enumerate(terms):
        assert not any(later < these for later in terms[number + 1 :])


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("CC-0", "CC0-1.0"),
        ("cc0", "CC0-1.0"),
        ("CC-BY", "CC-BY-4.0"),
        ("CC BY-NC 4.0", "CC-BY-NC-4.0"),
        ("cc_by_nc", "CC-BY-NC-4.0"),
        ("creativeml-openrail-m", "CreativeML-OpenRAIL-M"),
        ("CC-BY-NC-9.9", None),
        ("", None),
    ],
)
def test_spellings(text: str, name: str | None) -> None:
    assert known_licence(text) == name


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: cc-by-nc-4.0\n---\n# A model", "cc-by-nc-4.0"),
        ("---\nlicense: other\nlicense_name: house-rules\n---\n", "house-rules"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\nlicense: [mit, apache-2.0]\n---\n", None),
        ("---\ntags: [a]\n---\n", None),
        ("---\nlicense: [\n---\n", None),
        ("---\nlicense: !!python/object/apply:os.getcwd []\n---\n", None),
        ("---\n- a\n---\n", None),
        ("# No header", None),
        ("", None),
        ("\xff", None),
    ],
)
def test_card_licence(tmp_path: Path, card: str, licence: str | None) -> None:
    path = tmp_path / "README.md"
    path.write_bytes(card.encode("latin-1"))
    assert card_licence(path) == licence


def test_card_licence_of_no_card_and_of_the_bundled_model(tmp_path: Path) -> None:
    assert card_licence(tmp_path / "README.md") is None
    assert card_licence(MINI / "README.md") == "cc-by-nc-4.0"
