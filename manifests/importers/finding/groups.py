"""Groups: patients, lesions and classes of a harvest, checked for what would tear them apart."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from didgen.manifests.choices import Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.importers.finding.harvest import Candidate, Harvest
from didgen.manifests.importers.finding.trees import composed, listed
from didgen.manifests.sources.records import CLASSES
from didgen.manifests.sources.splits import in_words

LOOKALIKES = str.maketrans(
    "авекмнорстухіѕјαβεζηικμνορτυχ",
    "abekmhopctyxisjabezhikmnoptyx",
)
"""Small Cyrillic and Greek letters whose capitals or own forms look like Latin ones."""


def classes_of(labels: Iterable[str]) -> tuple[str, ...]:
    """The classes of a manifest: ISIC's seven where no other is used, else those that are."""
    used = {*labels}
    if used.issubset(CLASSES):
        return CLASSES
    return (*(name for name in CLASSES if name in used), *sorted(used.difference(CLASSES)))


def check_classes(root: Path, harvest: Harvest) -> None:
    """Raise a `DidgenError` for classes whose names a reader would take for one.

    Classes that are numbers are told: captions are made of their names.
    """
    labels = {one.label for one in harvest.candidates if one.label}
    if pair := _alike(labels, parting=r"[\s_\-]+"):
        raise DidgenError(
            f"{root} has the classes {' and '.join(pair)}, whose names differ by case, spaces or "
            "letters that look alike; give both one name."
        )
    if numbers := sorted(label for label in labels if re.fullmatch(r"[\d.]+", label)):
        harvest.note(
            f"Warning: the classes {listed(numbers)} are numbers, and captions will say them; give "
            "them names."
        )


def check_ids(root: Path, harvest: Harvest) -> None:
    """Raise a `DidgenError` for ids of lesions or patients that a reader would take for one."""
    for kind, ids in (
        ("lesions", {one.lesion_id for one in harvest.candidates if one.lesion_id != one.key}),
        ("patients", {one.patient_id for one in harvest.candidates if one.patient_id}),
    ):
        if pair := _alike(ids):
            raise DidgenError(
                f"{root} has the {kind} {' and '.join(pair)}, whose ids differ by case, spaces or "
                "letters that look alike, so that one could stand in two splits; give both one id."
            )


def _alike(names: Iterable[str], parting: str = r"\s+") -> list[str]:
    """Two or more names that are one but for case, what parts words, and looks alike."""
    writings: defaultdict[str, set[str]] = defaultdict(set)
    for name in names:
        seen = re.sub(parting, "", composed(name)).casefold().translate(LOOKALIKES)
        writings[seen].add(name)
    return next((sorted(several) for several in writings.values() if len(several) > 1), [])


def grouped(harvest: Harvest) -> list[Candidate]:
    """The candidates with every lesion within its patient.

    A lesion id that several patients have is one lesion of each. An image of a lesion that has one
    patient by another row is of that patient too.
    """
    patients: defaultdict[str, set[str]] = defaultdict(set)
    for one in harvest.candidates:
        if one.patient_id:
            patients[one.lesion_id].add(one.patient_id)
    shared = {lesion for lesion, found in patients.items() if len(found) > 1}
    kept = []
    for one in harvest.candidates:
        if one.lesion_id in shared and one.patient_id is None:
            sentence = (
                f"{one.image} is of the lesion {one.lesion_id}, which several patients have, and "
                "of no patient; add the patient."
            )
            harvest.reject(one.image, "missing-patient", sentence, one.label)
        elif one.lesion_id in shared:
            kept.append(replace(one, lesion_id=f"{one.lesion_id} of {one.patient_id}"))
        else:
            known = next(iter(patients[one.lesion_id])) if one.lesion_id in patients else None
            kept.append(replace(one, patient_id=known))
    if shared:
        harvest.note(
            f"{len(shared)} lesion ids are of several patients ({listed(sorted(shared))}), so each "
            "was taken for one lesion of each."
        )
    return kept


def refuse_torn_groups(root: Path, candidates: Sequence[Candidate]) -> None:
    """Raise a `DidgenError` for patients and lesions that are given to more than one split."""
    given: defaultdict[str, dict[Split, Candidate]] = defaultdict(dict)
    for one in candidates:
        if one.split is not None:
            given[one.group].setdefault(one.split, one)
    torn = [group for group, splits in given.items() if len(splits) > 1]
    if torn:
        places = " and ".join(f"{one.split} ({one.image})" for one in given[torn[0]].values())
        more = f"; {len(torn)} are so: {listed([*map(in_words, torn)])}" if torn[1:] else ""
        raise DidgenError(
            f"{root} gives {in_words(torn[0])} to {places}{more}; give each one split, or give "
            "none to have all dealt."
        )
