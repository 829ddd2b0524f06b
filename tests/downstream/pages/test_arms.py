"""What pages say of arms: the choice, and records of an older didgen as what they are."""

from didgen.downstream.pages.arms import SEEN, chosen_uses, costs, history, labels, scarcity
from didgen.downstream.pages.classification import classification_page
from didgen.downstream.pages.document import Paragraph, Table, markdown


def test_older_records_are_marked_as_having_seen_the_test_images(classified) -> None:
    _, benchmark = classified
    assert history(benchmark) == []
    older = {name: part for name, part in benchmark.items() if name not in ("format", "choices")}
    new = ("scope", "validation", "images_seen", "outside", "real")
    older["arms"] = [
        {name: part for name, part in arm.items() if name not in new} for arm in benchmark["arms"]
    ]
    older["comparisons"] = [
        {name: part for name, part in one.items() if name not in ("judged", "part")}
        for one in benchmark["comparisons"]
    ]
    assert history(older) == [Paragraph(SEEN)]
    page = markdown(classification_page(older))
    assert SEEN in page
    assert "Which use of a run?" not in page and "What the arms took" not in page


def test_the_choice_is_a_table_of_the_uses(classified) -> None:
    _, benchmark = classified
    table = chosen_uses(benchmark)[-1]
    assert isinstance(table, Table)
    assert [row[:2] for row in table.rows] == [["didgen", "didgen"]]
    assert table.rows[0][-1] == "chosen"
    assert chosen_uses({"choices": {}}) == []


def test_costs_stand_beside_the_scope(classified, segmented) -> None:
    for _, benchmark in (classified, segmented):
        table = next(block for block in costs(benchmark) if isinstance(block, Table))
        assert len(table.rows) == len(benchmark["arms"])
        for row, arm in zip(table.rows, benchmark["arms"], strict=True):
            assert row[:4] == labels(arm)
            assert int(row[5]) == arm["images_seen"]


def test_scales_are_columns(classified, segmented) -> None:
    assert scarcity(classified[1]) == []
    tables = [block for block in scarcity(segmented[1]) if isinstance(block, Table)]
    assert [table.header for table in tables] == [["network", "arm", "8", "all"]] * 2
    assert [len(table.rows) for table in tables] == [8, 6]
