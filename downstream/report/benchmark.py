"""A benchmark in a report: its page, and beside the tables what they look like."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from didgen.downstream.pages.arms import tested
from didgen.downstream.pages.classification import classification_page
from didgen.downstream.pages.curves import curves_of
from didgen.downstream.pages.document import BENCHMARK_NAME, Block, Heading, Paragraph, Picture
from didgen.downstream.pages.older import of_today
from didgen.downstream.pages.segmentation import segmentation_page
from didgen.downstream.report.blocks import Content, Fold, Notice, Part
from didgen.downstream.report.curves import training_curves
from didgen.downstream.report.pictures import figure_of_file
from didgen.downstream.report.plots import Effect, confusions, dots, forest, scarcity
from didgen.downstream.report.run import named_folders, recipe_blocks
from didgen.downstream.stats.comparison import GAIN, LOSS
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import inside, read_json

ASKED = (
    *("source", "outside", "runs", "run", "exclude", "networks", "arms", "real", "seeds"),
    *("image_size", "epochs"),
)


def benchmark_part(folder: Path) -> Part:
    """What a benchmark's folder says; one that is not finished has the curves that there are."""
    path = folder / BENCHMARK_NAME
    name = folder.resolve().name
    if not path.is_file():
        notice = Notice(
            "This benchmark is not finished: it has no benchmark.json, and so no comparison; run "
            "its command again to go on."
        )
        return Part(f"Benchmark: {name}", str(folder), [notice, *training_curves(folder)])
    record = read_json(path)
    try:
        record = of_today(record)
        kinds = {
            "classify": (classification_page, "Classification"),
            "segment": (segmentation_page, "Segmentation"),
        }
        page, title = kinds[record["kind"]]
        blocks = [
            Heading("What it was done with"),
            *_pictured(page(record)[1:], record, folder),
            *training_curves(folder),
            *recipe_blocks(record["recipe"], ASKED),
        ]
        # An arm names a run by its name here, which is no folder's.
        uses = named_folders({n: v for n, v in record["recipe"].items() if n != "arms"}, folder)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise DidgenError(
            f"{path} is not what didgen writes there ({type(error).__name__}: {error}); run its "
            "benchmark again to write it."
        ) from None
    return Part(f"{title}: {name}", str(folder), blocks, uses)


def _pictured(
    blocks: Iterable[Block], record: Mapping[str, Any], folder: Path
) -> Iterator[Content]:
    """The blocks of a page with plots where they belong, and its pictures taken in."""
    folded: list[Content] = []
    waiting: list[Block] = []
    for block in blocks:
        if folded and isinstance(block, Heading):
            yield Fold("The same as tables", folded)
            folded = []
        match block:
            case Heading(text="Confusion"):
                yield block
                yield from _confusions(record)
                folded.append(Paragraph("Counts, summed over seeds."))
            case Heading(text="Does the augmentation help?"):
                yield block
                yield from _effects(record["comparisons"])
            case Heading(text="Classes"):
                yield block
                yield from _recalls(record)
            case Heading(text="By the number of real images"):
                yield block
                yield from map(scarcity, curves_of(record))
                folded.append(Paragraph("The same figures."))
            case Picture(file=file) if Path(file).name.startswith("scarcity-"):
                # Drawn above, for narrow and dark pages too.
                continue
            case Heading(text="Plots"):
                # It may have none but those.
                waiting = [block]
            case Picture():
                yield from waiting
                waiting = []
                yield figure_of_file(
                    inside(folder, block.file), f"{block.title}. {block.caption}", block.title
                )
            case _ if folded:
                folded.append(block)
            case _:
                yield block
    if folded:
        yield Fold("The same as tables", folded)


def _effects(comparisons: Sequence[Mapping[str, Any]]) -> Iterator[Content]:
    """The differences on each part of the images that were tested, a family of verdicts each."""
    for part in dict.fromkeys(one.get("part", "test") for one in comparisons):
        images = "" if part == "test" else " on images of another source"
        yield from _effects_on([c for c in comparisons if c.get("part", "test") == part], images)


def _effects_on(comparisons: Sequence[Mapping[str, Any]], images: str) -> Iterator[Content]:
    """The differences of each score, each with the interval of the test that decides."""
    judged = [one for one in comparisons if one.get("judged", True)]
    if judged:
        found = Counter(one["verdict"] for one in judged)
        reported = ", ".join(f"{verdict}: {count}" for verdict, count in sorted(found.items()))
        yield Paragraph(f"Verdicts of {len(judged)} comparisons{images}: {reported}.")
    plots: list[Content] = []
    for score in dict.fromkeys(one["score"] for one in comparisons):
        mine = [one for one in comparisons if one["score"] == score]
        better = "right" if mine[0]["higher_is_better"] else "left"
        effects = [
            Effect(
                f"{one['model']}: {one['treatment']} minus {one['control']}",
                one["difference"],
                _interval(one),
                one["verdict"],
                {GAIN: 1, LOSS: 2}.get(one["verdict"], 0),
            )
            for one in mine
        ]
        plots += [
            Heading(f"{score}{images}", 3),
            forest(effects, f"difference; {better} is better"),
        ]
    if plots:
        yield Paragraph(f"Differences{images} with the 95 % interval of the test that decides.")
        yield from plots[:2]
    if plots[2:]:
        yield Fold(f"The same for the other scores{images}", plots[2:])


def _interval(one: Mapping[str, Any]) -> tuple[float, float] | None:
    test = one["crossed" if one["seeds"] > 1 else "over_units"]
    return None if test["interval"] is None else (test["interval"][0], test["interval"][1])


def _confusions(record: Mapping[str, Any]) -> Iterator[Content]:
    classes = record["classes"]
    for network in dict.fromkeys(arm["network"] for arm in record["arms"]):
        mine = [arm for arm in tested(record["arms"]) if arm["network"] == network]
        yield Heading(str(network), 3)
        yield confusions(
            classes,
            {_title(arm): np.array(arm["confusion"], float) for arm in mine},
            f"Confusion matrices of {network} in the arms {', '.join(a['arm'] for a in mine)}; "
            "the tables below have the counts.",
        )


def _recalls(record: Mapping[str, Any]) -> Iterator[Content]:
    classes = record["classes"]
    for network in dict.fromkeys(arm["network"] for arm in record["arms"]):
        series = {
            _title(arm): [arm["per_class"][name]["recall"] for name in classes]
            for arm in tested(record["arms"])
            if arm["network"] == network
        }
        yield Heading(str(network), 3)
        yield dots(classes, series, f"recall of each class, {network}")


def _title(arm: Mapping[str, Any]) -> str:
    """An arm by its name, and its scale where it has one."""
    return arm["arm"] if arm.get("real") is None else f"{arm['arm']}, {arm['real']}"
