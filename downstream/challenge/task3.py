"""Task 3: probabilities of the seven diagnoses, a row an image.

The challenge asks for the columns image, MEL, NV, BCC, AKIEC, BKL, DF and VASC, with values in
[0, 1], and takes the largest one for the diagnosis (challenge.isic-archive.com/landing/2018/47).
"""

import csv
from collections.abc import Sequence
from pathlib import Path

from didgen.downstream.benchmark.results import Predictions
from didgen.manifests.errors import DidgenError
from didgen.manifests.sources.records import CLASSES


def check_classes(classes: Sequence[str], benchmark: Path) -> None:
    """Raise DidgenError for a class that is no diagnosis of the challenge."""
    if further := [name for name in classes if name not in CLASSES]:
        raise DidgenError(
            f"{benchmark} has the class {further[0]}, which is no column of Task 3; the challenge "
            f"takes {', '.join(CLASSES)}."
        )


def write_table(found: Predictions, classes: Sequence[str], path: Path) -> None:
    """Write the table; a diagnosis that the benchmark leaves out has probability 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["image", *CLASSES])
        for key, chances in zip(found.keys, found.probabilities, strict=True):
            known = dict(zip(classes, chances.tolist(), strict=True))
            # A softmax rounded to so many decimals may lie a little outside.
            row = [min(max(known.get(name, 0.0), 0.0), 1.0) for name in CLASSES]
            table.writerow([key, *row])
