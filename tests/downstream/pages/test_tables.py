"""Tests of the pieces that the pages of all benchmarks have."""

from typing import Any

import pytest

from didgen.downstream.pages.document import Listing, Paragraph, Table, markdown
from didgen.downstream.pages.tables import (
    dropped,
    in_order,
    interval,
    machine,
    networks,
    number,
    p_value,
    spread,
    verdicts,
)


def test_figures_are_short_and_what_is_not_there_is_a_dash() -> None:
    assert (number(0.12345), number(None)) == ("0.123", "-")
    assert (p_value(0.000123), p_value(1.0), p_value(None)) == ("0.00012", "1", "-")
    assert interval((0.1, 0.25)) == "0.100 to 0.250"
    assert spread({"mean": 0.5, "deviation": 0.01}) == "0.500 ± 0.010"
    assert spread({"mean": 0.5, "deviation": None}) == "0.500"
    assert spread(None) == "-"


def test_known_names_come_first_and_others_by_the_alphabet() -> None:
    assert in_order({"b": 1, "val": 2, "a": 3, "train": 4}, ("train", "val", "test")) == [
        ("train", 4),
        ("val", 2),
        ("a", 3),
        ("b", 1),
    ]


def test_networks_and_machine_are_told() -> None:
    record = {
        "networks": [{"called": "vgg", "parameters": 138_400_000, "weights": "random weights"}],
        "recipe": {"seeds": [0, 1, 2]},
        "devices": ["cpu, float32"],
        "seconds": 600,
    }
    assert networks(record) == "Networks: vgg (138.4 M parameters, random weights)."
    assert machine(record) == "3 seeds an arm, on cpu, float32; 10 minutes of training."


@pytest.mark.parametrize(("count", "more"), [(5, ""), (7, " and 2 more")])
def test_the_first_near_duplicates_are_named(count: int, more: str) -> None:
    near = [
        {"key": f"k{n}", "split": "train", "later_key": f"l{n}", "later_split": "test"}
        for n in range(count)
    ]
    (told,) = dropped(near)
    assert isinstance(told, Paragraph)
    assert told.text.endswith(f"k4 (train; l4 in test){more}.")
    assert dropped([]) == []


def comparison(**changes: Any) -> dict[str, Any]:
    """A comparison as a record has it."""
    test = {"p": 0.0123}
    given = {
        "model": "unet",
        "control": "original",
        "treatment": "didgen",
        "score": "Dice",
        "difference": 0.0125,
        "bootstrap": [0.001, 0.02],
        "mcnemar": [],
        "p_holm": 0.03,
        "effect": {"d_z": 0.5},
        "verdict": "gain",
        "sentence": "It helps.",
    }
    return (
        given | dict.fromkeys(("over_units", "wilcoxon", "over_seeds", "crossed"), test) | changes
    )


def record(*comparisons: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"comparisons": list(comparisons), "unit": "lesion"} | fields


def test_what_has_no_verdict_is_in_the_table_alone() -> None:
    alone = comparison(judged=False, part="outside", sentence="An interval.")
    together = {"sentence": "It beats every rival."}
    blocks = verdicts(record(comparison(), alone, against_all=[together]), "A note.")
    listings = [block.items for block in blocks if isinstance(block, Listing)]
    assert listings == [["It helps."], ["It beats every rival."]]
    table = blocks[-1]
    assert isinstance(table, Table) and table.header[3] == "images"
    assert [row[3] for row in table.rows] == ["test", "outside"]


def test_each_comparison_has_a_sentence_and_a_row() -> None:
    *_, listing, _, table = verdicts(record(comparison(), comparison(bootstrap=None)), "A note.")
    assert isinstance(listing, Listing) and listing.items == ["It helps.", "It helps."]
    assert isinstance(table, Table)
    assert [len(row) for row in table.rows] == [len(table.header)] * 2
    assert "arm" not in table.header and "McNemar by seed" not in table.header
    assert table.rows[0][:5] == ["unet", "original", "Dice", "+0.013", "+0.001 to +0.020"]
    assert table.rows[1][4] == "-"


def test_a_second_arm_and_answers_have_columns_of_their_own() -> None:
    several = [comparison(mcnemar=[{"p": 0.5}, {"p": 0.04}]), comparison(treatment="filtered")]
    table = verdicts(record(*several), "A note.")[-1]
    assert isinstance(table, Table)
    assert table.header[2] == "arm" and table.rows[1][2] == "filtered"
    column = table.header.index("McNemar by seed")
    assert [row[column] for row in table.rows] == ["0.5, 0.04", "-"]


def test_nothing_that_was_compared_is_said() -> None:
    assert "Nothing was compared" in markdown(verdicts(record(), "A note."))
