"""Submissions: the test predictions of every tested training of a benchmark, for the challenge."""

from pathlib import Path
from typing import Any

from didgen.downstream.benchmark.results import (
    FILES_OF,
    find_tested_files,
    read_predictions,
    read_segmentations,
)
from didgen.downstream.challenge.task1 import write_masks
from didgen.downstream.challenge.task3 import check_classes, write_table
from didgen.downstream.pages.document import BENCHMARK_NAME
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import atomic_folder, read_json
from didgen.manifests.privacy.paths import restored
from didgen.manifests.sources.records import HEADER_FILE, SourceManifest, SourceRecord

TABLE_NAME = "ISIC2018_Task3.csv"


def write_submissions(benchmark: Path, out: Path, source: Path | None = None) -> list[Path]:
    """Write what the challenge takes into the new folder `out`, and return the folders in it.

    Each has the name of its training in the benchmark: `NETWORK/ARM/seed-N`. `source` is where the
    tested images are now, if not where the recipe says. DidgenError for a benchmark that is not
    finished, predictions that are not as they were written, and a source that has not the images.
    """
    told: dict[str, Any] = read_json(benchmark / BENCHMARK_NAME)
    tested = find_tested_files(benchmark)
    if not tested:
        raise DidgenError(f"{benchmark} has no tested training; let its command finish it.")
    segments = told.get("kind") == "segment"
    records = _records(told, benchmark, source) if segments else {}
    classes = list(told.get("classes") or [])
    if not segments:
        check_classes(classes, benchmark)
    with atomic_folder(out) as root:
        for folder in tested:
            place = root / folder.relative_to(benchmark / "runs")
            if segments:
                found = read_segmentations(folder, FILES_OF["test"])
                if unknown := [key for key in found.keys if key not in records]:
                    raise DidgenError(
                        f"The source has no image {unknown[0]}, which {folder} tested; name the "
                        "source of the benchmark by `--source`."
                    )
                write_masks(found, records, place)
            else:
                write_table(
                    read_predictions(folder, classes, FILES_OF["test"]), classes, place / TABLE_NAME
                )
    return [out / folder.relative_to(benchmark / "runs") for folder in tested]


def _records(told: dict[str, Any], benchmark: Path, given: Path | None) -> dict[str, SourceRecord]:
    """The records of the benchmark's source by key, for the sizes of its images."""
    named = str(told.get("recipe", {}).get("source", ""))
    source = given or restored(named, benchmark)
    if source is None or not (source / HEADER_FILE).is_file():
        raise DidgenError(
            f"The source of {benchmark} is not at {source or named}; name its folder by `--source`."
        )
    return {record.key: record for record in SourceManifest.read(source).records}
