"""Tests of the page of a segmentation."""

from tests.fixtures.benchmarks import Done


def test_the_page_says_what_the_record_holds(segmented: Done) -> None:
    out, benchmark = segmented
    page = (out / "benchmark.md").read_text()
    for one in (*benchmark["comparisons"], *benchmark["against_all"]):
        assert (one["sentence"] in page) == one.get("judged", True)
    assert "32 px, loss dice-bce, 2 seeds an arm, on " in page
    assert "random weights, no pretraining" in page
    assert "- didgen: nobody lists what its model was trained on" in page
    assert "McNemar" not in page
    # Costs and validation have a row of each arm, tests of the tested ones.
    rows = [line for line in page.splitlines() if line.startswith("| unet | 8 | ")]
    assert len(rows) == 4 + 4 + 3
    for line in page.splitlines():
        assert not line.startswith("|") or line.endswith("|")
