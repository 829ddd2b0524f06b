"""What pages say of arms: the choice, and records of an older didgen as what they are."""

import pytest

from didgen.downstream.pages.arms import SEEN, chosen_uses, costs, history, labels, scarcity
from didgen.downstream.pages.classification import classification_page
from didgen.downstream.pages.document import Paragraph, Table, markdown
from didgen.downstream.pages.older import of_today
from didgen.downstream.pages.segmentation import segmentation_page
from didgen.manifests.files import read_json
from tests.fixtures.benchmarks import OLDER, Done


@pytest.mark.parametrize("kind", ["classify", "segment"])
def test_older_records_are_marked_as_having_seen_the_test_images(kind: str) -> None:
    older = of_today(read_json(OLDER / f"{kind}.json"))
    assert history(older) == [Paragraph(SEEN)]
    page = markdown((classification_page if kind == "classify" else segmentation_page)(older))
    assert SEEN in page
    assert "Which use of a run?" not in page and "What the arms took" not in page


def test_records_of_today_are_not(classified: Done) -> None:
    assert history(classified[1]) == []


def test_the_choice_is_a_table_of_the_uses(classified: Done) -> None:
    _, benchmark = classified
    table = chosen_uses(benchmark)[-1]
    assert isinstance(table, Table)
    assert [row[:2] for row in table.rows] == [["didgen", "didgen"]]
    assert table.rows[0][-1] == "chosen"
    assert chosen_uses({"choices": {}}) == []


def test_costs_stand_beside_the_scope(classified: Done, segmented: Done) -> None:
    for _, benchmark in (classified, segmented):
        table = next(block for block in costs(benchmark) if isinstance(block, Table))
        assert len(table.rows) == len(benchmark["arms"])
        for row, arm in zip(table.rows, benchmark["arms"], strict=True):
            assert row[:4] == labels(arm)
            assert int(row[5]) == arm["images_seen"]


def test_scales_are_columns(classified: Done, segmented: Done) -> None:
    assert scarcity(classified[1]) == []
    tables = [block for block in scarcity(segmented[1]) if isinstance(block, Table)]
    assert [table.header for table in tables] == [["network", "arm", "scope", "8", "all"]] * 2
    assert [len(table.rows) for table in tables] == [8, 6]
