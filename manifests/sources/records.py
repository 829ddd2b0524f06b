"""Source records: what is known of each real image, and the manifest that lists them."""

import unicodedata
from collections import Counter, defaultdict
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from didgen.manifests.choices import Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import (
    inside,
    read_json,
    read_json_lines,
    sha256_of,
    unfinished,
    write_json,
    write_json_lines,
)
from didgen.manifests.images import AS_STORED, Drawn, read_mask
from didgen.manifests.locks import lock_files, sole_writer
from didgen.manifests.sources.rejections import REJECTED_FILE

CLASS_NAMES: dict[str, str] = {
    "MEL": "melanoma",
    "NV": "melanocytic nevus",
    "BCC": "basal cell carcinoma",
    "AKIEC": "actinic keratosis",
    "BKL": "benign keratosis",
    "DF": "dermatofibroma",
    "VASC": "vascular lesion",
}
"""The seven diagnoses of ISIC 2018 Task 3, code to plain words, in the order of its columns."""

CLASSES: tuple[str, ...] = tuple(CLASS_NAMES)

FURTHER_CLASS_NAMES = {"SCC": "squamous cell carcinoma"}
"""Codes of later challenges, which are no column of 2018."""


def class_words(label: str) -> str:
    """A class in words; one whose code nobody knows is itself."""
    return (CLASS_NAMES | FURTHER_CLASS_NAMES).get(label, label)


Model = TypeVar("Model", bound=BaseModel)


SPLITS: tuple[Split, ...] = get_args(Split)

UNLABELLED = "unlabelled"
"""How an image without a label is named in counts; no label may have this name."""

HEADER_FILE = "source.json"

RECORDS_FILE = "records.jsonl"

IMAGES = "images"
"""The field of `source.json` that counts the records, so that none is lost in silence."""


def _one_line(text: str) -> str:
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in text):
        raise ValueError("holds a control character or a line break")
    return text


def _relative_path(text: str) -> str:
    try:
        inside(Path(), text)
    except DidgenError:
        raise ValueError("leaves the folder of the manifest") from None
    return text


def _class_label(text: str) -> str:
    # Labels become folder names when shards are exported.
    if "/" in text or "\\" in text or text in (".", "..", UNLABELLED):
        raise ValueError("cannot name a class folder")
    return text


Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,100}$")]
"""A name that is safe as a tar member: no dot, no slash."""

RelativePath = Annotated[str, StringConstraints(max_length=1000), AfterValidator(_relative_path)]

OneLine = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_one_line)]

Label = Annotated[OneLine, AfterValidator(_class_label)]

Caption = Annotated[
    str, StringConstraints(min_length=1, max_length=1000), AfterValidator(_one_line)
]


class SourceRecord(BaseModel):
    """One real image: its files, size in pixels as seen upright, hash, label, lesion and split.

    `image` and `mask` are POSIX paths relative to the manifest's root; `sha256` is that of the
    image file's bytes, `mask_sha256` that of the mask's, which older manifests lack; `licence` is
    an SPDX id or free text. `mask_orientation` and `mask_inverted` say how the mask file was drawn,
    see `Drawn`; `patient_id` is None where nobody says whose lesion it is. `caption_by` says who
    was asked for the caption, `caption_fallback` why it was measured where a language model was
    asked. `pixels` and `published` are its `PixelDigests`, which older manifests lack too.
    `mask_by` names the model or network that drew the mask where no person did; its file then lies
    in the folder of the manifest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    key: Key
    image: RelativePath
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    mask: RelativePath | None
    label: Label | None
    lesion_id: OneLine
    split: Split
    source: OneLine
    licence: OneLine
    caption: Caption | None = None
    caption_by: OneLine | None = None
    caption_fallback: OneLine | None = None
    mask_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    pixels: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    published: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    mask_orientation: int = Field(default=1, ge=1, le=8)
    mask_inverted: bool = False
    patient_id: OneLine | None = None
    mask_by: OneLine | None = None

    @property
    def truth(self) -> bool:
        """Whether it has a mask that a person drew, which alone may test anything."""
        return self.mask is not None and self.mask_by is None

    @property
    def unit(self) -> str:
        """The unit of statistics: the patient where known, else the lesion."""
        return self.patient_id or self.lesion_id

    @property
    def drawn(self) -> Drawn:
        """How its mask file is to be read."""
        return Drawn(self.mask_orientation, self.mask_inverted)


class SourceHeader(BaseModel):
    """What a manifest was made of and how; nothing in it depends on the time of making.

    `root` is the absolute path of the image folder, `fractions` those of train, val and test,
    `for_models` the models whose training images are kept out of val and test.
    `captions` counts the records by `caption_by`, `caption_fallbacks` by `caption_fallback`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    importer: OneLine
    didgen_version: str
    root: str
    classes: tuple[Label, ...]
    seed: int
    fractions: tuple[float, float, float]
    for_models: tuple[str, ...] = ()
    captions: dict[str, int] = {}
    caption_fallbacks: dict[str, int] = {}


