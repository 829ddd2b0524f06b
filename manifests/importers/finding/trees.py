"""Trees: a user's folder read once, with its images, its files of other formats and the rest."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from didgen.manifests.errors import DidgenError
from didgen.manifests.files import is_litter, naming
from didgen.manifests.images import IMAGE_SUFFIXES
from didgen.manifests.importers.finding.harvest import Harvest

FOREIGN = {
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "DICOM": (".dcm", ".dicom", ".dic"),
    "HEIC": (".heic", ".heif", ".hif"),
    "AVIF": (".avif",),
    "JPEG 2000": (".jp2", ".j2k", ".jpx"),
    "JPEG XL": (".jxl",),
    "raw": (".dng", ".nef", ".cr2", ".cr3", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"),
    "PNM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "TGA": (".tga",),
    "PSD": (".psd",),
}
"""Formats of pictures that are not read, by the endings of their files."""

FOREIGN_SUFFIXES = {suffix: name for name, suffixes in FOREIGN.items() for suffix in suffixes}

MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"GIF8": "GIF",
    b"8BPS": "PSD",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"version https://git-lfs": "a pointer of Git LFS",
}
"""How files of some formats begin, whatever their names say."""

BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"), "HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
}
"""What stands after `ftyp` in files of the formats that phones write."""

JUNK = {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
"""Folders that systems make, some of them with small copies of the images."""

CONTAINERS = {
    *("image", "images", "img", "imgs", "photo", "photos", "photograph", "photographs", "picture"),
    *("pictures", "data", "dataset", "input", "inputs", "jpg", "jpeg", "png", "all"),
}
"""Words of folders that hold images of any kind, and name no class."""

MASK_WORDS = {
    *("mask", "masks", "segmentation", "segmentations", "seg", "groundtruth", "gt"),
    *("annotation", "annotations"),
}
"""Words of folders that hold masks."""

NAMED = 3
"""So many names of a list are told, and the number of the rest."""


@dataclass(frozen=True)
class Tree:
    """The files below a folder, each sorted: images, pictures of other formats, and the rest."""

    root: Path
    images: Sequence[Path]
    foreign: dict[Path, str]
    others: Sequence[Path]

    def folders_of(self, path: Path) -> tuple[str, ...]:
        """The names of the folders between the root and a file, composed."""
        return _names_between(self.root, path.parent)


@cache
def _names_between(root: Path, folder: Path) -> tuple[str, ...]:
    return tuple(composed(name) for name in folder.relative_to(root).parts)


def composed(text: str) -> str:
    """Text in Unicode's composed form (NFC): some systems store the names of files in parts."""
    return unicodedata.normalize("NFC", text)


def words_of(name: str) -> list[str]:
    """The words of a folder's name in lower case; numbers are none."""
    text = composed(name).casefold().replace("ground_truth", "groundtruth")
    return re.findall(r"[^\W\d_]+", text.replace("ground truth", "groundtruth"))


def is_container(name: str) -> bool:
    """Whether a folder's name says no more than that it holds images."""
    words = words_of(name)
    return bool(words) and CONTAINERS.issuperset(words)


def is_mask_folder(name: str) -> bool:
    """Whether a folder is one of masks by its name."""
    return not MASK_WORDS.isdisjoint(words_of(name))


def listed(names: Sequence[str], several: int = NAMED) -> str:
    """The first names of a list, and how many more there are."""
    rest = len(names) - several
    return ", ".join(names[:several]) + (f" and {rest} more" if rest > 0 else "")


def existing_folder(path: Path) -> Path:
    """A folder by its absolute name; anything else is a `DidgenError`."""
    if not path.is_dir():
        raise DidgenError(f"{path} is not a folder; check the path.")
    return path.resolve()


def read_tree(folder: Path, but: Path | None = None) -> Tree:
    """The files below a folder, without hidden ones and those below `but`; links are followed.

    A folder that may not be opened is a `DidgenError`: nobody knows what it holds.
    """
    images, foreign, others = [], {}, []
    for path in _files(folder, but):
        suffix = path.suffix.lower()
        # A link to nowhere is told by who opens it: its file was to be here.
        if is_litter(path.name) or not (path.is_file() or path.is_symlink()):
            continue
        if suffix in IMAGE_SUFFIXES:
            images.append(path)
        elif form := FOREIGN_SUFFIXES.get(suffix) or _sniffed(path, suffix):
            foreign[path] = form
        else:
            others.append(path)
    return Tree(folder, sorted(images), dict(sorted(foreign.items())), sorted(others))


