"""Tests of the page of a classification."""


def test_the_page_says_what_the_record_holds(classified) -> None:
    out, benchmark = classified
    page = (out / "benchmark.md").read_text()
    for one in benchmark["comparisons"]:
        assert one["sentence"] in page
    assert "random weights, no pretraining" in page
    assert "2 classes (without NV), 32 px, 2 seeds an arm, on " in page
    assert ", float32; " in page
    assert "micro precision, recall and F1 are one number" in page
    rows = [line for line in page.splitlines() if line.startswith("| conv | focal |")]
    # Figures and classes have a row of each arm; tests have three of each rival.
    assert len(rows) == 2 + 3
    for line in page.splitlines():
        assert not line.startswith("|") or line.endswith("|")
