"""A study in a report: its chapters with their curves, and what its stages took."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from didgen.downstream.pages.curves import Curves
from didgen.downstream.pages.document import STUDY_NAME, Heading, from_records
from didgen.downstream.report.blocks import Content, Part
from didgen.downstream.report.plots import scarcity
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json


def study_part(folder: Path) -> Part:
    """What the folder of a study's tables says."""
    path = folder / STUDY_NAME
    record = read_json(path)
    try:
        blocks = [*_chapters(record), *from_records(record["end"])]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DidgenError(
            f"{path} is not what didgen writes there ({type(error).__name__}: {error}); run the "
            "study again to write it."
        ) from None
    return Part(f"Study: {folder.resolve().parent.name}", str(folder), blocks)


def _chapters(record: Mapping[str, Any]) -> Iterator[Content]:
    for one in record["chapters"]:
        yield Heading(one["name"])
        yield from (scarcity(Curves(**curves)) for curves in one["curves"])
        yield from from_records(one["blocks"])
