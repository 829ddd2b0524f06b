"""Gathering: the parts of a public set found in a folder, however deep they lie, and read."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Literal

from didgen.manifests.errors import DidgenError
from didgen.manifests.importers.admission import Import, ImportOptions, admit
from didgen.manifests.importers.collection import Collection, Part, Table
from didgen.manifests.importers.finding.folders import split_named
from didgen.manifests.importers.finding.harvest import Candidate, Harvest
from didgen.manifests.importers.finding.masks import SUPERPIXELS, named_as_mask
from didgen.manifests.importers.finding.tables import Row, read_table, squashed, stated
from didgen.manifests.importers.finding.trees import (
    Tree,
    composed,
    existing_folder,
    note_others,
    read_tree,
    reject_foreign,
)
from didgen.manifests.importers.labels import ImageRow, assign, image_of
from didgen.manifests.sources.rejections import Reason


def import_collection(
    collection: Collection, root: Path, options: ImportOptions | None = None
) -> Import:
    """Import whatever parts of a public set a folder holds, however deep their folders lie.

    A part of which something is missing is left out with the reason. No part, or nothing sound in
    them, is a `DidgenError`.
    """
    root, harvest = existing_folder(root), Harvest()
    tree = read_tree(root)
    parts = [_Gathering(collection, part, tree, harvest) for part in collection.parts]
    # Every part is looked at, whether or not an earlier one was found.
    found = [part.gather() for part in parts]
    if not any(found):
        raise DidgenError(_nothing(collection, root, harvest))
    used = {path for part in parts for path in part.used}
    if rest := [path for path in tree.images if path not in used]:
        harvest.note(
            f"{len(rest)} images are of no part that can be imported, and were passed by; the "
            f"first: {rest[0]}."
        )
    if copies := sum(part.copies for part in parts):
        harvest.note(f"{copies} files are second copies of images and masks, and were passed by.")
    reject_foreign(tree, harvest)
    note_others(tree, harvest, used)
    return admit(harvest, importer=collection.name, root=root, options=options or ImportOptions())


def _nothing(collection: Collection, root: Path, harvest: Harvest) -> str:
    """Why a folder holds no part of a set."""
    dealt = [part for part in collection.parts if part.split is None]
    folders = [part.images[0] for part in dealt if part.images]
    tables = [table.files[0] for part in dealt for table in part.labels[:1]]
    names = list(dict.fromkeys(folders or tables))
    told = f"neither {names[0]} nor {names[-1]}" if len(names) > 1 else f"no {names[0]}"
    first = f" ({harvest.rejections[0].sentence.rstrip('.')})" if harvest.rejections else ""
    return (
        f"{root} holds {told} with images of {collection.title}{first}; give the folder that its "
        "archives were unpacked into."
    )


def _matching(paths: Iterable[Path], pattern: str) -> list[Path]:
    """The files of a name, in any case."""
    return [path for path in paths if fnmatchcase(path.name.lower(), pattern.lower())]


@dataclass
class _Gathering:
    """The gathering of one part of a set from a tree.

    `used` are the files that it knows, `copies` further files of the same images and masks.
    """

    collection: Collection
    part: Part
    tree: Tree
    harvest: Harvest
    used: set[Path] = field(default_factory=set)
    copies: int = 0
    table: Table | None = None

    @property
    def title(self) -> str:
        """The part as a sentence names it."""
        return f"{self.collection.title} {self.part.name}".strip()

    def gather(self) -> bool:
        """Gather the images of the part; False if there are none."""
        part, root = self.part, self.tree.root
        images, masks = self._images(), self._masks()
        if not images:
            self._tell_missing_images(masks)
            return False
        self.used.update(masks if part.listed_only else [*images, *masks])
        rows = self._labels()
        if rows is None:
            return True
        found = {"label": bool(rows), "mask": bool(masks), "either": bool(rows or masks)}
        if not found[part.needs]:
            kind = "masks in" if part.needs == "mask" else "table"
            name = part.masks[0] if part.needs == "mask" else part.labels[0].files[0]
            sentence = (
                f"{root} has the images of {self.title} but no {kind} {name}, so they were left "
                "out; unpack that too."
            )
            self.harvest.reject(root / name, "missing-ground-truth", sentence)
            return True
        complete = self.table is not None and self.table.complete
        absent: Literal["told", "expected"] = "told" if complete else "expected"
        said, out = assign(rows, images, self.tree.foreign, self.harvest, absent=absent)
        lesions = self._lesions(images, out)
        if part.lesions_needed and not any(row.lesion_id for row in (*lesions.values(), *rows)):
            names = [table.files[0] for table in part.lesions]
            sentence = (
                f"{root} has neither {' nor '.join(names)} with lesion ids, without which splits "
                f"would share lesions, so {self.title} was left out; add one of them."
            )
            self.harvest.reject(root / names[0], "missing-lesion", sentence)
            return True
        before = len(self.harvest.candidates)
        self._admit(images, masks, said, lesions, out)
        count = len(self.harvest.candidates) - before
        split = f"for {part.split}" if part.split else "dealt to the splits"
        if self.table is not None and self.table.split:
            split = f"with the splits that {self._at(self.table)[0].name} gives"
        self.harvest.note(f"{self.title}: {count} images, {split}.")
        return True

    def _tell_missing_images(self, masks: Mapping[Path, str]) -> None:
        """Reject the truth of a part whose images are not here."""
        tables = [path for table in self.part.labels if table.complete for path in self._at(table)]
        truth = [*tables, *(path.parent for path in masks if self.part.needs != "label")]
        if truth:
            name = self.part.images[0] if self.part.images else "the images"
            sentence = (
                f"{truth[0]} is of {self.title}, but there are no images in {name}, so it was "
                "passed by; unpack them too."
            )
            self.harvest.reject(truth[0], "missing-image", sentence)
            self.used.update(truth)

    def _inside(self, patterns: Sequence[str]) -> list[Path]:
        """The image files in folders of these names, those of the first name before others."""
        found = []
        for pattern in patterns:
            names = {name for names in self._folders.values() for name in names}
            wanted = {name for name in names if fnmatchcase(name.lower(), pattern.lower())}
            found += [p for p, names in self._folders.items() if not wanted.isdisjoint(names)]
        return found

    @cached_property
    def _folders(self) -> dict[Path, tuple[str, ...]]:
        """The folders above each image of the tree."""
        return {path: self.tree.folders_of(path) for path in self.tree.images}

    def _images(self) -> list[Path]:
        """The images of the part, without masks, superpixels and second copies."""
        found: dict[str, Path] = {}
        for path in self._inside(self.part.images) if self.part.images else self.tree.images:
            stem = composed(path.stem)
            if SUPERPIXELS.search(stem) or (self.part.masks and named_as_mask(stem)):
                self.used.add(path)
            else:
                self._take(path, stem, found)
        return sorted(found.values())

    def _masks(self) -> dict[Path, str]:
        """The masks of the part, each with the name of its image."""
        found: dict[str, Path] = {}
        for path in self._inside(self.part.masks):
            if name := named_as_mask(composed(path.stem)):
                self._take(path, name, found)
        return {path: named_as_mask(composed(path.stem)) or "" for path in found.values()}

    def _take(self, path: Path, name: str, found: dict[str, Path]) -> None:
        """Take a file by its name; a second one of the same size is a copy of it."""
        if name not in found:
            found[name] = path
        elif path not in found.values():
            if found[name].stat().st_size == path.stat().st_size and not self.part.listed_only:
                self.copies += 1
                self.used.add(path)
            else:
                found[str(path)] = path

    def _at(self, table: Table) -> list[Path]:
        """The files of a table: those of the first of its names that is there."""
        return next(filter(None, (_matching(self.tree.others, name) for name in table.files)), [])

    def _labels(self) -> list[ImageRow] | None:
        """The rows of the table of labels; None, with the reason, where it cannot be used."""
        faults = []
        for table in self.part.labels:
            if self._at(table):
                try:
                    rows = self._read(table)
                except DidgenError as error:
                    faults.append((self._at(table)[0], str(error)))
                else:
                    self.table = table
                    return rows
        for path, fault in faults[:1]:
            sentence = f"{fault.removesuffix('.')}; {self.title} was left out."
            self.harvest.reject(path, "bad-table", sentence)
        return None if faults else []

    def _lesions(self, images: Sequence[Path], out: set[Path]) -> dict[Path, ImageRow]:
        """The lesion of each image by the tables of lesions; those at fault are added to `out`."""
        lesions: dict[Path, ImageRow] = {}
        for table in self.part.lesions:
            try:
                rows = [row for row in self._read(table) if row.lesion_id or row.patient_id]
            except DidgenError as error:
                self.harvest.reject(self._at(table)[0], "bad-table", str(error))
                continue
            found, faulty = assign(rows, images, {}, self.harvest, absent="expected")
            lesions = found | lesions
            out |= faulty
        return lesions

    def _read(self, table: Table) -> list[ImageRow]:
        """The rows of a table; those that another copy of its file repeats are there once."""
        rows: list[ImageRow] = []
        for path in self._at(table):
            self.used.add(path)
            raw = (table.read or (lambda path: read_table(path, table.needed, table.header)))(path)
            lacking = [name for name in table.needed if squashed(name) not in raw.columns]
            if lacking:
                raise DidgenError(
                    f"{path} has no column {', '.join(lacking)}; restore it as "
                    f"{self.collection.title} ships it."
                )
            self.harvest.rejections += raw.rejections
            known = {(row.folder, row.name, *row.said.items()) for row in rows}
            new = [self._row(table, cells) for cells in raw.rows]
            rows += [r for r in new if (r.folder, r.name, *r.said.items()) not in known]
        return rows

    def _row(self, table: Table, row: Row) -> ImageRow:
        folder, name = image_of(row.get(table.image))
        label = table.label(row) if callable(table.label) else row.get(table.label or "")
        written = label if label.lower() in self.collection.labels else stated(label)
        return ImageRow(
            name,
            folder,
            row.place,
            self.collection.labels.get(written.lower()),
            stated(row.get(table.lesion)) or None,
            stated(row.get(table.patient)) or None,
            split_named(row.get(table.split)) if table.split else None,
            row.get(table.licence) or None if table.licence else None,
            written,
            table.unfit(row) if table.unfit else "",
        )

    def _admit(
        self,
        images: Sequence[Path],
        masks: Mapping[Path, str],
        rows: Mapping[Path, ImageRow],
        lesions: Mapping[Path, ImageRow],
        out: set[Path],
    ) -> None:
        """Make the images candidates, each with what tables and masks say of it."""
        part = self.part
        chosen = self._mask_of(images, masks)
        for image in images:
            row, lesion = rows.get(image), lesions.get(image)
            if image in out or (part.listed_only and row is None):
                continue
            self.used.add(image)
            if fault := self._fault(image, row, lesion, chosen.get(image)):
                self.harvest.reject(image, *fault)
                continue
            said = [one for one in (row, lesion) if one]
            self.harvest.candidates.append(
                Candidate(
                    key=composed(image.stem),
                    image=image,
                    mask=chosen.get(image),
                    label=row.label if row else None,
                    lesion_id=next((o.lesion_id for o in said if o.lesion_id), None)
                    or composed(image.stem),
                    split=part.split or (row.split if row else None),
                    source=part.source or self.collection.name,
                    licence=(row and row.licence) or part.licence or self.collection.licence,
                    patient_id=next((o.patient_id for o in said if o.patient_id), None),
                )
            )

    def _fault(
        self, image: Path, row: ImageRow | None, lesion: ImageRow | None, mask: Path | None
    ) -> tuple[Reason, str] | None:
        """Why an image is left out, if it is."""
        part, table = self.part, self.table
        if row is not None and row.written:
            self.harvest.label_map[row.written, row.label] += 1
        if mask is None and (part.needs == "mask" or table is None):
            return "missing-mask", f"{image} has no mask {image.stem}_segmentation.png; restore it."
        if table is not None and row is None:
            return "missing-label", f"{image} has no row in {self._at(table)[0].name}; add the row."
        if row is not None and row.unfit:
            return "not-dermoscopic", f"{image} {row.unfit}, by {row.place.name}; it was left out."
        if row is not None and row.label is None and (mask is None or part.needs == "label"):
            if row.written:
                sentence = f"{image} is {row.written} by {row.place.name}, which is no class here"
                return "other-label", f"{sentence}; {self.collection.hint}."
            sentence = f"{row.place} gives {image.name} no single label; correct the row."
            return "missing-label", sentence
        if part.lesions_needed and not any(one and one.lesion_id for one in (row, lesion)):
            name = part.lesions[0].files[0]
            return "missing-lesion", f"{image} has no lesion id in {name}; add the row."
        return None

    def _mask_of(self, images: Sequence[Path], masks: Mapping[Path, str]) -> dict[Path, Path]:
        """The mask of each image; where masks are the truth, one without an image is rejected."""
        by_name = {composed(image.stem).lower(): image for image in images}
        chosen: dict[Path, Path] = {}
        for mask, name in masks.items():
            image = by_name.get(name.lower())
            if image is None:
                if self.part.needs != "label":
                    sentence = f"{mask} has no image {name}.jpg; restore it."
                    self.harvest.reject(mask, "missing-image", sentence)
            elif image in chosen:
                sentence = f"{mask} is a second mask beside {chosen[image]}; remove one of the two."
                self.harvest.reject(mask, "duplicate-id", sentence)
            else:
                chosen[image] = mask
        return chosen
