"""Folders: what those above the images mean, splits or classes, patients or lesions or nothing."""

import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from didgen.manifests.choices import Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.importers.finding.tables import label_of, stated
from didgen.manifests.importers.finding.trees import (
    Tree,
    is_container,
    is_mask_folder,
    listed,
    words_of,
)

Level: TypeAlias = Literal["split", "class", "patient", "lesion", "skip"]
"""What the folders of one level name; `skip` is nothing."""

LEVELS: tuple[Level, ...] = get_args(Level)

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Names of the splits, in lower case."""

PARTS = {*SPLIT_NAMES, "fold", "folds", "part", "parts", "batch", "subset"}
"""Words of folders that part a data set otherwise than by class."""

PUBLIC = {
    "isbi2016_*": "isic2016",
    "isic-2017_*": "isic2017",
    "isic2018_*": "isic2018",
    "isic_2019_*": "isic2019",
    "isic_2020_*": "isic2020",
    "ham10000_*": "ham10000",
    "bcn_20k_*": "bcn20000",
    "ph2 dataset*": "ph2",
    "ph2dataset*": "ph2",
    "*_dermoscopic_image": "ph2",
}
"""Folders of public sets, in lower case, each with the importer that knows the set."""

SINGLES = 10
"""From so many folders on, most of them with one or two images, they are no classes."""


@dataclass(frozen=True)
class Place:
    """What the folders above one image say of it."""

    split: Split | None = None
    label: str | None = None
    patient: str | None = None
    lesion: str | None = None


@dataclass(frozen=True)
class Folders:
    """What the folders of a tree mean, level by level, and what each image's say of it.

    Images that do not lie deep enough have no place.
    """

    levels: tuple[Level, ...]
    places: Mapping[Path, Place]
    sentence: str


def split_named(name: str) -> Split | None:
    """The split that a name stands for, in any case."""
    return SPLIT_NAMES.get(name.strip().casefold())


def read_levels(text: str) -> tuple[Level, ...]:
    """Levels as an option gives them, such as `split/class`; anything else is a `DidgenError`."""
    found = tuple(level for word in text.split("/") for level in LEVELS if level == word.strip())
    if len(found) != len(text.split("/")) or len({*found} - {"skip"}) != len(
        [level for level in found if level != "skip"]
    ):
        raise DidgenError(
            f"{text} does not say what folders mean; give a word for each level, of "
            f"{', '.join(LEVELS)}, such as split/class."
        )
    return found


def understand(
    tree: Tree, images: Sequence[Path], asked: tuple[Level, ...] | None, *, labelled: bool = False
) -> Folders:
    """What the folders above images mean: as `asked`, or as their names tell.

    With a table of labels (`labelled`) they can be splits or nothing. Names that do not tell are a
    `DidgenError` with the command that does.
    """
    above = {path: tree.folders_of(path) for path in images}
    levels = asked
    if levels is None:
        levels = _levels(tree.root, above.values(), labelled)
        _refuse_lone_class(tree.root, above.values(), levels)
    places = {path: place for path, names in above.items() if (place := _place(names, levels))}
    return Folders(levels, places, _sentence(levels, above.values(), tree.root))


def _place(names: tuple[str, ...], levels: tuple[Level, ...]) -> Place | None:
    """What folders say; None where there are too few of them, or one is no split."""
    if len(names) < len(levels):
        return None
    told = dict(zip(levels, names, strict=False))
    split = _by_words(told["split"]) if "split" in told else None
    if "split" in told and split is None:
        return None
    return Place(
        split,
        label_of(told.get("class", "")) or None,
        stated(told.get("patient", "")) or None,
        stated(told.get("lesion", "")) or None,
    )


def _by_words(name: str) -> Split | None:
    """The split that is among the words of a name, if there is one."""
    found = {SPLIT_NAMES[word] for word in words_of(name) if word in SPLIT_NAMES}
    return found.pop() if len(found) == 1 else None


def _levels(root: Path, above: Iterable[tuple[str, ...]], labelled: bool) -> tuple[Level, ...]:
    """What folders mean by their names alone."""
    above = list(above)
    below: defaultdict[str, list[tuple[str, ...]]] = defaultdict(list)
    for names in above:
        if names:
            below[names[0]].append(names[1:])
    if not below:
        return ()
    flat = len(above) - sum(map(len, below.values()))
    splits = {name: split_named(name) for name in below}
    if all(splits.values()) and not flat:
        return _splits_first(root, below, {split for split in splits.values() if split}, labelled)
    if labelled:
        return ()
    _refuse_public(root, [name for names in above for name in names])
    _refuse_unclear(root, list(below))
    inner = [split_named(names[0]) if names else None for rest in below.values() for names in rest]
    if all(inner):
        return ("class", "split")
    if any(inner):
        raise _unclear(root, "has folders of splits below some of its folders only", "class")
    few = [name for name, rest in below.items() if len(rest) <= 2]
    if len(below) >= SINGLES and len(few) > len(below) / 2:
        reason = f"has {len(below)} folders, most of them with one or two images"
        raise _unclear(root, reason, "patient", "lesion", "class", "skip")
    return ("class",)


def _splits_first(
    root: Path,
    below: Mapping[str, Sequence[tuple[str, ...]]],
    splits: set[Split],
    labelled: bool,
) -> tuple[Level, ...]:
    """What folders mean of which all at the top are splits."""
    if len(splits) == 1 and labelled:
        # What a table is of, and no split of it.
        return ()
    if len(splits) == 1:
        only = next(iter(below))
        raise DidgenError(
            f"{root} holds the folder {only} alone, of the splits; to have its images dealt to all "
            f"three: {_command(root / only)}; to keep all of them in {only}: "
            f"{_command(root, '--folders split/class')}."
        )
    inner = [names for rest in below.values() for names in rest]
    deep = [names[0] for names in inner if names]
    if labelled or not deep:
        return ("split",)
    if all(is_container(name) for name in deep):
        _refuse_held(root, inner)
        return ("split",)
    if len(deep) < len(inner):
        shallow = next(name for name, rest in below.items() if any(not names for names in rest))
        whole = next((name for name, rest in below.items() if all(rest)), shallow)
        raise DidgenError(
            f"{root / shallow} holds images in no class folder, and others lie in some; to leave "
            f"it out: {_command(root / whole)}; to import all without classes: "
            f"{_command(root, '--folders split')}."
        )
    _refuse_unclear(root / next(iter(below)), deep)
    return ("split", "class")


def _refuse_held(root: Path, inner: Iterable[tuple[str, ...]]) -> None:
    """Raise a `DidgenError` where folders that hold images hold folders that may be classes."""
    held = sorted({names[1] for names in inner if len(names) > 1})
    telling = [name for name in held if not is_container(name) and not is_mask_folder(name)]
    if telling:
        reason = f"has folders below those of images ({listed(telling)})"
        raise _unclear(root, reason, "split/skip/class", "split")


def public_importer(name: str) -> str | None:
    """The importer of the public set that a folder or a file is of by its name."""
    found = (importer for pattern, importer in PUBLIC.items() if fnmatchcase(name.lower(), pattern))
    return next(found, None)


def _refuse_public(root: Path, names: Sequence[str]) -> None:
    """Raise a `DidgenError` for the folders of a public set, which has an importer of its own."""
    for name in dict.fromkeys(names):
        if importer := public_importer(name):
            raise DidgenError(
                f"{root} holds {name}, a folder of a public set, whose classes are no folders; the "
                f"command that knows them: didgen import {importer} {shlex.quote(str(root))}."
            )


def _refuse_unclear(root: Path, names: Sequence[str]) -> None:
    """Raise a `DidgenError` where a folder's name tells that it is no class."""
    names = list(dict.fromkeys(names))
    parts = [name for name in names if PARTS.intersection(words_of(name))]
    if parts:
        found = [*map(_by_words, names)]
        levels = ("class", "skip/class")
        if any(found):
            levels = ("split/class", "split" if all(found) else "skip/class")
        reason = f"has folders that may be parts and no classes ({listed(parts)})"
        raise _unclear(root, reason, *levels)
    if masks := [name for name in names if is_mask_folder(name)]:
        raise DidgenError(
            f"{root / masks[0]} is a folder of masks by its name; name it with --masks, which may "
            "name the folder of the images too."
        )
    if holders := [name for name in names if is_container(name)]:
        beside = sorted(f for f in root.iterdir() if f.is_dir() and is_mask_folder(f.name))
        more = f"--masks {shlex.quote(str(beside[0]))}" if beside else ""
        raise DidgenError(
            f"{root / holders[0]} names no class; to import it alone: "
            f"{_command(root / holders[0], more)}; if it is one: "
            f"{_command(root, '--folders class')}."
        )


