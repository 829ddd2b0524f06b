"""Contamination: which real images a model was trained on, and whether a test holds them out.

Notable choices:
- The list goes with the model, and from there with every run and data set that is made by it, so
  that who tests on real images can keep those apart without the model or its source.
- An image is known by its number in the ISIC Archive, whatever set it was taken from; else by its
  collection and key. The same bytes are the same image under any name.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from manifests.errors import DidgenError
from manifests.files import read_json_lines
from manifests.records import SourceManifest, SourceRecord, first_fault

TRAINED_ON_NAME: Final = "trained_on.jsonl"

# Copies keep the number in front, as ISIC 2019 does in ISIC_0000002_downsampled.
_ACCESSION = re.compile(r"(?:ISIC|HAM|IL)_[0-9]{7}(?![A-Za-z0-9])")

Name = Annotated[str, StringConstraints(min_length=1, max_length=500)]


class Named(Protocol):
    """What says which image it is: a source record, or a candidate for one."""

    @property
    def key(self) -> str: ...
    @property
    def lesion_id(self) -> str: ...
    @property
    def source(self) -> str: ...


class TrainingImage(BaseModel):
    """One line of `trained_on.jsonl`: the names of image and lesion, and the file's SHA-256."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    image: Name
    lesion: Name
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @classmethod
    def of(cls, named: Named, sha256: str) -> Self:
        """How `named`, whose file has this hash, stands in a list."""
        return cls(
            image=_global(named.key, named.source),
            lesion=_global(named.lesion_id, named.source),
            sha256=sha256,
        )


def _global(name: str, source: str) -> str:
    """A name that means the same image or lesion in every source."""
    accession = _ACCESSION.match(name)
    return accession[0] if accession else f"{source}/{name}"


@dataclass(frozen=True)
class TrainedOn:
    """The real images that a model was trained on; an empty list is that of one that has none."""

    images: frozenset[TrainingImage] = frozenset()

    @classmethod
    def of(cls, records: Iterable[SourceRecord]) -> Self:
        """The list of a model that was trained on `records`."""
        return cls(frozenset(TrainingImage.of(record, record.sha256) for record in records))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a list; a missing or ill-formed one is a `DidgenError` that names the line."""
        images = set()
        for number, row in enumerate(read_json_lines(path), 1):
            try:
                images.add(TrainingImage.model_validate(row))
            except ValidationError as error:
                raise DidgenError(
                    f"{path} line {number}: {first_fault(error)}; restore the file as it came with "
                    "its model."
                ) from None
        return cls(frozenset(images))

    def __bool__(self) -> bool:
        return bool(self.images)

    def __or__(self, other: "TrainedOn") -> "TrainedOn":
        return TrainedOn(self.images | other.images)

    def text(self) -> bytes:
        """The bytes of `trained_on.jsonl`, which do not depend on the order of training."""
        lines = sorted(json.dumps(image.model_dump()) for image in self.images)
        return "".join(f"{line}\n" for line in lines).encode()

    @cached_property
    def _known(self) -> frozenset[tuple[str, str]]:
        """What is known, each as field and value: the name of an image is not that of a lesion."""
        return frozenset(pair for image in self.images for pair in image)

    def knows(self, named: Named, sha256: str) -> bool:
        """Whether an image, another one of its lesion or a file of the same bytes is listed."""
        return not self._known.isdisjoint(TrainingImage.of(named, sha256))

    def beyond(self, records: Iterable[SourceRecord]) -> "TrainedOn":
        """Those of which no image in `records` is the same, by its name or by its bytes."""
        there = [TrainingImage.of(record, record.sha256) for record in records]
        names, hashes = {one.image for one in there}, {one.sha256 for one in there}
        return TrainedOn(
            frozenset(i for i in self.images if i.image not in names and i.sha256 not in hashes)
        )

    def check(self, model: object, folder: Path, source: SourceManifest) -> None:
        """Raise a `DidgenError` if the source in `folder` holds out what `model` was trained on."""
        held_out = [record for record in source.records if record.split != "train"]
        known = [record for record in held_out if self.knows(record, record.sha256)]
        if known:
            raise DidgenError(
                f"{model} was trained on {known[0].key} or on its lesion, which {folder} holds out "
                f"for {known[0].split}, one of {len(known)} such of {len(held_out)} images; import "
                "it again with `--for-model`, or train a model on this source."
            )
