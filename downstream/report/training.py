"""A finetuned model in a report: its recipe, its curves, and its last sheet of samples."""

from collections.abc import Iterator
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
    sheets = sorted((folder / "sheets").glob("step-*.png"))
    if sheets:
        yield Heading("Samples of the last checkpoint")
        step = sheets[-1].stem.removeprefix("step-").lstrip("0") or "0"
        try:
            yield figure_of_file(
                sheets[-1],
                f"Pairs drawn with the weights of step {step}, by prompts and layouts of the "
                "validation split: image with outlines, mask beside it",
                f"After step {step}: outlines of the mask in green, of the layout in white.",
            )
        except DidgenError as error:
            yield Notice(str(error))