def _sniffed(path: Path, suffix: str) -> str | None:
    """The format of a picture whose name does not tell it, such as DICOM's without an ending."""
    if suffix and not suffix[1:].isdigit():
        return None
    try:
        with naming(path), open(path, "rb") as file:
            return form_of(file.read(132))
    except (PermissionError, FileNotFoundError):
        return None


def form_of(start: bytes) -> str | None:
    """The format of a picture by its first 132 bytes, if it is a known one."""
    if start[128:132] == b"DICM":
        return "DICOM"
    if start[4:8] == b"ftyp":
        return BRANDS.get(start[8:12])
    return next((name for magic, name in MAGIC.items() if start.startswith(magic)), None)


def reject_foreign(tree: Tree, harvest: Harvest, label_of: dict[Path, str] | None = None) -> None:
    """Leave out the pictures of other formats, each by its name."""
    for path, form in tree.foreign.items():
        mend = "save it as PNG"
        if form in ("JPEG", "PNG"):
            form, mend = f"{form} without its ending", "add that to its name"
        sentence = f"{path} is {form}, which is not read; {mend}."
        harvest.reject(path, "other-format", sentence, (label_of or {}).get(path))


def note_others(tree: Tree, harvest: Harvest, used: Container[Path] = ()) -> None:
    """Say how many files of which formats were passed by, and which of them might be tables."""
    if tree.foreign:
        counts = Counter(tree.foreign.values())
        told = ", ".join(f"{count} {form}" for form, count in sorted(counts.items()))
        harvest.note(f"Pictures in formats that are not read, left out: {told}.")
    rest = [path for path in tree.others if path not in used]
    if rest:
        counts = Counter(path.suffix.lower().lstrip(".") or "no ending" for path in rest)
        told = ", ".join(f"{count} {end}" for end, count in sorted(counts.items()))
        harvest.note(f"Files that are no images, passed by: {told}.")


def _files(folder: Path, but: Path | None) -> Iterator[Path]:
    """The files below a folder; a folder that is linked to is read too, unless it is among them."""

    def refuse(error: OSError) -> None:
        if not isinstance(error, PermissionError):
            raise error
        raise DidgenError(
            f"{error.filename} cannot be opened; mend its rights, or take it out."
        ) from None

    seen = {but}
    tops = [folder]
    # Links come after all folders, so that each folder is read by its own name where it has one.
    for top in tops:
        for place, folders, files in os.walk(top, onerror=refuse):
            here = Path(place)
            hidden = here != top and (here.name.startswith(".") or here.name in JUNK)
            if hidden or here.resolve() in seen:
                folders.clear()
                continue
            seen.add(here.resolve())
            tops += (here / name for name in sorted(folders) if (here / name).is_symlink())
            yield from (here / name for name in files if not name.startswith("."))


class Names:
    """Files by their names, and by their folders where several have one name.

    Case does not matter where no file has the name as it is given.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._exact: dict[str, list[Path]] = {}
        self._folded: dict[str, list[Path]] = {}
        for path in paths:
            stem = composed(path.stem)
            self._exact.setdefault(stem, []).append(path)
            self._folded.setdefault(stem.casefold(), []).append(path)
        above = len(Path(os.path.commonpath([p.parent for p in paths])).parts) if paths else 0
        inner = {path.parts[above:-1] for path in paths}
        self._folders = {name for names in inner for name in _telling(names)}

    def find(self, name: str, folder: Sequence[str] = ()) -> list[Path]:
        """The files of this name; of several, those whose folders end most like `folder`."""
        found = self._exact.get(name) or self._folded.get(name.casefold(), [])
        wanted = _telling(folder)
        if not wanted or not found:
            return found
        alike = [self.alike(path, folder) for path in found]
        best = max(alike)
        if best == 0:
            # The file of another folder of the tree is meant, and is not here.
            return [] if wanted[-1] in self._folders else found
        return [path for path, count in zip(found, alike, strict=True) if count == best]

    @staticmethod
    def alike(path: Path, folder: Sequence[str]) -> int:
        """How many folders above a file are those that `folder` ends with."""
        count = 0
        wanted = reversed(_telling(folder))
        for one, other in zip(reversed(_telling(path.parts[:-1])), wanted, strict=False):
            if one != other:
                break
            count += 1
        return count


def _telling(folders: Sequence[str]) -> list[str]:
    """What tells folders apart: `train_masks` and `Train images` are both of `train`."""
    names = []
    for name in folders:
        rest = composed(name).casefold()
        words = set(words_of(name)) - CONTAINERS - MASK_WORDS
        if len(words) < len(set(words_of(name))):
            rest = " ".join(sorted(words) + re.findall(r"\d+", name))
        if rest:
            names.append(rest)
    return names
