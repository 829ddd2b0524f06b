"""Importer of the official ISIC 2018 folders: Task 1 masks, Task 3 (HAM10000) diagnoses."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from didgen.manifests.choices import Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.importers.admission import (
    WORKERS,
    Candidate,
    ForModel,
    Harvest,
    Import,
    admit,
)
from didgen.manifests.importers.labels import LabelTable, read_labels, read_lesions
from didgen.manifests.progress import Progress
from didgen.manifests.sources.records import CLASSES
from didgen.manifests.sources.splits import Fractions

PARTS: dict[str, Split | None] = {"Training": None, "Validation": "val", "Test": "test"}
"""The official parts and the split each goes to; the training images are dealt to all three."""

IMAGES = "[!.]*.jpg"
MASK_END = "_segmentation.png"
MASKS = f"[!.]*{MASK_END}"
HAM_MASKS = "HAM10000_segmentations_lesion_tschandl"
GROUPINGS = "ISIC2018_Task3_Training_LesionGroupings.csv"
METADATA = ("HAM10000_metadata.csv", "HAM10000_metadata")


def import_isic2018(
    root: Path,
    *,
    seed: int = 42,
    fractions: Fractions = (0.8, 0.1, 0.1),
    for_models: Sequence[ForModel] = (),
    progress: Progress | None = None,
    workers: int = WORKERS,
) -> Import:
    """Import whatever official folders `root` holds, side by side or nested one deeper.

    Task 1 images (CC0-1.0) need a mask, have no label, and each is its own lesion. Task 3 images
    (CC-BY-NC-4.0) need a label and, in training, a lesion id; a HAM10000 mask is used where there
    is one, and a faulty mask rejects its image in either task. Official validation and test
    images go to those splits; training images are dealt by `fractions`. No such folder, or
    nothing sound in them, is a `DidgenError`.
    """
    root = root.resolve()
    harvest = Harvest()
    found = [
        gather(root, part, split, harvest)
        for gather in (_gather_task1, _gather_task3)
        for part, split in PARTS.items()
    ]
    if not any(found):
        raise DidgenError(
            f"{root} holds neither {_input('1-2', 'Training')} nor {_input('3', 'Training')} with "
            "images; give the folder the official archives were unpacked into."
        )
    return admit(
        harvest,
        importer="isic2018",
        root=root,
        classes=CLASSES,
        seed=seed,
        fractions=fractions,
        for_models=for_models,
        progress=progress,
        workers=workers,
    )


def _input(task: str, part: str) -> str:
    return f"ISIC2018_Task{task}_{part}_Input"


def _ground_truth(task: str, part: str) -> str:
    return f"ISIC2018_Task{task}_{part}_GroundTruth"


def _gather_task1(root: Path, part: str, split: Split | None, harvest: Harvest) -> bool:
    """Gather one part of Task 1; False if `root` has no images of it."""
    images = _files(root, _input("1-2", part), IMAGES)
    masks = _files(root, _ground_truth("1", part), MASKS)
    if not images:
        return False
    if not masks:
        sentence = (
            f"{root} has the Task 1 {part} images but no masks in {_ground_truth('1', part)}, so "
            "they were left out; unpack that archive too."
        )
        harvest.reject(root / _ground_truth("1", part), "missing-ground-truth", sentence)
        return True
    by_key = {mask.name.removesuffix(MASK_END): mask for mask in masks}
    for image in images:
        mask = by_key.pop(image.stem, None)
        if mask is None:
            sentence = f"{image} has no mask {image.stem}{MASK_END}; restore it."
            harvest.reject(image, "missing-mask", sentence)
        else:
            harvest.candidates.append(
                Candidate(
                    key=image.stem,
                    image=image,
                    mask=mask,
                    label=None,
                    lesion_id=image.stem,
                    split=split,
                    source="isic2018-task1",
                    licence="CC0-1.0",
                )
            )
    for key, mask in by_key.items():
        harvest.reject(mask, "missing-image", f"{mask} has no image {key}.jpg; restore it.")
    return True


def _gather_task3(root: Path, part: str, split: Split | None, harvest: Harvest) -> bool:
    """Gather one part of Task 3; False if `root` has no images of it."""
    images = _files(root, _input("3", part), IMAGES)
    if not images:
        return False
    labels = _task3_labels(root, part, {image.stem for image in images}, harvest)
    # Only the training images show lesions more than once, and only they have lesion ids.
    training = part == "Training"
    lesions = _lesions(root, harvest) if training else {image.stem: image.stem for image in images}
    if labels is None or lesions is None:
        return True
    masks = {mask.name.removesuffix(MASK_END): mask for mask in _files(root, HAM_MASKS, MASKS)}
    for image in images:
        key = image.stem
        if key not in labels.rows:
            if key not in labels.faulty:
                sentence = f"{image} has no row in the ground truth; add the row."
                harvest.reject(image, "missing-label", sentence)
        elif key not in lesions:
            sentence = f"{image} has no lesion id in {GROUPINGS}; add the row."
            harvest.reject(image, "missing-lesion", sentence)
        else:
            harvest.candidates.append(
                Candidate(
                    key=key,
                    image=image,
                    mask=masks.get(key),
                    label=labels.rows[key].label,
                    lesion_id=lesions[key],
                    split=split,
                    source="isic2018-task3",
                    licence="CC-BY-NC-4.0",
                )
            )
    return True


def _task3_labels(root: Path, part: str, images: set[str], harvest: Harvest) -> LabelTable | None:
    """Read the ground truth of one part; None, with the reason in `harvest`, if there is none."""
    folder = _ground_truth("3", part)
    tables = [path for path in _files(root, folder, "[!.]*.csv") if path.name != GROUPINGS]
    metadata = _tables(root, METADATA) if part == "Training" else []
    if not tables and not metadata:
        sentence = (
            f"{root} has the Task 3 {part} images but no CSV in {folder}, so they were left out; "
            "unpack that archive too."
        )
        harvest.reject(root / folder, "missing-ground-truth", sentence)
        return None
    path = (tables or metadata)[0]
    try:
        labels = read_labels(path)
    except DidgenError as error:
        sentence = f"{str(error).removesuffix('.')}; Task 3 {part} was left out."
        harvest.reject(path, "bad-table", sentence)
        return None
    harvest.rejections += labels.rejections
    # The metadata describe all of HAM10000, of which a part may lie here; a ground truth does not.
    for key in sorted(labels.rows.keys() - images) if tables else []:
        place = labels.rows[key].place
        sentence = f"{place} gives {key} a label but there is no {key}.jpg; restore it."
        harvest.reject(place, "missing-image", sentence)
    return labels


def _lesions(root: Path, harvest: Harvest) -> dict[str, str] | None:
    """Read image -> lesion id; None, with the reason in `harvest`, if there are none.

    Lists name images that are not here: they cover all of HAM10000.
    """
    lesions: dict[str, str] = {}
    for path in _tables(root, (GROUPINGS, *METADATA)):
        try:
            lesions = read_lesions(path) | lesions
        except DidgenError as error:
            harvest.reject(path, "bad-table", str(error))
    if not lesions:
        sentence = (
            f"{root} has neither {GROUPINGS} nor {METADATA[0]} with lesion ids, without which "
            "splits would share lesions, so Task 3 Training was left out; add one of them."
        )
        harvest.reject(root / GROUPINGS, "missing-lesion", sentence)
        return None
    return lesions


def _places(root: Path, name: str) -> list[Path]:
    """Where `name` may lie: in `root`, or one folder deeper as some archives unpack."""
    return [root / name, *sorted(root.glob(f"*/{name}"))]


def _files(root: Path, folder: str, pattern: str) -> list[Path]:
    """The files of an official folder, sorted; empty if it is not there."""
    return next(filter(None, (sorted(place.glob(pattern)) for place in _places(root, folder))), [])


def _tables(root: Path, names: Iterable[str]) -> list[Path]:
    """Those of the named tables that are there."""
    found = (filter(Path.is_file, _places(root, name)) for name in names)
    return [path for paths in found for path in list(paths)[:1]]
