"""Tests of the page of a classification."""

from tests.fixtures.benchmarks import Done


def test_the_page_says_what_the_record_holds(classified: Done) -> None:
    out, benchmark = classified
    page = (out / "benchmark.md").read_text()
    for one in (*benchmark["comparisons"], *benchmark["against_all"]):
        assert (one["sentence"] in page) == one.get("judged", True)
    assert "random weights, no pretraining" in page
    assert "2 classes (without NV), 32 px, 2 seeds an arm, on " in page
    assert ", float32; " in page
    assert "micro precision, recall and F1 are one number" in page
    lines = page.splitlines()
    # Figures of both parts, classes and costs have a row of each arm; tests three of each rival.
    assert len([line for line in lines if line.startswith("| conv | all | focal | closed |")]) == 4
    assert len([line for line in lines if line.startswith("| conv | focal |")]) == 3
    assert "| didgen | didgen |" in page and "| chosen |" in page
    for line in page.splitlines():
        assert not line.startswith("|") or line.endswith("|")
