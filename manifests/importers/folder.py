"""Importer of anyone's own images, with masks, labels, both or neither."""

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from didgen.manifests.errors import DidgenError
from didgen.manifests.images import IMAGE_SUFFIXES
from didgen.manifests.importers.admission import LONGEST_KEY, Import, ImportOptions, admit
from didgen.manifests.importers.finding.export_tree import gather_export, is_export
from didgen.manifests.importers.finding.folders import Folders, Level, Place, understand
from didgen.manifests.importers.finding.harvest import Candidate, Harvest
from didgen.manifests.importers.finding.masks import SUPERPIXELS, match_masks, part_masks
from didgen.manifests.importers.finding.tables import label_of
from didgen.manifests.importers.finding.trees import (
    JUNK,
    Names,
    Tree,
    composed,
    existing_folder,
    listed,
    note_others,
    read_tree,
    reject_foreign,
)
from didgen.manifests.importers.labels import ImageRow, assign, read_labels


def import_folder(
    images: Path,
    *,
    licence: str,
    masks: Path | None = None,
    labels: Path | None = None,
    folders: tuple[Level, ...] | None = None,
    options: ImportOptions | None = None,
) -> Import:
    """Import a folder of JPEG, PNG, BMP or WebP images, subfolders included.

    `labels` is a CSV of image and label, or of image and one 0/1 column for each ISIC class, with
    `lesion_id`, `patient_id` and `split` if known. Without it, `folders` says what the folders of
    each level name, and where that is None their names do. An image without a lesion id is its own
    lesion. `masks` holds files of the image's name, with or without an ending such as `_mask`, and
    may be the folder of the images; a labelled image may go without mask. Keys are stems made safe,
    with a hash of the stem where it is not ASCII; files of one name have class, split or folder in
    front. Links are followed. didgen's own ImageFolder export comes back as it was. A missing
    folder, an unusable table, an unclear tree or nothing sound is a `DidgenError`.
    """
    root, harvest = existing_folder(images), Harvest()
    if not licence.strip() or not licence.isprintable():
        raise DidgenError("The licence is empty or no line of text; give an SPDX id or a name.")
    masked = existing_folder(masks) if masks else None
    if masks is None and labels is None and folders is None and is_export(root):
        gather_export(root, licence, harvest)
    else:
        _gather(_Asked(root, masked, labels, folders, licence), harvest)
    return admit(
        harvest,
        importer="folder",
        root=Path(os.path.commonpath([root, masked or root])),
        options=options or ImportOptions(),
    )


@dataclass(frozen=True)
class _Asked:
    """What a user said of a folder."""

    root: Path
    masks: Path | None
    labels: Path | None
    folders: tuple[Level, ...] | None
    licence: str

    @property
    def together(self) -> bool:
        """Whether the masks lie in the folder of the images, or in one that holds it."""
        return self.masks in (self.root, *self.root.parents)


def _gather(asked: _Asked, harvest: Harvest) -> None:
    """Gather the images of a folder, each with what table, folders and masks say of it."""
    tree = read_tree(asked.root, but=None if asked.together else asked.masks)
    photos, masks = part_masks(tree)
    photos = _without_superpixels(photos, harvest)
    if not photos:
        raise DidgenError(_nothing(tree, masks))
    table = read_labels(asked.labels, harvest) if asked.labels else None
    folders = understand(tree, photos, asked.folders, labelled=table is not None)
    chosen = _masks(asked, tree, photos, masks, harvest)
    if folders.sentence:
        harvest.note(folders.sentence)
    rows: Mapping[Path, ImageRow] = {}
    out: set[Path] = set()
    if table:
        rows, out = assign(table.rows, photos, tree.foreign, harvest)
        harvest.note(table.sentence)
        _warn_of_folders(asked.root, rows, harvest)
    found: dict[Path, tuple[Place, ImageRow | None, Path | None]] = {}
    for path in photos:
        if path in out or (table and path not in rows and composed(path.stem) in table.faulty):
            continue
        if said := _said(path, asked, folders, rows.get(path), harvest):
            mask = chosen.get(path)
            if asked.masks and mask is None and not said[0].label:
                sentence = f"{path} has neither a label nor a mask in {asked.masks}; add one."
                harvest.reject(path, "missing-mask", sentence)
            else:
                found[path] = (*said, mask)
    keys = _keys(asked.root, {path: place for path, (place, _, _) in found.items()})
    harvest.candidates += [
        _candidate(path, keys[path], *facts, asked) for path, facts in found.items()
    ]
    _tell_rest(asked, tree, folders, table is not None, harvest)


