"""A finetuned model in a report: its recipe, its curves, and its last sheet of samples."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from didgen.downstream.pages.document import Heading, Paragraph
from didgen.downstream.report.blocks import Content, Facts, Notice, Part
from didgen.downstream.report.curves import log_curves, read_log
from didgen.downstream.report.pictures import figure_of_file
from didgen.downstream.report.run import recipe_blocks
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json
from didgen.manifests.provenance.model_files import is_model
from didgen.manifests.shards.index import read_run

ASKED = (
    "method",
    "source",
    "model",
    "build",
    "lora",
    "steps",
    "learning_rate",
    "batch_size",
    "image_size",
)
MORE = ("attention_weight", "leak_weight", "processes", "seed")


@dataclass(frozen=True)
class SheetText:
    """What the sheets of a method show, with `{step}`, and what their caption adds."""

    alt: str
    more: str = ""


SHEETS = {
    "didgen": SheetText(
        "Pairs drawn with the weights of step {step}, by prompts and layouts of the validation "
        "split: image with outlines, mask beside it",
        ": outlines of the mask in green, of the layout in white",
    ),
    "controlnet": SheetText(
        "Pairs drawn with the weights of step {step}, by prompts and masks of the validation "
        "split: image with the mask's outline, mask beside it",
        ": the mask is the layout",
    ),
    "pix2pixhd": SheetText(
        "Images of training masks drawn with the weights of step {step}: image with the mask's "
        "outline, mask beside it",
        ": the mask is the layout",
    ),
}
"""By the method of the training; nets that draw images of a class are not among them."""

OF_CLASSES = SheetText("Images of each class, of the same seeds, with the weights of step {step}")


def training_part(folder: Path) -> Part:
    """What the folder of `didgen finetune` says, finished or not."""
    return Part(f"Model: {folder.resolve().name}", str(folder), [*_blocks(folder)])


def _blocks(folder: Path) -> Iterator[Content]:
    run = read_run(folder)
    if not is_model(folder / "model"):
        yield Notice(
            "This training is not finished: it has no model yet; run `didgen finetune` again to "
            "go on."
        )
    yield from recipe_blocks(run.recipe, (*ASKED, *MORE))
    decisions = folder / "decisions.json"
    if decisions.is_file():
        decided = read_json(decisions)
        if isinstance(decided, dict):
            yield Facts([(str(name), str(value)) for name, value in sorted(decided.items())])
    yield Heading("Training curves")
    scalars = read_log(folder / "logs")
    if scalars:
        yield from log_curves(scalars)
    else:
        yield Paragraph("There are none: the folder has no log of its training in `logs/`.")
    sheets = newest_sheets(folder / "sheets")
    if sheets:
        yield Heading("Samples of the last checkpoint")
    for net, sheet in sheets.items():
        step = sheet.stem.rpartition("step-")[2].lstrip("0") or "0"
        text = SHEETS.get(str(run.recipe.get("method", "didgen")), OF_CLASSES)
        after = f"{net}, after step {step}" if net else f"After step {step}"
        try:
            yield figure_of_file(sheet, text.alt.format(step=step), f"{after}{text.more}.")
        except DidgenError as error:
            yield Notice(str(error))


def newest_sheets(folder: Path) -> dict[str, Path]:
    """The newest sheet of each net of a training, by the net's name; "" where there is one net.

    Files are `step-N.png`, `NET-step-N.png`, or of nets that grow `NET-level-L-step-N.png`.
    """
    newest: dict[str, Path] = {}
    for path in sorted(folder.glob("*step-*.png"), key=_order):
        net = path.stem.rpartition("step-")[0].rstrip("-").partition("-level-")[0]
        newest[net] = path
    return newest


def _order(path: Path) -> list[tuple[int, str]]:
    """A file's place by its name, numbers by their value."""
    parts = re.split(r"(\d+)", path.stem)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
