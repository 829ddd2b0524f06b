"""Tests of the part of an assessment."""

from pathlib import Path

import pytest

from didgen.downstream.report.blocks import Facts, Figure, Notice
from didgen.downstream.report.quality import quality_part
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json, write_json


def test_it_has_what_was_asked_its_page_and_the_closest_pairs(study: Path) -> None:
    part = quality_part(study / "quality")
    assert part.title == "Quality: quality"
    (facts,) = (block for block in part.blocks if isinstance(block, Facts))
    assert ("against", "held-out") in facts.items
    assert isinstance(part.blocks[-1], Figure)
    assert "nearest to a training image" in part.blocks[-1].alt


def test_a_sheet_that_is_not_there_is_said(own_study: Path) -> None:
    (own_study / "quality" / "copies.png").unlink()
    last = quality_part(own_study / "quality").blocks[-1]
    assert isinstance(last, Notice) and "copies.png, is not there" in last.text


def test_a_record_of_another_form_is_named(own_study: Path) -> None:
    path = own_study / "quality" / "quality.json"
    record = read_json(path)
    del record["figures"]
    write_json(path, record)
    with pytest.raises(DidgenError, match=r"quality\.json is not what didgen writes there"):
        quality_part(own_study / "quality")
