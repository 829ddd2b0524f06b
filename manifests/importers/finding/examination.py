"""Examination: the files of a candidate opened once, and found whole or at fault."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from didgen.manifests.choices import MaskOrientation
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import sha256_of
from didgen.manifests.images import decode, orientation, read_file, see_through
from didgen.manifests.importers.finding.harvest import Candidate
from didgen.manifests.importers.finding.masks import Fit, fit_mask, looks_like_mask
from didgen.manifests.importers.finding.trees import form_of
from didgen.manifests.privacy.published import PixelDigests, pixel_digests, published
from didgen.manifests.sources.rejections import Reason, Rejection

SMALLEST = 64
"""Pixels of the shortest side of an image: models see no more than its central square."""


@dataclass(frozen=True)
class Sound:
    """A candidate whose files are whole: its size in pixels, upright, and what it is known by."""

    candidate: Candidate
    width: int
    height: int
    sha256: str
    digests: PixelDigests
    mask_sha256: str | None = None
    mask: Fit | None = None


def examined(
    candidate: Candidate, drawn_on: MaskOrientation | None, inverted: bool
) -> Sound | Rejection:
    """Decode a candidate's image and mask in full; what is at fault in them is a rejection.

    `drawn_on` and `inverted` say how masks are read, see `fit_mask`.
    """
    path = candidate.image
    try:
        data = read_file(path)
        image = decode(data, path)
        if fault := _image_fault(image, path):
            return Rejection.of(path, *fault)
        turn = orientation(image)
        seen = published(data, image, path)
    except DidgenError as error:
        return _unreadable(path, str(error))
    size, sha256 = seen.pixels.size, hashlib.sha256(data).hexdigest()
    sound = Sound(candidate, *size, sha256, pixel_digests(seen, path))
    mask = candidate.mask
    if mask is None:
        return sound
    fit = fit_mask(mask, path, size, turn, drawn_on, inverted)
    if isinstance(fit, Rejection):
        return fit
    return replace(sound, mask_sha256=sha256_of(mask), mask=fit)


def _unreadable(path: Path, fault: str) -> Rejection:
    """Reject what is no image; one of a format that is not read is told by that."""
    try:
        form = form_of(read_file(path)[:132])
    except DidgenError:
        form = None
    if form in (None, "JPEG", "PNG"):
        return Rejection.of(path, "unreadable-image", fault)
    mend = "run `git lfs pull`" if "LFS" in str(form) else "save it as PNG"
    return Rejection.of(path, "other-format", f"{path} is {form}, which is not read; {mend}.")


def _image_fault(image: Image.Image, path: Path) -> tuple[Reason, str] | None:
    """Why a whole image is no photograph to learn from."""
    if image.mode[0] in "IF":
        sentence = f"{path} has more than 8 bits a grey level, which would be cut; save it with 8."
        return "unreadable-image", sentence
    # A photograph of a phone may hold a second one, which is no frame of it.
    frames = getattr(image, "n_frames", 1) if image.format in ("PNG", "WEBP") else 1
    if frames > 1:
        sentence = f"{path} is an animation of {frames} pictures; save the one that is meant."
        return "unreadable-image", sentence
    if see_through(image):
        sentence = (
            f"{path} is see-through in places, and nobody knows what is to be behind it; save it "
            "without transparency."
        )
        return "unreadable-image", sentence
    if min(image.size) < SMALLEST:
        sentence = (
            f"{path} is {image.width}x{image.height} pixels, and its central square must have "
            f"{SMALLEST} or more a side; take a larger one."
        )
        return "too-small", sentence
    if looks_like_mask(image):
        sentence = (
            f"{path} holds two grey levels like a mask, and is no photograph; give masks with "
            "--masks, which may name the folder of the images too."
        )
        return "looks-like-mask", sentence
    return None
