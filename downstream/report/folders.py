"""Folders: what didgen made in them, and the parts of a report that they become."""

from collections.abc import Callable, Iterable
from pathlib import Path

from didgen.downstream.pages.document import BENCHMARK_NAME, STUDY_NAME
from didgen.downstream.pages.quality import RECORD_NAME
from didgen.downstream.report.benchmark import benchmark_part
from didgen.downstream.report.blocks import Notice, Part
from didgen.downstream.report.curves import results
from didgen.downstream.report.quality import quality_part
from didgen.downstream.report.run import run_part
from didgen.downstream.report.study import study_part
from didgen.downstream.report.training import training_part
from didgen.manifests.errors import DidgenError
from didgen.manifests.progress import Progress
from didgen.manifests.views.contents import is_run, recipe_kind

PARTS = 40
"""Folders that one page takes in."""

Make = Callable[[Path], Part]


def parts_of(directories: Iterable[Path], progress: Progress | None = None) -> list[Part]:
    """What folders become in a report: each itself, or those one or two levels below it.

    A study comes first, then models, runs, quality and benchmarks, in the order of the work. A
    folder that is nothing of this and has nothing of it below is a `DidgenError`; one below that
    cannot be read is a part that says so.
    """
    found: dict[Path, Make] = {}
    given = list(directories)
    for directory in given:
        here = _below(directory)
        if not here:
            raise DidgenError(
                f"{directory} holds nothing to report on, nor does a folder one or two levels "
                "below it; name what `didgen finetune`, `augment`, `mix`, `quality`, `classify` "
                "or `segment` has made."
            )
        found |= here
    order = [study_part, training_part, run_part, quality_part, benchmark_part]
    # Sorting is stable: within a kind the order is that of the folders.
    chosen = sorted(found.items(), key=lambda item: order.index(item[1]))  # type: ignore[arg-type]
    if len(chosen) > PARTS:
        raise DidgenError(
            f"{', '.join(map(str, given))} hold {len(chosen)} folders to report on, more than the "
            f"{PARTS} that a page takes; name some of them."
        )
    alone = len(chosen) == 1
    parts = []
    for folder, make in chosen:
        parts.append(_part(folder, make, alone))
        if progress:
            progress(len(parts), len(chosen))
    return parts


def maker_of(folder: Path) -> Make | None:
    """What makes a part of a folder, None where didgen has made nothing in it."""
    if (folder / STUDY_NAME).is_file():
        return study_part
    if (folder / BENCHMARK_NAME).is_file():
        return benchmark_part
    if (folder / RECORD_NAME).is_file():
        return quality_part
    if recipe_kind(folder) == "finetune":
        return training_part
    if is_run(folder):
        return run_part
    return benchmark_part if results(folder) else None


def _below(directory: Path, depth: int = 2) -> dict[Path, Make]:
    """The folders to report on at a folder or below it; what is in one of them belongs to it."""
    if not directory.is_dir():
        raise DidgenError(f"{directory} is no folder; name one that didgen has made.")
    if make := maker_of(directory):
        return {directory: make}
    found: dict[Path, Make] = {}
    if depth:
        for child in sorted(directory.iterdir()):
            if child.is_dir() and not child.name.startswith("."):
                found |= _below(child, depth - 1)
    return found


def _part(folder: Path, make: Make, alone: bool) -> Part:
    try:
        return make(folder)
    except DidgenError as error:
        if alone:
            raise
        # One broken folder must not hide the others.
        return Part(f"Not readable: {folder.name}", str(folder), [Notice(str(error))])
