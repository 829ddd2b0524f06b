"""Masks: which files are masks, whose they are, and how they lie over their images."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from didgen.manifests.choices import MaskOrientation
from didgen.manifests.errors import DidgenError
from didgen.manifests.images import Drawn, as_mask, open_checked, orientation, turned
from didgen.manifests.importers.finding.harvest import Harvest
from didgen.manifests.importers.finding.trees import Names, Tree, composed, is_mask_folder
from didgen.manifests.sources.rejections import Rejection

ENDING = re.compile(
    r"(?:[ ._-]+(?:binary|masks?|segmentations?|segmented|seg|lesion|ground[ ._-]?truth|gt))+$",
    re.IGNORECASE,
)
"""How the name of a mask ends after its image's, in any case."""

SUPERPIXELS = re.compile(r"_superpixels$", re.IGNORECASE)
"""How ISIC's maps of superpixels end, which lie among its images."""

GREY = 12
"""Two channels of a grey picture that was encoded as JPEG differ by so much at most."""


def named_as_mask(stem: str) -> str | None:
    """The name of the image whose mask a file is by its ending; None for any other name."""
    base = ENDING.sub("", stem)
    return base if base and base != stem else None


def looks_like_mask(image: Image.Image) -> bool:
    """Whether a picture holds two grey levels at most, or is grey and all but black and white.

    The second is what JPEG makes of a mask. No photograph of skin is so.
    """
    if _chroma(_sample(image, 32)) > GREY:
        return False
    if image.convert("RGB").getcolors(2) is not None:
        return True
    sample = _sample(image, 128)
    extreme = (sample[..., 0] < 24) | (sample[..., 0] > 231)
    return _chroma(sample) <= GREY and bool(np.mean(extreme) > 0.97)


def _sample(image: Image.Image, side: int) -> np.ndarray:
    """Some of a picture's own pixels, (side, side, 3)."""
    small = image.resize((side, side), Image.Resampling.NEAREST)
    return np.asarray(small.convert("RGB")).astype(np.int16)


def _chroma(pixels: np.ndarray) -> int:
    """How far a pixel is from grey at most."""
    return int((pixels.max(-1) - pixels.min(-1)).max())


@dataclass(frozen=True)
class Fit:
    """How a mask lies over its image: how it is read, whether it covers all four corners, and
    whether it would fit another way too."""

    drawn: Drawn
    corners: bool
    doubtful: bool = False


def fit_mask(
    path: Path,
    image: Path,
    size: tuple[int, int],
    turn: int,
    drawn_on: MaskOrientation | None,
    inverted: bool,
) -> Fit | Rejection:
    """Read a mask and lay it over its upright image of a size in pixels.

    `turn` is the image's EXIF orientation. A mask that fits only when it is turned along is; one
    that fits both ways is read as `drawn_on` says, and is doubtful where nobody says.
    """
    try:
        opened = open_checked(path)
    except DidgenError as error:
        return Rejection.of(path, "unreadable-mask", str(error))
    # A mask that has an orientation of its own is upright by it.
    turn = turn if orientation(opened) == 1 else 1
    try:
        mask = as_mask(opened, path)
    except DidgenError as error:
        return Rejection.of(path, "non-binary-mask", str(error))
    mask = ~mask if inverted else mask
    along = turned(mask, turn)
    fits, fits_along = (m.shape == size[::-1] for m in (mask, along))
    if not fits and not fits_along:
        shape = f"{mask.shape[1]}x{mask.shape[0]}"
        sentence = f"{path} is {shape} pixels but {image} is {size[0]}x{size[1]}; draw it again."
        return Rejection.of(path, "mask-size", sentence)
    if not mask.any():
        sentence = f"{path} is empty; draw the lesion or take mask and image out."
        return Rejection.of(path, "empty-mask", sentence)
    both = fits and fits_along and not np.array_equal(mask, along)
    stored = fits_along and (not fits or (both and drawn_on == "stored"))
    corners = bool(mask[[0, 0, -1, -1], [0, -1, 0, -1]].all())
    read = Drawn(turn if stored else 1, inverted)
    return Fit(read, corners, both and drawn_on is None)


def part_masks(tree: Tree) -> tuple[list[Path], list[Path]]:
    """The images of a tree, and its masks: those in folders of masks, and those named like one."""
    inside = {path for path in tree.images if any(map(is_mask_folder, tree.folders_of(path)))}
    names = Names([path for path in tree.images if path not in inside])
    masks = inside | {path for path in tree.images if path not in inside and _owner(path, names)}
    return [path for path in tree.images if path not in masks], sorted(masks)


def _owner(path: Path, names: Names) -> list[Path]:
    """The images whose mask a file is by its name and ending."""
    base = named_as_mask(composed(path.stem))
    return [image for image in names.find(base) if image != path] if base else []


def match_masks(
    masks: Sequence[Path], folder: Path, names: Names, harvest: Harvest
) -> dict[Path, Path]:
    """Match masks below a folder to images; a second mask of one image or a mask of none is
    rejected.

    Of masks of one image in several folders all are, since all but one are another image's.
    """
    found: dict[Path, list[Path]] = {}
    for path in masks:
        stem, within = composed(path.stem), path.relative_to(folder).parts[:-1]
        base = named_as_mask(stem)
        images = names.find(stem, within) or (names.find(base, within) if base else [])
        if len(images) == 1:
            found.setdefault(images[0], []).append(path)
        elif images:
            sentence = (
                f"{path} has the name of {len(images)} images, {images[0]} first; rename all but "
                "one, or give masks the folders of their images."
            )
            harvest.reject(path, "duplicate-id", sentence)
        else:
            sentence = f"{path} belongs to no image of that name; rename or remove it."
            harvest.reject(path, "missing-image", sentence)
    chosen: dict[Path, Path] = {}
    for image, (first, *others) in found.items():
        if any(path.parent != first.parent for path in others):
            for path in (first, *others):
                sentence = f"{path} is one of several masks of {image}; rename all but one."
                harvest.reject(path, "duplicate-id", sentence)
            continue
        chosen[image] = first
        for path in others:
            sentence = f"{path} is a second mask beside {first}; remove one of the two."
            harvest.reject(path, "duplicate-id", sentence)
    return chosen
