"""An assessment in a report: its page, and the closest pairs as they look."""

from pathlib import Path

from didgen.downstream.pages.document import Heading
from didgen.downstream.pages.quality import RECORD_NAME, SHEET_NAME, quality_page
from didgen.downstream.report.blocks import Content, Facts, Notice, Part
from didgen.downstream.report.pictures import figure_of_file
from didgen.downstream.report.run import named_folders
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json


def quality_part(folder: Path) -> Part:
    """What the folder of `didgen quality` says."""
    path = folder / RECORD_NAME
    record = read_json(path)
    try:
        asked = Facts(
            [(name, str(record[name])) for name in ("real", "synthetic", "against", "seed")]
        )
        blocks: list[Content] = [Heading("What was asked"), asked, *quality_page(record)[1:]]
        uses = named_folders(record, folder)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise DidgenError(
            f"{path} is not what didgen writes there ({type(error).__name__}: {error}); run "
            "`didgen quality` again to write it."
        ) from None
    sheet = folder / SHEET_NAME
    if sheet.is_file():
        blocks.append(
            figure_of_file(
                sheet,
                "The samples that are nearest to a training image, each beside that image, the "
                "nearest first, with their similarity and the bits in which their hashes differ",
                "Samples, each beside its nearest training image.",
            )
        )
    else:
        blocks.append(Notice(f"The sheet of the closest pairs, {SHEET_NAME}, is not there."))
    return Part(f"Quality: {folder.resolve().name}", str(folder), blocks, uses)
