"""Tables: figures and tests in words, the pieces that the pages of all benchmarks have."""

from collections.abc import Mapping, Sequence
from typing import Any

from didgen.downstream.pages.document import Block, Heading, Listing, Paragraph, Table
from didgen.downstream.stats.comparison import plural

PARTS = ("train", "val", "test", "outside", "synthetic")

CROSSED = (
    "Each sentence rests on new units (lesions, or patients where known) and new seeds both where "
    "there are two seeds or more. The chosen use against each control, over networks and scales, "
    "is one family for Holm's correction, and so it is on another source (`outside`). Whether it "
    "beats every rival is decided by the largest "
    "p, which needs none. All else has its interval alone. The difference that could have been "
    "shown is the one that the test finds four times out of five."
)


def in_order(reported: Mapping[str, Any], names: Sequence[str]) -> list[tuple[str, Any]]:
    """The items of a record, those with known names first: JSON on disk has its keys sorted."""
    known = [name for name in names if name in reported]
    return [(name, reported[name]) for name in (*known, *sorted(reported.keys() - {*known}))]


def number(value: float | None) -> str:
    """A figure with three decimals; a dash where there is none."""
    return "-" if value is None else f"{value:.3f}"


def p_value(value: float | None) -> str:
    """A p with two digits; a dash where a test was not made."""
    return "-" if value is None else f"{value:.2g}"


def spread(summary: Mapping[str, Any] | None) -> str:
    """The mean over seeds with its standard deviation."""
    if summary is None:
        return "-"
    deviation = summary["deviation"]
    return number(summary["mean"]) + ("" if deviation is None else f" ± {deviation:.3f}")


def interval(ends: Sequence[float]) -> str:
    """The ends of an interval of figures."""
    low, high = ends
    return f"{low:.3f} to {high:.3f}"


def networks(benchmark: Mapping[str, Any]) -> str:
    """The networks with their sizes and what they start from."""
    reported = (
        f"{one['called']} ({one['parameters'] / 1e6:.1f} M parameters, {one['weights']})"
        for one in benchmark["networks"]
    )
    return f"Networks: {'; '.join(reported)}."


def machine(benchmark: Mapping[str, Any]) -> str:
    """Seeds, device and time, as the end of a page's first sentence."""
    asked = benchmark["recipe"]
    counts = asked.get("seeds_at") or [len(asked["seeds"])]
    seeds = " to ".join(str(count) for count in dict.fromkeys((min(counts), max(counts))))
    return (
        f"{seeds} seeds an arm, on "
        f"{' and '.join(benchmark['devices'])}; {benchmark['seconds'] / 60:.0f} minutes of "
        "training."
    )


def dropped(near: Sequence[Mapping[str, Any]]) -> list[Block]:
    """The near-duplicates that were left out, the first few by name."""
    if not near:
        return []
    pairs = ", ".join(
        f"{one['key']} ({one['split']}; {one['later_key']} in {one['later_split']})"
        for one in near[:5]
    )
    more = f" and {len(near) - 5} more" if len(near) > 5 else ""
    return [Paragraph(f"Left out as near-duplicates of a later split: {pairs}{more}.")]


def units_of(benchmark: Mapping[str, Any]) -> str:
    """What intervals and tests are over, in words."""
    return plural(benchmark["unit"])


def looked_at(benchmark: Mapping[str, Any]) -> bool:
    """Whether test images were looked at."""
    return bool(benchmark.get("recipe", {}).get("test", True))


def verdicts(benchmark: Mapping[str, Any], note: str) -> list[Block]:
    """Whether the augmentation helps: a sentence for each verdict, and every test as a table."""
    comparisons = benchmark["comparisons"]
    head: list[Block] = [Heading("Does the augmentation help?"), Paragraph(note)]
    if not looked_at(benchmark):
        untested = "No test image was looked at: this benchmark ends with the choice of a use."
        return [head[0], Paragraph(untested)]
    if not comparisons:
        return [*head, Paragraph("Nothing was compared: `arms` lacks a pair.")]
    judged = [one["sentence"] for one in comparisons if one.get("judged", True)]
    together = [one["sentence"] for one in benchmark.get("against_all") or []]
    sentences = [Listing(part) for part in (judged, together) if part]
    return [*head, *sentences, *_tests(comparisons, units_of(benchmark))]


def _tests(comparisons: Sequence[Mapping[str, Any]], units: str) -> list[Block]:
    several = len({one["treatment"] for one in comparisons}) > 1
    elsewhere = any(one.get("part", "test") != "test" for one in comparisons)
    answers = any(one["mcnemar"] for one in comparisons)
    rows = [
        [
            one["model"],
            one["control"],
            *([one["treatment"]] if several else []),
            one["score"],
            *([one.get("part", "test")] if elsewhere else []),
            f"{one['difference']:+.3f}",
            "-" if one["bootstrap"] is None else "{:+.3f} to {:+.3f}".format(*one["bootstrap"]),
            *(p_value(one[test]["p"]) for test in ("over_units", "wilcoxon")),
            *([", ".join(p_value(test["p"]) for test in one["mcnemar"]) or "-"] if answers else []),
            *(p_value(one[test]["p"]) for test in ("over_seeds", "crossed")),
            p_value(one["p_holm"]),
            number(one["effect"]["d_z"]),
            one["verdict"],
        ]
        for one in comparisons
    ]
    treatment = "the arm" if several else comparisons[0]["treatment"]
    return [
        Paragraph(
            f"p of each test of {treatment} against a rival on the same test images. Over "
            f"{units}: these very networks; over seeds: these very {units}; crossed: both new, "
            "which decides."
        ),
        Table(
            [
                "network",
                "rival",
                *(["arm"] if several else []),
                "score",
                *(["images"] if elsewhere else []),
                "difference",
                f"bootstrap over {units}",
                "t-test",
                "Wilcoxon",
                *(["McNemar by seed"] if answers else []),
                "over seeds",
                "crossed",
                "after Holm",
                "effect d_z",
                "verdict",
            ],
            rows,
            "Every test, with its p",
        ),
    ]