def _refuse_lone_class(
    root: Path, above: Iterable[tuple[str, ...]], levels: tuple[Level, ...]
) -> None:
    """Raise a `DidgenError` where all lie in one class folder, and folders in that may be classes.

    A folder around all others is more often their holder than their class.
    """
    if "class" not in levels:
        return
    place = levels.index("class")
    inner = [names for names in above if len(names) > place]
    deeper = {names[len(levels)] for names in inner if len(names) > len(levels)}
    deeper = {name for name in deeper if not is_container(name) and not is_mask_folder(name)}
    if inner and deeper and len({names[place] for names in inner}) == 1:
        told = f"{inner[0][place]} alone, with folders in it ({listed(sorted(deeper))})"
        deepest = max(map(len, inner)) - 1
        while place < deepest and len({names[place] for names in inner if names[place:]}) == 1:
            place += 1
        skipping = [*levels[: levels.index("class")], *["skip"] * (place - len(levels) + 1)]
        varied = {names[place] for names in inner if len(names) > place}
        parts = ["split"] if place < deepest and all(map(split_named, varied)) else []
        ways = (
            "/".join([*skipping, *parts, "class"]),
            "/".join([*levels, "patient"]),
            "/".join(levels),
        )
        raise _unclear(root, f"holds {told}", *ways)


def _unclear(root: Path, reason: str, *levels: str) -> DidgenError:
    ways = ", or ".join(_command(root, f"--folders {level}") for level in levels)
    return DidgenError(f"{root} {reason}; say what they are: {ways}.")


def _command(root: Path, more: str = "") -> str:
    return f"didgen import folder {shlex.quote(str(root))} {more}".rstrip()


def _sentence(levels: tuple[Level, ...], above: Iterable[tuple[str, ...]], root: Path) -> str:
    """Say what the folders of a tree were taken for."""
    above = list(above)
    told = []
    for place, level in enumerate(levels):
        names = Counter(names[place] for names in above if len(names) > place)
        if level != "skip" and names:
            shown = ", ".join(names) if len(names) <= 10 else f"{len(names)} names"
            told.append(f"a {level} ({shown})")
    deeper = sorted({names[len(levels)] for names in above if len(names) > len(levels)})
    said = f"Folders of {root}: each is {', below it '.join(told)}." if told else ""
    if deeper:
        said += f" Folders that say nothing: {listed(deeper)}"
        telling = [name for name in deeper if not is_container(name) and not is_mask_folder(name)]
        if telling and "class" in levels and levels[-1] == "class":
            said += f"; if they are of patients: --folders {'/'.join(levels)}/patient"
        said += "."
    return said.strip()
