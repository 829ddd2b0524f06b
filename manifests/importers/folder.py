"""Importer of anyone's own images, with masks, labels, both or neither."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from pathlib import Path

from didgen.manifests.errors import DidgenError
from didgen.manifests.images import IMAGE_SUFFIXES
from didgen.manifests.importers.admission import (
    LONGEST_KEY,
    WORKERS,
    Candidate,
    ForModel,
    Harvest,
    Import,
    admit,
)
from didgen.manifests.importers.labels import LabelTable, composed, read_labels
from didgen.manifests.progress import Progress
from didgen.manifests.sources.records import CLASSES
from didgen.manifests.sources.splits import Fractions

MASK_ENDS = ("_segmentation", "_mask")


def import_folder(
    images: Path,
    *,
    masks: Path | None = None,
    labels: Path | None = None,
    licence: str,
    seed: int = 42,
    fractions: Fractions = (0.8, 0.1, 0.1),
    for_models: Sequence[ForModel] = (),
    progress: Progress | None = None,
    workers: int = WORKERS,
) -> Import:
    """Import a folder of JPEG, PNG, BMP or WebP images, subfolders included.

    `labels` is a CSV of image and label, or of image and one 0/1 column for each ISIC class,
    with `lesion_id` and `split` if known. Without it, images in subfolders take the name of the
    first subfolder as label, and images in no subfolder have none. An image without a lesion id
    is its own lesion. `masks` holds files of the image's stem, with or without `_segmentation` or
    `_mask`; a labelled image may go without mask. Keys are stems made safe, with a hash of the stem
    where it is not ASCII, so no two files may share one; of those that do, the first is taken, and
    none where labels or masks are matched by stem. Links are followed; a closed folder is rejected.
    A missing folder, an unusable table, or nothing sound is a `DidgenError`.
    """
    images = _existing_folder(images)
    masks = _existing_folder(masks) if masks else None
    if masks and (masks == images or masks in images.parents):
        raise DidgenError(f"{masks} holds the images too; move the masks to a folder of their own.")
    table = read_labels(labels) if labels else None
    harvest = Harvest()
    found = _image_files(images, harvest, but=masks)
    if not found:
        raise DidgenError(f"{images} holds no image ({' '.join(IMAGE_SUFFIXES)}); check the path.")
    stems = Counter(_stem(path) for path in found)
    chosen = _choose_masks(masks, stems, harvest) if masks else {}
    in_subfolders = any(path.parent != images for path in found)
    for path in found:
        stem = _stem(path)
        if stems[stem] > 1 and (table or masks):
            sentence = f"{path} is one of several images {stem}; rename all but one."
            harvest.reject(path, "duplicate-id", sentence)
            continue
        label, lesion_id, split = None, None, None
        if table:
            row = table.rows.get(stem)
            if row is None:
                if stem not in table.faulty:
                    sentence = f"{path} has no row in {labels}; add the row."
                    harvest.reject(path, "missing-label", sentence)
                continue
            label, lesion_id, split = row.label, row.lesion_id, row.split
        elif in_subfolders:
            if path.parent == images:
                sentence = f"{path} lies in no class folder, unlike others; move it into one."
                harvest.reject(path, "missing-label", sentence)
                continue
            label = composed(path.relative_to(images).parts[0])
        mask = chosen.get(stem)
        if masks and mask is None and label is None:
            sentence = f"{path} has neither a label nor a mask in {masks}; add one."
            harvest.reject(path, "missing-mask", sentence)
            continue
        key = _key(stem)
        harvest.candidates.append(
            Candidate(
                key=key,
                image=path,
                mask=mask,
                label=label,
                lesion_id=lesion_id or key,
                split=split,
                source=images.name,
                licence=licence,
            )
        )
    if table:
        _reject_rows_without_image(table, stems, harvest)
    used = {candidate.label for candidate in harvest.candidates if candidate.label}
    return admit(
        harvest,
        importer="folder",
        root=Path(os.path.commonpath([images, masks or images])),
        classes=CLASSES if used <= set(CLASSES) else sorted(used),
        seed=seed,
        fractions=fractions,
        for_models=for_models,
        progress=progress,
        workers=workers,
    )


def _existing_folder(path: Path) -> Path:
    if not path.is_dir():
        raise DidgenError(f"{path} is not a folder; check the path.")
    return path.resolve()


def _stem(path: Path) -> str:
    return composed(path.stem)


def _key(stem: str) -> str:
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", stem)
    if stem.isascii():
        return safe
    # Names of other scripts have little left that tells them apart.
    own = hashlib.sha256(stem.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{safe.strip('-')[: LONGEST_KEY - 9]}-{own}".lstrip("-")


def _image_files(folder: Path, harvest: Harvest, but: Path | None = None) -> list[Path]:
    """The image files below a folder, sorted, without hidden ones and those below `but`."""
    return sorted(
        path
        for path in _files(folder, harvest, but)
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
    )


def _files(folder: Path, harvest: Harvest, but: Path | None) -> Iterator[Path]:
    """The files below a folder; a folder that is linked to is read too, unless it is among them."""

    def refuse(error: OSError) -> None:
        if not isinstance(error, PermissionError):
            raise error
        path = Path(error.filename)
        sentence = f"{path} cannot be opened; mend its rights, if it holds images."
        harvest.reject(path, "unreadable-image", sentence)

    seen = {but}
    tops = [folder]
    # Links come after all folders, so that each folder is read by its own name where it has one.
    for top in tops:
        for place, folders, files in os.walk(top, onerror=refuse):
            here = Path(place)
            if (here.name.startswith(".") and here != top) or here.resolve() in seen:
                folders.clear()
                continue
            seen.add(here.resolve())
            tops += (here / name for name in sorted(folders) if (here / name).is_symlink())
            yield from (here / name for name in files if not name.startswith("."))


def _choose_masks(folder: Path, stems: Container[str], harvest: Harvest) -> dict[str, Path]:
    """Match masks to image stems; a second mask of one image or a mask of none is rejected.

    Of masks of one stem in several folders all are, since all but one are another image's.
    """
    found: dict[str, list[Path]] = {}
    for path in _image_files(folder, harvest):
        names = [_stem(path), *(_stem(path).removesuffix(end) for end in MASK_ENDS)]
        stem = next((name for name in names if name in stems), None)
        if stem is None:
            sentence = f"{path} belongs to no image of that name; rename or remove it."
            harvest.reject(path, "missing-image", sentence)
        else:
            found.setdefault(stem, []).append(path)
    chosen: dict[str, Path] = {}
    for stem, (first, *others) in found.items():
        if any(path.parent != first.parent for path in others):
            for path in (first, *others):
                sentence = f"{path} is one of several masks {stem}; rename all but one."
                harvest.reject(path, "duplicate-id", sentence)
            continue
        chosen[stem] = first
        for path in others:
            sentence = f"{path} is a second mask beside {first}; remove one of the two."
            harvest.reject(path, "duplicate-id", sentence)
    return chosen


def _reject_rows_without_image(table: LabelTable, stems: Container[str], harvest: Harvest) -> None:
    harvest.rejections += table.rejections
    for name, row in table.rows.items():
        if name not in stems:
            sentence = f"{row.place} gives {name} a label but there is no such image; restore it."
            harvest.reject(row.place, "missing-image", sentence)
