"""Trained on: which real images a model was trained on, and whether a test holds them out.

Notable choices:
- The list goes with the model, and from there with every run and data set that is made by it, so
  that who tests on real images can keep those apart without the model or its source.
- An image is known by its number in the ISIC Archive, whatever set and size it was taken in, and by
  the hash of its file. Other names are not compared, and not told: two clinics both have an
  `img_001` in a folder `images`, and a name may be a patient's.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json_lines
from didgen.manifests.sources.records import SourceManifest, SourceRecord, first_fault

CARD_NAME = "README.md"

TRAINED_ON_NAME: Final = "trained_on.jsonl"

# Copies keep the number in front, as ISIC 2019 does in ISIC_0000002_downsampled.
_NUMBER = re.compile(r"(ISIC|IL|HAM|BCN|MSK[0-9])_[0-9]{7}(?![A-Z0-9])", re.IGNORECASE | re.ASCII)

Number = Annotated[str, StringConstraints(pattern=r"^(ISIC|IL|HAM|BCN|MSK[0-9])_[0-9]{7}$")]
"""A number of the archive, of an image or a lesion, or of a lesion in one of its collections."""


class Named(Protocol):
    """What says which image it is: a source record, or a candidate for one."""

    @property
    def key(self) -> str: ...
    @property
    def lesion_id(self) -> str: ...


class TrainingImage(BaseModel):
    """One line of `trained_on.jsonl`: numbers of image and lesion, if any, and the file's hash."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    image: Number | None
    lesion: Number | None
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @classmethod
    def of(cls, named: Named, sha256: str) -> Self:
        """How `named`, whose file has this hash, stands in a list."""
        return cls(image=_number(named.key), lesion=_number(named.lesion_id), sha256=sha256)

    @property
    def marks(self) -> set[tuple[str, str]]:
        """What it is known by, each as field and value: an image's number is not a lesion's."""
        return {(field, value) for field, value in self if value is not None}


def _number(name: str) -> str | None:
    """The number of the archive that a name begins with."""
    found = _NUMBER.match(name)
    return found[0].upper() if found else None


@dataclass(frozen=True)
class TrainedOn:
    """The real images that a model is known to be trained on; empty where nobody lists them."""

    images: frozenset[TrainingImage] = frozenset()

    @classmethod
    def of(cls, records: Iterable[SourceRecord]) -> Self:
        """The list of a model that was trained on `records`."""
        return cls(frozenset(TrainingImage.of(record, record.sha256) for record in records))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a list; a missing, empty or ill-formed one is a `DidgenError` that says where."""
        images = set()
        for number, row in enumerate(read_json_lines(path), 1):
            try:
                images.add(TrainingImage.model_validate(row))
            except ValidationError as error:
                raise DidgenError(
                    f"{path} line {number}: {first_fault(error)}; restore the file as it came with "
                    "its model."
                ) from None
        if not images:
            raise DidgenError(f"{path} is empty; restore the file as it came with its model.")
        return cls(frozenset(images))

    def __len__(self) -> int:
        """How many images they are: one may be listed in several sizes or forms."""
        return len({image.image or image.sha256 for image in self.images})

    def __or__(self, other: "TrainedOn") -> "TrainedOn":
        return TrainedOn(self.images | other.images)

    def text(self) -> bytes:
        """The bytes of `trained_on.jsonl`, which do not depend on the order of training."""
        lines = sorted(json.dumps(image.model_dump()) for image in self.images)
        return "".join(f"{line}\n" for line in lines).encode()

    @cached_property
    def _marks(self) -> frozenset[tuple[str, str]]:
        return frozenset(mark for image in self.images for mark in image.marks)

    def knows(self, named: Named, sha256: str) -> bool:
        """Whether an image, another one of its lesion or a file of the same bytes is listed."""
        return not self._marks.isdisjoint(TrainingImage.of(named, sha256).marks)

    def beyond(self, records: Iterable[SourceRecord]) -> "TrainedOn":
        """Those of which no image in `records` is the same, by its number or by its bytes."""
        there = TrainedOn.of(record.model_copy(update={"lesion_id": ""}) for record in records)
        return TrainedOn(frozenset(i for i in self.images if i.marks.isdisjoint(there._marks)))

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
