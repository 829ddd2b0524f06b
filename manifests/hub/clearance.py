"""Clearance: whether a licence, the copy check and the images themselves let something be shared.

Notable choices:
- Shared as data are samples of runs, which `didgen export` writes without metadata. Every image is
  looked at once more before it leaves.
- A data set with more copies than the real baseline is not shared: more of its samples are as near
  to a training image as real images of new lesions ever are.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow import parquet

from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json, read_json_lines
from didgen.manifests.privacy.published import published_mask, without_metadata
from didgen.manifests.provenance.licence import LICENCES, known_licence

RECORD_NAME, COPIES_NAME = "quality.json", "copies.jsonl"
"""What `didgen quality` writes."""


def check_licence(what: Path, licence: str) -> None:
    """Raise a `DidgenError` where a licence, or one of several that hold together, forbids it."""
    for part in licence.split(" AND "):
        name = known_licence(part)
        if name is None:
            raise DidgenError(
                f"{what} is under {part}, which is no licence that didgen knows to allow sharing; "
                "ask the owner, and name the licence that you are given where the data or the "
                "model's card name theirs."
            )
        if "no-derivatives" in LICENCES[name]:
            raise DidgenError(
                f"{what} is made of what is under {name}, which forbids to share what is derived "
                "from it; make it from other data."
            )


@dataclass(frozen=True)
class CopyCheck:
    """What the copy check says of samples: how many of them are copies, and of held-out images.

    baseline: the share of held-out real images that it calls copies of training images.
    """

    count: int
    n: int
    baseline: float

    @property
    def sentence(self) -> str:
        """The figures in words."""
        return (
            f"{self.count} of {self.n} synthetic samples are copies of training images, and "
            f"{100 * self.baseline:.2f} % of held-out real images are called so"
        )


def copy_check(
    assessment: Path, directory: Path, run: str, samples: Iterable[tuple[Config, str]]
) -> CopyCheck:
    """The copy check of an assessment by `didgen quality` on synthetic samples.

    run: the fingerprint of the run that they were made in. An assessment of another run or of none
    that it names, a sample that it did not look at, and more copies than the real baseline, are a
    `DidgenError`.
    """
    record = read_json(assessment / RECORD_NAME)
    try:
        baseline = float(record["copies"]["held_out"]["rate"])
        copies = {
            (row["config"], row["key"]): bool(row["copy"])
            for row in read_json_lines(assessment / COPIES_NAME)
        }
    except (KeyError, TypeError, ValueError):
        raise DidgenError(
            f"{assessment / RECORD_NAME} is not what didgen writes there; run `didgen quality` "
            "again."
        ) from None
    if "run" not in record:
        raise DidgenError(
            f"{assessment / RECORD_NAME} is of an older didgen and does not say which run it is "
            f"of; run `didgen quality` for {directory} again."
        )
    if record["run"] != run:
        raise DidgenError(
            f"{assessment} is the assessment of another run than {directory}; run `didgen quality` "
            "for this run."
        )
    taken = list(samples)
    if missing := next((one for one in taken if one not in copies), None):
        raise DidgenError(
            f"{assessment} is no assessment of {directory}: it lacks the sample {missing[1]}; run "
            "`didgen quality` for this run."
        )
    found = CopyCheck(sum(copies[one] for one in taken), len(taken), baseline)
    if found.n and found.count / found.n > baseline:
        raise DidgenError(
            f"{directory} is not shared: {found.sentence}; leave copies out by `didgen mix "
            "--drop-copies`, or reject them by `didgen review` and push with `--reviewed accepted`."
        )
    return found


def check_images(folder: Path) -> int:
    """How many images the Parquet files of an export hold; one with metadata is a `DidgenError`."""
    count = 0
    for path in sorted(folder.rglob("*.parquet")):
        with parquet.ParquetFile(path) as file:
            columns = [name for name in ("image", "mask") if name in file.schema_arrow.names]
            for batch in file.iter_batches(100, columns=columns):
                for row in batch.to_pylist():
                    count += sum(_is_bare(name, row[name], path) for name in columns)
    return count


def _is_bare(name: str, cell: dict[str, Any], path: Path) -> bool:
    place = path / str(cell["path"])
    clean = without_metadata if name == "image" else _clean_mask
    if clean(cell["bytes"], place)[0] != cell["bytes"]:
        raise DidgenError(
            f"{place} holds more than its pixels, such as EXIF or a comment; export the run again."
        )
    return True


def _clean_mask(data: bytes, place: Path) -> tuple[bytes, str]:
    return published_mask(data, place), "kept"
