"""Personal names: keys, lesion ids, classes that look like a date, a person or a record number.

Notable choices:
- It looks at names alone and guesses: what it finds is said, and nothing is refused.
- Numbers of the ISIC Archive, of cameras and of counting are no numbers of patients.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from didgen.manifests.sources.records import SourceManifest, SourceRecord

Kind = Literal["date", "person", "number"]

KINDS: Mapping[Kind, str] = {
    "date": "a date",
    "person": "a person's name",
    "number": "a patient's or record's number",
}
"""What a name may look like, in words."""

_YEAR, _MONTH, _DAY = r"(?:19|20)\d\d", r"(?:0?[1-9]|1[0-2])", r"(?:0?[1-9]|[12]\d|3[01])"
_APART = r"[-_. ]"
_MONTHS = "jan|feb|mar|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez"

_DATES = re.compile(
    rf"(?<!\d)(?:{_YEAR}({_APART}){_MONTH}\1{_DAY}|{_DAY}({_APART}){_MONTH}\2{_YEAR}"
    rf"|{_MONTH}({_APART}){_DAY}\3{_YEAR}|{_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
    rf"|{_DAY}{_APART}?(?:{_MONTHS})[a-z]*{_APART}?{_YEAR})(?!\d)",
    re.IGNORECASE,
)

_PUBLIC = re.compile(r"(?:ISIC|IL|HAM|BCN|MSK\d)_\d{7}(?!\d)", re.IGNORECASE)
_PSEUDONYM = re.compile(r"(?:real-)?[0-9a-f]{16}")
_COUNTED = re.compile(
    r"(?<![a-z])(?:img|image|dsc[fn]?|p|pic|photo|foto|bild|frame|scan|crop|lesion|mask|sample|nr|no)"
    r"[-_. ]?\d+",
    re.IGNORECASE,
)
_NUMBERED = re.compile(
    r"(?<![a-z])(?:pat|patient|pid|mrn|case|fall|akte|record|nhs|ssn|ipp|dob|id)"
    r"[-_. #:]*\d{2,}",
    re.IGNORECASE,
)
_LONG_NUMBER = re.compile(r"(?<!\d)[1-9]\d{5,}(?!\d)")

_WORD = re.compile(r"[^\W\d_]+")
_CAPITALISED = re.compile(r"[^\W\d_](?:[^\W\d_]|')+")

_FIRST = """
ahmed aisha alejandro alexander ali amelia amina ana andrea andreas anna anne antonio aylin
barbara bernd carlos carmen charlotte chen chiara christian christine claire claudia daniel
david diego dmitri elena elizabeth emily emma erik eva fatima fatma felix fernando francesca
francesco francois frank franz gabriel giovanni giulia giuseppe hans hanna hannah hassan heike
helga hiroshi ibrahim igor ines ingrid irina isabella ivan jack jakob james jane jean jennifer
jessica johann johannes john jonas jorge jose joseph juan julia julie jurgen karl katarzyna
katharina kenji khalid klaus kristina lars laura lea lena leon linda lucas luis luisa lukas
mahmoud manuel marco margaret maria marie mario martina mary mateo matteo matthew maximilian
mehmet mei michael miguel mohamed mohammed monika mustafa nadia natalia nguyen nicolas niklas
olga oliver olivia omar oscar pablo patricia patrick paul paula pedro peter petra philipp pierre
piotr priya rachel rahul raj renate ricardo robert roberto sabine samuel sandra sara sarah
sebastian sergei sofia sophia sophie stefan stephanie susan susanne sven thomas tim tomasz
ursula valentina victoria wei werner william wolfgang yasmin yuki yusuf
"""
FIRST_NAMES = frozenset(_FIRST.split())
"""First names that are common somewhere, and no words of this field."""

_FIELD = """
actinic arm back basal benign bottom carcinoma case cell chest class clinic close common crop
dermatofibroma dermoscopy derm dermoscopic face foot front group hand head hospital image images
img keratosis left leg lesion malignant mask melanoma melanocytic mole naevus neck nevus nose
overview part patient photo photos pic polarised polarized right sample scalp scan seborrheic
set shoulder side skin spitz squamous study task test thigh toe top train training trunk type
unknown val validation vascular view
"""
_PLAIN = frozenset(_FIELD.split())
"""Words of this field, which are nobody's name however they are written."""


@dataclass(frozen=True)
class Personal:
    """How many images have a name that looks personal, by its kind, and the first such name."""

    images: int
    kinds: Mapping[Kind, int]
    first: str

    def sentence(self) -> str:
        """What to know of them, and what to do."""
        each = ", ".join(f"{KINDS[kind]} ({count})" for kind, count in self.kinds.items())
        return (
            f"{self.images} images have a file name, lesion id, class or folder that looks like "
            f"{each}; "
            f"the first is {self.first}. Give `--pseudonymise` to `didgen mix` and `didgen export` "
            "before you share them; classes keep their names."
        )


def personal_names(source: SourceManifest) -> Personal | None:
    """What looks personal among the names in a source; None where nothing does."""
    found: dict[str, tuple[Kind, str]] = {}
    for record in source.records:
        for name in _names(record):
            if (kind := kind_of(name)) is not None:
                found.setdefault(record.key, (kind, name))
    if not found:
        return None
    counts = {kind: sum(kind == other for other, _ in found.values()) for kind in KINDS}
    kinds = {kind: count for kind, count in counts.items() if count}
    return Personal(len(found), kinds, next(iter(found.values()))[1])


def kind_of(name: str) -> Kind | None:
    """What a name looks like; None for one that says nothing of a person."""
    if _PSEUDONYM.fullmatch(name):
        return None
    left = _PUBLIC.sub("", name)
    if _DATES.search(left):
        return "date"
    if _NUMBERED.search(left) or _LONG_NUMBER.search(_COUNTED.sub("", left)):
        return "number"
    return "person" if _is_person(left) else None


def _names(record: SourceRecord) -> Iterable[str]:
    """What is published of an image's names unless it is pseudonymised."""
    file = PurePosixPath(record.image).stem
    return dict.fromkeys((file, record.key, record.lesion_id, record.label or "", record.source))


def _is_person(name: str) -> bool:
    """Whether a name holds a common first name, or two capitalised words of no plain meaning."""
    words = _WORD.findall(name) + _WORD.findall(re.sub(r"(?<=[a-zß-ÿ])(?=[A-ZÀ-Þ])", " ", name))
    if any(word.lower() in FIRST_NAMES for word in words):
        return True
    parts = [part for part in _CAPITALISED.findall(name.replace("_", " ")) if part.istitle()]
    return sum(len(part) > 2 and part.lower() not in _PLAIN for part in parts) >= 2
