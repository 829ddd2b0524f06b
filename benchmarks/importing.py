"""Importing: what an import takes beyond the decoding of its images, a record and a row.

python -m benchmarks.importing --images 10000 --rows 1000000 --folder /path/on/the/disk/to/measure

Decoding is reading and decoding each file once, in one thread. Rows beyond the images name files
that are not there, as the table of a set does of which a part was unpacked.
"""

import csv
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from didgen.manifests.images import decode, encoded, read_file
from didgen.manifests.importers.admission import ImportOptions
from didgen.manifests.importers.folder import import_folder

SIDE = 64
"""Pixels of an image's side, the smallest that is taken."""

CLASSES = ("MEL", "NV", "BCC", "BKL")


def write_photos(folder: Path, images: int, rows: int) -> Path:
    """Write small images that all differ, and a table of labels; returns the table."""
    photos, table = folder / "photos", folder / "labels.csv"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for number in range(images):
        coarse = rng.integers(0, 256, (8, 8, 3), np.uint8)
        image = np.kron(coarse, np.ones((SIDE // 8, SIDE // 8, 1), np.uint8))
        (photos / f"photo-{number:07d}.jpg").write_bytes(encoded(image, "JPEG", quality=90))
    with table.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["image", "label", "lesion_id"])
        for number in range(max(images, rows)):
            name, label = f"photo-{number:07d}", CLASSES[number % len(CLASSES)]
            lines.writerow([name, label, f"lesion-{number // 2}"])
    return table


def processor_time() -> float:
    """Seconds of processor time of this process and of those it has waited for."""
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in found)


def peak() -> float:
    """The most memory that this process held so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def taken(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of processor time and of the clock that some work takes."""
    cpu, wall = processor_time(), time.perf_counter()
    work()
    return processor_time() - cpu, time.perf_counter() - wall


def measured(folder: Path, images: int, rows: int) -> dict[str, float]:
    """Figures of an import: seconds, and milliseconds a record."""
    table = write_photos(folder, images, rows)

    def look() -> None:
        for path in sorted((folder / "photos").iterdir()):
            decode(read_file(path), path).load()

    def bring_in() -> None:
        found = import_folder(
            folder / "photos",
            licence="CC0-1.0",
            masks=None,
            labels=table,
            options=ImportOptions(),
        )
        found.write(folder / "source")

    (decoding, _), before = taken(look), peak()
    importing, wall = taken(bring_in)
    return {
        "decoding, CPU s": decoding,
        "import, CPU s": importing,
        "import, s": wall,
        "beyond decoding, CPU ms a record or row": (importing - decoding)
        / max(images, rows)
        * 1000,
        "import, peak of memory above that of decoding, MiB": peak() - before,
    }


def main(
    images: Annotated[int, typer.Option(help="Images of 64 px.")] = 10_000,
    rows: Annotated[int, typer.Option(help="Rows of the table; as many as images at least.")] = 0,
    folder: Annotated[Path | None, typer.Option(help="On the disk to measure.")] = None,
) -> None:
    """Measure an import of many small images with their table."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        found = measured(Path(place), images, rows)
    print(f"{images} images, {max(images, rows)} rows")
    for name, figure in found.items():
        print(f"{name}: {figure:.3f}")


if __name__ == "__main__":
    typer.run(main)
