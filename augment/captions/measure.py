"""DermPrompt, measured: clinical attributes from the pixels of an image and its lesion mask."""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.color import rgb2lab

from didgen.augment.captions.artefacts import (
    black_hat,
    dark_corners,
    hair_mask,
    ink_mask,
    ruler_mask,
)
from didgen.augment.captions.calibration import CAL
from didgen.augment.captions.colours import colors, skin_color, tint, tone
from didgen.augment.captions.geometry import (
    border,
    doubled,
    geometry,
    halved,
    shrink,
    working_size,
)
from didgen.augment.prompts.prompt import diagnosis
from didgen.augment.prompts.schema import Attributes, Hair, Lesion, Surround
from didgen.manifests.errors import DidgenError
from didgen.manifests.images import AS_STORED, Drawn, middle, read_image, read_mask


def measure(image: np.ndarray, mask: np.ndarray | None, label: str | None) -> Attributes:
    """Measure the attributes of an image: (H, W, 3) uint8 RGB, mask (H, W) bool, True is lesion.

    Without a mask, or with an empty one, `lesion` is None and the outer ring of the frame counts
    as skin. `label` is a class code of ISIC 2018 or any other class name. What a measure cannot
    tell is left unsaid: `gel_bubbles` and `structures` always, the others where the value lies
    between two names.
    """
    if image.dtype != np.uint8 or image.shape[2:] != (3,):
        raise ValueError(f"an image is (H, W, 3) uint8, not {image.shape} {image.dtype}")
    if mask is not None and mask.shape != image.shape[:2]:
        raise ValueError(f"the mask is {mask.shape}, its image {image.shape[:2]}")
    width, height = working_size(image.shape[:2])
    picture = Image.fromarray(image)
    rgb = np.asarray(picture.resize((width, height), Image.Resampling.BOX))
    gray = picture.resize((2 * width, 2 * height), Image.Resampling.BOX).convert("L")
    small = None if mask is None or not mask.any() else shrink(mask, width, height)

    lab = rgb2lab(rgb)
    outside = np.ones_like(lab[..., 0], dtype=bool)
    if small is not None:
        outside = ~ndimage.binary_dilation(small, iterations=CAL.skin_margin)
    hat = black_hat(np.asarray(gray))
    ruler = ruler_mask(hat, doubled(~outside))
    skin = skin_color(lab, small, np.ones_like(outside))
    ink = np.zeros_like(outside) if skin is None else ink_mask(lab, ~outside, skin)
    hair = hair_mask(hat, doubled(~outside), ruler | doubled(ndimage.binary_dilation(ink)))
    # A pixel of the working size shows hair if any of its four pixels does.
    bare = halved(~hair)
    skin = skin_color(lab, small, bare & ~ink)
    lesion = None
    if mask is not None and small is not None:
        core = ndimage.binary_erosion(small, iterations=CAL.color_margin, border_value=1) & bare
        # A lesion too small or too hairy for its core to speak for it is taken whole.
        inside = core if core.sum() >= CAL.min_core * small.sum() else small
        lesion = Lesion(
            **geometry(mask)._asdict(),
            colors=colors(rgb[inside], skin),
            border=border(lab[..., 0], small),
            structures=(),
        )
    return Attributes(
        diagnosis=diagnosis(label),
        lesion=lesion,
        surround=Surround(
            tone=None if skin is None else tone(skin),
            tint=None if skin is None else tint(skin),
            hair=list(Hair)[int(np.searchsorted(CAL.hair_limits, hair.mean(), side="right"))],
            dark_corners=dark_corners(lab[..., 0], small, skin),
            ruler=bool(ruler.any()),
            ink=bool(ink.mean() >= CAL.min_ink),
            gel_bubbles=False,
        ),
    )


def measure_files(
    files: tuple[Path, Path | None, str | None], drawn: Drawn = AS_STORED
) -> Attributes:
    """Measure the central square of an image file and its mask file if it has one, with its label.

    A caption is to speak of what a model is shown beside it. `drawn` says how the mask is read.
    """
    image_path, mask_path, label = files
    image = np.asarray(read_image(image_path))
    mask = None if mask_path is None else read_mask(mask_path, drawn)
    if mask is not None and mask.shape != image.shape[:2]:
        raise DidgenError(
            f"{mask_path} has {mask.shape[1]}x{mask.shape[0]} pixels but its image has "
            f"{image.shape[1]}x{image.shape[0]}; replace the mask."
        )
    return measure(middle(image), None if mask is None else middle(mask), label)
