"""Exports: didgen's own ImageFolder export found again, with its splits, classes and masks."""

import filecmp
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from didgen.manifests.choices import Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import inside, read_json_lines
from didgen.manifests.importers.finding.harvest import Candidate, Harvest
from didgen.manifests.importers.finding.tables import label_of, stated
from didgen.manifests.importers.finding.trees import note_others, read_tree, reject_foreign
from didgen.manifests.sources.records import SPLITS

METADATA = "metadata.jsonl"


def is_export(root: Path) -> bool:
    """Whether a folder is an ImageFolder export, or the folder of its pairs."""
    folders = _subfolders(root)
    configs = [folder for folder in folders if folder.name in ("images", "pairs")]
    if configs and len(configs) == len(folders):
        return all(map(_has_splits, configs)) and (root / "README.md").is_file()
    return _has_splits(root) and all(
        (part / METADATA).is_file() and (part / "masks").is_dir() for part in folders
    )


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def _has_splits(folder: Path) -> bool:
    names = {part.name for part in _subfolders(folder)}
    return bool(names) and names.issubset(SPLITS)


@dataclass(frozen=True)
class _Maker:
    """Makes the candidates of one export."""

    source: str
    licence: str

    def __call__(self, image: Path, split: Split, label: str, **known: Any) -> Candidate:
        lesion = known.pop("lesion_id", "") or image.stem
        fields = {"mask": None} | known
        return Candidate(
            key=image.stem,
            image=image,
            label=label_of(label) or None,
            lesion_id=lesion,
            split=split,
            source=self.source,
            licence=self.licence,
            **fields,
        )


def gather_export(root: Path, licence: str, harvest: Harvest) -> None:
    """Gather all images of an export: those of a class, and those with a mask.

    An image that is in both is gathered once.
    """
    tree = read_tree(root)
    make = _Maker(root.name, licence)
    whole = (root / "images").is_dir() or (root / "pairs").is_dir()
    pairs = {
        (one.split, one.key): one
        for one in _pairs(root / "pairs" if whole else root, make, harvest)
    }
    for one in _labelled(root / "images", make) if whole else ():
        pair = pairs.get((one.split, one.key))
        same = pair is not None and filecmp.cmp(pair.image, one.image, shallow=False)
        if pair is not None and same and pair.label in (None, one.label):
            pairs[one.split, one.key] = replace(pair, label=one.label)
        else:
            harvest.candidates.append(one)
    harvest.candidates += pairs.values()
    reject_foreign(tree, harvest)
    harvest.note(
        f"{root} is an export of didgen: its splits, classes and masks were kept. What is "
        "synthetic in it was imported like real images."
    )
    note_others(tree, harvest, {path for path in tree.others if path.name == METADATA})


def _labelled(folder: Path, make: _Maker) -> Iterator[Candidate]:
    """Images of a class: `SPLIT/CLASS/KEY.jpg`."""
    if folder.is_dir():
        for path in read_tree(folder).images:
            split, *label, _ = path.relative_to(folder).parts
            yield make(path, _split(split), label[0] if label else "")


def _pairs(folder: Path, make: _Maker, harvest: Harvest) -> Iterator[Candidate]:
    """Images with a mask: `SPLIT/KEY.jpg`, and a line of metadata for each."""
    for part in _subfolders(folder) if folder.is_dir() else ():
        for number, row in enumerate(read_json_lines(part / METADATA), 1):
            place = part / f"{METADATA} line {number}"
            try:
                image, mask = (inside(part, row[f"{n}file_name"]) for n in ("", "mask_"))
                label, lesion = (str(row.get(name) or "") for name in ("class", "lesion_id"))
            except (KeyError, TypeError, AttributeError):
                raise DidgenError(f"{place} names no image and mask; export it again.") from None
            missing = next((path for path in (image, mask) if not path.is_file()), None)
            if missing:
                sentence = f"{place} names {missing}, which is not there; restore it."
                harvest.reject(place, "missing-image", sentence, label_of(label) or None)
            else:
                # 0 stands for a patient who is not known.
                patient = str(row.get("patient") or "") or None
                known = {"lesion_id": stated(lesion), "patient_id": patient}
                yield make(image, _split(part.name), label, mask=mask, **known)


def _split(name: str) -> Split:
    return next(split for split in SPLITS if split == name)