def _candidate(
    path: Path,
    key: str,
    place: Place,
    row: ImageRow | None,
    mask: Path | None,
    asked: _Asked,
) -> Candidate:
    lesion, patient = (row.lesion_id, row.patient_id) if row else (None, None)
    return Candidate(
        key=key,
        image=path,
        mask=mask,
        label=place.label,
        lesion_id=lesion or place.lesion or key,
        split=place.split,
        source=asked.root.name,
        licence=asked.licence,
        patient_id=patient or place.patient,
    )


def _said(
    path: Path, asked: _Asked, folders: Folders, row: ImageRow | None, harvest: Harvest
) -> tuple[Place, ImageRow | None] | None:
    """What folders and table say of an image; None, with the reason, if it is left out."""
    place = folders.places.get(path)
    if place is None:
        needed = "/".join(folders.levels)
        sentence = f"{path} does not lie in folders of {needed}, unlike others; move it into such."
        harvest.reject(path, "missing-label", sentence)
        return None
    if asked.labels is None:
        if "class" in folders.levels and place.label is None:
            name = path.relative_to(asked.root).parts[folders.levels.index("class")]
            sentence = f"{path} lies in the folder {name}, which names no class; rename that."
            harvest.reject(path, "missing-label", sentence)
            return None
        return place, None
    if row is None:
        sentence = f"{path} has no row in {asked.labels}; add the row."
        harvest.reject(path, "missing-label", sentence)
        return None
    if row.split and place.split and row.split != place.split:
        raise DidgenError(
            f"{path} is given to {row.split} by {row.place} and to {place.split} by its folder; "
            "correct the row, or take the column out."
        )
    return Place(row.split or place.split, row.label, place.patient, place.lesion), row


def _warn_of_folders(root: Path, rows: Mapping[Path, ImageRow], harvest: Harvest) -> None:
    """Say how many images lie in the folder of another class than their row gives."""
    labels = {row.label for row in rows.values()}
    others = []
    for path, row in rows.items():
        said = labels.intersection(map(label_of, path.relative_to(root).parts[:-1]))
        if said and row.label not in said:
            others.append(path)
    if others:
        first = rows[others[0]]
        harvest.note(
            f"Warning: {len(others)} images lie in the folder of another class than their row "
            f"gives, and the row counted; the first: {others[0]}, {first.label} by {first.place}."
        )


def _without_superpixels(photos: Sequence[Path], harvest: Harvest) -> list[Path]:
    """The images that are not maps of superpixels, which ISIC ships among them."""
    maps = [path for path in photos if SUPERPIXELS.search(path.stem)]
    for path in maps:
        sentence = f"{path} is a map of superpixels by its name, not a photograph; take it out."
        harvest.reject(path, "looks-like-mask", sentence)
    return [path for path in photos if path not in {*maps}]


def _nothing(tree: Tree, masks: Sequence[Path]) -> str:
    """Why a folder holds nothing to import."""
    if masks:
        return f"{tree.root} holds masks alone, such as {masks[0]}; name the folder of the images."
    foreign = listed(sorted({*tree.foreign.values()}))
    others = f", but {len(tree.foreign)} of {foreign}; save them as PNG" if tree.foreign else ""
    ends = " ".join(IMAGE_SUFFIXES)
    return f"{tree.root} holds no image ({ends}){others or '; check the path'}."


