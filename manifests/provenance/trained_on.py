"""Trained on: which real images a model was trained on, and whether a test holds them out.

Notable choices:
- The list goes with the model, and from there with every run and data set that is made by it, so
  that who tests on real images can keep those apart without the model or its source.
- An image is known by its number in the ISIC Archive, whatever set and size it was taken in, by
  the hash of its file, and by digests of its pixels, which a copy without metadata shares. Other
  names are not compared, and not told: two clinics both have an `img_001` in a folder `images`, and
  a name may be a patient's.
"""

import json
import re
from collections.abc import Container, Iterable
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
    """One line of `trained_on.jsonl`: numbers of image and lesion, if any, and the file's hash.

    `pixels` and `published` are the `PixelDigests` of the image, which older lists lack.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    image: Number | None
    lesion: Number | None
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    pixels: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    published: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")

    @classmethod
    def of(
        cls, named: Named, sha256: str, pixels: str | None = None, published: str | None = None
    ) -> Self:
        """How `named`, whose file has this hash and these digests, stands in a list."""
        image, lesion = _number(named.key), _number(named.lesion_id)
        return cls(image=image, lesion=lesion, sha256=sha256, pixels=pixels, published=published)

    @classmethod
    def of_record(cls, record: SourceRecord) -> Self:
        """How the image of a record stands in a list."""
        return cls.of(record, record.sha256, record.pixels, record.published)

    @property
    def marks(self) -> set[tuple[str, str]]:
        """What it is known by, each as field and value: an image's number is not a lesion's."""
        # What one image is once it is published, a copy of it is from the first.
        return {
            ("pixels" if field == "published" else field, value)
            for field, value in self
            if value is not None
        }

    def line(self) -> str:
        """Its line; digests that are not known are left out, as in older lists."""
        unknown = {name for name in ("pixels", "published") if getattr(self, name) is None}
        return json.dumps(self.model_dump(exclude=unknown))


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
        return cls(frozenset(TrainingImage.of_record(record) for record in records))

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
        lines = sorted(image.line() for image in self.images)
        return "".join(f"{line}\n" for line in lines).encode()

    @cached_property
    def _marks(self) -> frozenset[tuple[str, str]]:
        return frozenset(mark for image in self.images for mark in image.marks)

    def knows(
        self, named: Named, sha256: str, pixels: str | None = None, published: str | None = None
    ) -> bool:
        """Whether an image, another one of its lesion, or the same bytes or pixels are listed."""
        image = TrainingImage.of(named, sha256, pixels, published)
        return not self._marks.isdisjoint(image.marks)

    def knows_record(self, record: SourceRecord) -> bool:
        """As `knows`, of the image of a record."""
        return not self._marks.isdisjoint(TrainingImage.of_record(record).marks)

    def without_numbers(self, hashes: Container[str]) -> "TrainedOn":
        """The list without the numbers of the images whose files have these hashes."""
        nameless = {"image": None, "lesion": None}
        return TrainedOn(
            frozenset(
                image.model_copy(update=nameless) if image.sha256 in hashes else image
                for image in self.images
            )
        )

    def lists(self, record: SourceRecord) -> bool:
        """Whether this very image is listed, by its number, bytes or pixels."""
        bare = record.model_copy(update={"lesion_id": ""})
        return self.knows_record(bare)

    def beyond(self, records: Iterable[SourceRecord]) -> "TrainedOn":
        """Those of which no image in `records` is the same, by its number, bytes or pixels."""
        there = TrainedOn.of(record.model_copy(update={"lesion_id": ""}) for record in records)
        return TrainedOn(frozenset(i for i in self.images if i.marks.isdisjoint(there._marks)))

    def check(self, model: object, folder: Path, source: SourceManifest) -> None:
        """Raise a `DidgenError` if the source in `folder` holds out what `model` was trained on."""
        held_out = [record for record in source.records if record.split != "train"]
        known = [record for record in held_out if self.knows_record(record)]
        if known:
            raise DidgenError(
                f"{model} was trained on {known[0].key} or on its lesion, which {folder} holds out "
                f"for {known[0].split}, one of {len(known)} such of {len(held_out)} images; import "
                "it again with `--for-model`, or train a model on this source."
            )