@dataclass(frozen=True)
class SourceManifest:
    """The real images of one data set: a header and its records, in key order."""

    header: SourceHeader
    records: tuple[SourceRecord, ...]
    folder: Path | None = field(default=None, compare=False)
    """Where it was read: masks that no person drew lie there."""

    def select(
        self,
        split: Split | None = None,
        labelled: bool | None = None,
        masked: bool | None = None,
    ) -> list[SourceRecord]:
        """List the records that meet every condition given; None asks for nothing."""
        return [
            record
            for record in self.records
            if (split is None or record.split == split)
            and (labelled is None or (record.label is not None) == labelled)
            and (masked is None or (record.mask is not None) == masked)
        ]

    def pairs(self, split: Split) -> list[SourceRecord]:
        """The image-mask pairs of a split: those held out have masks that a person drew."""
        masked = self.select(split=split, masked=True)
        return [record for record in masked if split == "train" or record.truth]

    def no_truths(self) -> str | None:
        """How many held-out masks are no truth of a test, in words; None where all are."""
        drawn = [r.mask_by for r in self.records if r.mask_by and r.split != "train"]
        makers = ", ".join(sorted({*drawn}))
        return f"{len(drawn)} held-out masks by {makers} are no truth, left out" if drawn else None

    def image_path(self, record: SourceRecord) -> Path:
        """Where the image of `record` lies."""
        return inside(Path(self.header.root), record.image)

    def mask_path(self, record: SourceRecord) -> Path:
        """Where the mask of `record` lies; a record without one is a `DidgenError`."""
        if record.mask is None:
            raise DidgenError(f"{record.key} has no mask; select records with masked=True.")
        if record.mask_by is None:
            return inside(Path(self.header.root), record.mask)
        assert self.folder is not None, "masks that no person drew lie where a manifest was read"
        return inside(self.folder, record.mask)

    def read_mask(self, record: SourceRecord) -> np.ndarray:
        """The mask of `record` over its upright image, boolean (H, W); True is lesion."""
        return read_mask(self.mask_path(record), record.drawn)

    def mask_digest(self, record: SourceRecord) -> str:
        """What the mask of `record` is known by: its file's hash, and how that is read."""
        drawn = record.drawn
        read = "" if drawn == AS_STORED else f" {drawn.orientation} {drawn.inverted}"
        path = self.mask_path(record)
        if not path.is_file():
            raise DidgenError(f"{path} does not exist; restore it or import again.")
        return sha256_of(path) + read

    def write(self, folder: Path) -> None:
        """Write `records.jsonl`, then `source.json` as the mark that the manifest is whole."""
        # An old mark must not stand beside new records if the writing is cut short.
        (folder / HEADER_FILE).unlink(missing_ok=True)
        self.rewrite(folder)

    def rewrite(self, folder: Path) -> Self:
        """Replace the records of the same manifest, at once, and then its counts of captions.

        Returns the manifest as it is written.
        """
        write_json_lines(folder / RECORDS_FILE, (r.model_dump(mode="json") for r in self.records))
        counted = self.counted()
        told = counted.header.model_dump(mode="json") | {IMAGES: len(self.records)}
        write_json(folder / HEADER_FILE, told)
        return counted

    def counted(self) -> Self:
        """The manifest with a header that counts its captions."""
        by = Counter(r.caption_by for r in self.records if r.caption_by)
        fallbacks = Counter(r.caption_fallback for r in self.records if r.caption_fallback)
        counts = {"captions": dict(by), "caption_fallbacks": dict(fallbacks)}
        return replace(self, header=self.header.model_copy(update=counts))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a manifest; a missing, torn or wrong one is a `DidgenError` naming file and field.

        The image folder named by `root` must exist; the images themselves are not opened.
        """
        path = folder / HEADER_FILE
        if not path.is_file():
            raise DidgenError(f"{folder} holds no {HEADER_FILE}; make it with `didgen import`.")
        told = read_json(path)
        # Older versions did not count them.
        images = told.pop(IMAGES, None) if isinstance(told, dict) else None
        header = _validated(SourceHeader, told, str(path))
        if not Path(header.root).is_dir():
            raise DidgenError(
                f"{path} names the image folder {header.root}, which does not exist; "
                "import again or correct `root` in that file."
            )
        path = folder / RECORDS_FILE
        records: dict[str, SourceRecord] = {}
        for number, row in enumerate(read_json_lines(path), 1):
            place = f"{path} line {number}"
            record = _validated(SourceRecord, row, place)
            if record.key in records:
                raise DidgenError(f"{place}: the key {record.key} stands twice; import again.")
            if record.label is not None and record.label not in header.classes:
                raise DidgenError(
                    f"{place}: the label {record.label} is none of the classes in {HEADER_FILE}; "
                    "import again."
                )
            records[record.key] = record
        if images not in (None, len(records)):
            raise DidgenError(
                f"{path} holds {len(records)} images, and {HEADER_FILE} counts {images}; restore "
                f"it, or correct `{IMAGES}` in {HEADER_FILE}."
            )
        return cls(header, tuple(records.values()), folder)


def refuse_others(folder: Path) -> None:
    """Raise a `DidgenError` where a file of a manifest's name holds something else.

    A manifest that was cut off in writing, or one of an older version, is none of these.
    """
    path = folder / RECORDS_FILE
    with suppress(OSError):
        whole = path.read_bytes().strip()
        if whole and not (folder / HEADER_FILE).exists() and not sound_records(folder):
            raise DidgenError(
                f"{path} is no list of images by didgen; name another folder or move it away."
            )


def unfinished_writes(folder: Path) -> list[Path]:
    """The temporary files and locks of a manifest, in use or left by killed writes."""
    return [*unfinished(*_files(folder)), *lock_files(folder, _LOCK)]


def writing(folder: Path) -> AbstractContextManager[None]:
    """Hold the folder of a manifest to write there, without what killed writes left of it."""
    return sole_writer(folder, _LOCK, *_files(folder))


_LOCK = "source"


def _files(folder: Path) -> list[Path]:
    return [folder / name for name in (HEADER_FILE, RECORDS_FILE, REJECTED_FILE)]


def sound_records(folder: Path) -> list[SourceRecord]:
    """What can be read of the records of an older manifest, which need not be whole."""
    found: list[SourceRecord] = []
    with suppress(OSError):
        for line in (folder / RECORDS_FILE).read_bytes().splitlines():
            with suppress(ValidationError):
                found.append(SourceRecord.model_validate_json(line))
    return found


def _validated(model: type[Model], value: Any, place: str) -> Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise DidgenError(f"{place}: {first_fault(error)}; import again.") from None


def first_fault(error: ValidationError) -> str:
    """Say in half a sentence which field of a model is wrong, and how."""
    fault = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in fault["loc"]) or "the whole"
    message = fault["msg"].removeprefix("Value error, ")
    return f"`{field}` is wrong ({message[:1].lower()}{message[1:]})"


@dataclass(frozen=True)
class SummaryRow:
    """How many images, image-mask pairs, lesions and known patients a class has in a split."""

    label: str
    split: Split
    images: int
    pairs: int
    lesions: int
    patients: int


def summary(manifest: SourceManifest) -> list[SummaryRow]:
    """Count a manifest by class and split: one row for each, empty ones too.

    Classes come in the order of the header; images without a label count as `UNLABELLED`, last
    and only if there are any.
    """
    groups: defaultdict[tuple[str, Split], list[SourceRecord]] = defaultdict(list)
    for record in manifest.records:
        groups[record.label or UNLABELLED, record.split].append(record)
    labels = list(manifest.header.classes)
    if manifest.select(labelled=False):
        labels.append(UNLABELLED)
    return [
        SummaryRow(
            label=label,
            split=split,
            images=len(group),
            pairs=sum(record.mask is not None for record in group),
            lesions=len({record.lesion_id for record in group}),
            patients=len({record.patient_id for record in group} - {None}),
        )
        for label in labels
        for split in SPLITS
        for group in [groups[label, split]]
    ]