def _masks(
    asked: _Asked, tree: Tree, photos: Sequence[Path], inside: Sequence[Path], harvest: Harvest
) -> dict[Path, Path]:
    """The mask of each image; masks that nobody asked for are left out of the images."""
    folder = asked.masks
    for path in () if asked.together else inside:
        sentence = (
            f"{path} is a mask by its name, not a photograph; give masks with --masks, which may "
            "name the folder of the images too."
        )
        harvest.reject(path, "looks-like-mask", sentence)
    if folder is None:
        return {}
    masks, foreign = (list(inside), tree.foreign) if asked.together else ([], {})
    if folder != tree.root:
        apart = read_tree(folder, but=tree.root if asked.together else None)
        masks, foreign = [*masks, *apart.images], {**foreign, **apart.foreign}
        reject_foreign(apart, harvest)
    before = len(harvest.rejections)
    chosen = match_masks(masks, folder, Names(photos), harvest)
    unclear = [r.sentence for r in harvest.rejections[before:] if r.reason == "duplicate-id"]
    if not chosen and unclear:
        raise DidgenError(f"{folder} holds no mask of one image alone: {unclear[0]}")
    if not chosen:
        raise DidgenError(_no_mask(asked, masks, foreign))
    return chosen


def _no_mask(asked: _Asked, masks: Sequence[Path], foreign: Mapping[Path, str]) -> str:
    """Why no mask of a folder is of an image."""
    if foreign and not masks:
        kinds = listed(sorted({*foreign.values()}))
        return (
            f"{asked.masks} holds no mask that is read, but {len(foreign)} files of {kinds}; save "
            "them as PNG."
        )
    first = f"; {masks[0]} is the first of {len(masks)}" if masks else ""
    ending = "an" if asked.together else "or without an"
    return (
        f"{asked.masks} holds no mask that has the name of an image{first}; name masks like their "
        f"images, with {ending} ending such as _mask."
    )


def _tell_rest(
    asked: _Asked, tree: Tree, folders: Folders, labelled: bool, harvest: Harvest
) -> None:
    """Leave out pictures of other formats, and say what else was passed by."""
    place = folders.levels.index("class") if "class" in folders.levels and not labelled else None
    labels = {}
    for path in tree.foreign:
        names = tree.folders_of(path)
        if place is not None and len(names) > place:
            labels[path] = label_of(names[place])
    reject_foreign(tree, harvest, labels)
    note_others(tree, harvest, {asked.labels.resolve()} if asked.labels else ())
    if empty := _empty_folders(tree, len(folders.levels), asked.masks):
        harvest.note(f"Folders without an image: {listed(empty)}.")
    tables = [path for path in tree.others if path.suffix.lower() in (".csv", ".tsv")]
    if tables and asked.labels is None:
        harvest.note(f"{listed([str(t) for t in tables])}: give a table of labels with --labels.")


def _empty_folders(tree: Tree, depth: int, masks: Path | None) -> list[str]:
    """The folders at a depth that hold nothing, such as those of a class that is to come."""
    held = {folder for path in (*tree.images, *tree.foreign) for folder in path.parents}
    found = sorted(tree.root.glob("/".join("*" * depth))) if depth else []
    return [
        path.relative_to(tree.root).as_posix()
        for path in found
        if path.is_dir() and path not in held and path != masks
        if path.name[0] != "." and path.name not in JUNK and not path.is_symlink()
    ]


def _keys(root: Path, places: Mapping[Path, Place]) -> dict[Path, str]:
    """The key of each image: its stem, after class, split or folders where others have it too."""
    alike: defaultdict[str, list[Path]] = defaultdict(list)
    for path in places:
        alike[_key(composed(path.stem))].append(path)

    def named(path: Path, *before: str | None) -> str:
        return _key("-".join([*filter(None, before), composed(path.stem)]), shortened=any(before))

    def folder(path: Path) -> str:
        return "-".join(path.relative_to(root).parts[:-1])

    ways: tuple[Callable[[Path], str], ...] = (
        lambda path: named(path),
        lambda path: named(path, places[path].label),
        lambda path: named(path, places[path].split, places[path].label),
        lambda path: named(path, folder(path)),
    )
    keys: dict[Path, str] = {}
    for paths in alike.values():
        parents = len({path.parent for path in paths})
        way = next((w for w in ways if len({*map(w, paths)}) >= parents), ways[-1])
        keys |= {path: way(path) for path in paths}
    return keys


def _key(name: str, *, shortened: bool = False) -> str:
    """A name made safe; one that was put together is cut where it is too long."""
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", name)
    if name.isascii() and not (shortened and len(safe) > LONGEST_KEY):
        return safe
    # Names of other scripts have little left that tells them apart.
    own = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{safe.strip('-')[: LONGEST_KEY - 9]}-{own}".lstrip("-")
