"""Tests of the page of a segmentation."""


def test_the_page_says_what_the_record_holds(segmented) -> None:
    out, benchmark = segmented
    page = (out / "benchmark.md").read_text()
    for one in benchmark["comparisons"]:
        assert one["sentence"] in page
    assert "32 px, loss dice-bce, 2 seeds an arm, on " in page
    assert "random weights, no pretraining" in page
    assert (
        f"With 8 real pairs, `didgen` has also used masks of 3 lesions of the training split as "
        f"layouts, {benchmark['scales'][0]['guides_among_real']} of them lesions of these pairs"
        in page
    )
    # All real pairs there are can be scarce for nobody.
    assert "With 18 real pairs" not in page
    assert "McNemar" not in page
    assert len([line for line in page.splitlines() if line.startswith("| unet | 8 |")]) == 4
    for line in page.splitlines():
        assert not line.startswith("|") or line.endswith("|")
