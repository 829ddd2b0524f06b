"""The survey: what a folder holds, told by the importers themselves, which write nothing here."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from didgen.manifests.errors import DidgenError
from didgen.manifests.importers.admission import Import, ImportOptions
from didgen.manifests.importers.collection import Collection
from didgen.manifests.importers.finding.folders import public_importer
from didgen.manifests.importers.finding.trees import existing_folder, is_mask_folder, read_tree
from didgen.manifests.importers.folder import import_folder
from didgen.manifests.importers.gathering import import_collection
from didgen.manifests.next_step import then
from didgen.manifests.progress import Progress
from didgen.manifests.sources.records import HEADER_FILE, SourceManifest

PRIVATE = "private, not to be shared"
"""What stands as the licence of photographs whose owner names none: nothing made of them can be
pushed then."""


@dataclass(frozen=True)
class Survey:
    """What a folder holds: a source, a public set or photographs; and how it is imported.

    manifest: what an import would write; notes: what it would say; command: the words of that
    import without its --out, or none where the folder is a source.
    """

    place: Path
    manifest: SourceManifest
    notes: tuple[str, ...] = ()
    command: tuple[str, ...] = ()

    @property
    def masked(self) -> bool:
        """Whether a training image has a mask."""
        return bool(self.manifest.select(split="train", masked=True))

    @property
    def captioned(self) -> bool:
        """Whether every image has a caption."""
        return all(record.caption for record in self.manifest.records)

    @property
    def training(self) -> int:
        """How many images are trained on: those of the training split that have a mask, or, where
        none has, all that are to get one."""
        train = self.manifest.select(split="train")
        return sum(record.mask is not None for record in train) or len(train)

    def sentences(self) -> list[str]:
        """What it holds, in words."""
        records, counts = self.manifest.records, {}
        for name in self.manifest.header.classes:
            counts[name] = sum(record.label == name for record in records)
        named = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        masks = sum(record.mask is not None for record in records)
        there = f"{len(records)} images ({named or 'without classes'}), {masks} with a mask"
        return [*self.notes, f"{self.place} holds {there}. {self.training} are to be trained on."]


def survey(place: Path, licence: str, progress: Progress | None = None) -> Survey:
    """Look at a folder: every image is opened once, and nothing is written.

    Raises DidgenError, by the importers, for a folder that none of them understands.
    """
    if (place / HEADER_FILE).is_file():
        return Survey(place, SourceManifest.read(place))
    root = existing_folder(place)
    options = ImportOptions(progress=progress)
    folders = sorted(one for one in root.iterdir() if one.is_dir())
    for one in (root, *folders):
        if name := public_importer(one.name):
            found = import_collection(_collection(name), root, options)
            return _surveyed(place, found, then("import", name, place))
    masks = [one for one in folders if is_mask_folder(one.name)]
    tables = [file for file in sorted(root.iterdir()) if file.suffix.lower() in (".csv", ".tsv")]
    if len(masks) > 1 or len(tables) > 1:
        several = (masks if len(masks) > 1 else tables)[:2]
        raise DidgenError(
            f"{place} holds both {several[0].name} and {several[1].name}; say which is meant by "
            "`didgen import folder` with --masks and --labels, and call `init` on that source."
        )
    images = _images(root, folders, masks)
    found = import_folder(
        images,
        licence=licence,
        masks=masks[0] if masks else None,
        labels=tables[0] if tables else None,
        options=options,
    )
    words: list[str | Path] = ["import", "folder", place / images.relative_to(root)]
    words += ["--masks", place / masks[0].name] if masks else []
    words += ["--labels", place / tables[0].name] if tables else []
    return _surveyed(place, found, then(*words, "--licence", licence))


def _collection(name: str) -> Collection:
    module: Any = import_module(f"didgen.manifests.importers.{name.replace('-', '_')}")
    labelled = hasattr(module, "collection")
    found: Collection = module.collection("diagnosis") if labelled else module.COLLECTION
    return found


def _surveyed(place: Path, found: Import, command: tuple[str, ...]) -> Survey:
    rejected = len(found.rejections)
    notes = [*found.notes, *([f"{rejected} files would be rejected."] if rejected else [])]
    return Survey(place, found.manifest, tuple(notes), command)


def _images(root: Path, folders: list[Path], masks: list[Path]) -> Path:
    """The folder of the images: the one beside the masks, where it is the only one that has any."""
    if not masks or any(file.parent == root for file in read_tree(root).images):
        return root
    others = [one for one in folders if one not in masks and read_tree(one).images]
    return others[0] if len(others) == 1 else root
