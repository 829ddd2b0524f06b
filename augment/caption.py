"""DermPrompt, measured: clinical attributes from the pixels of an image and its lesion mask."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.color import lab2xyz, rgb2lab, rgb2xyz, xyz2lab
from skimage.measure import regionprops

from augment.prompt import (
    MAX_COLORS,
    Attributes,
    Border,
    Color,
    Hair,
    Lesion,
    Position,
    Shape,
    Size,
    Surround,
    Tint,
    Tone,
    clean,
    render,
)
from manifests.errors import DidgenError
from manifests.images import read_image, read_mask
from manifests.records import CLASS_NAMES, SourceManifest, SourceRecord

WORKING_SIDE = 128
"""Longest side in pixels at which everything but hair is measured; hair at twice that."""

SIZE_LIMITS = (0.04, 0.12, 0.35, 0.7)
"""Shares of the frame between the sizes: 2, 12, 38, 37 and 10 % of ISIC 2018's Task 3 lesions."""

CENTER_REACH = 0.1
"""A centroid this near the frame's middle, in frame sides along each axis, is at the center."""

ROUND_RATIO = 0.8
"""Minor over major axis of the ellipse of equal moments from which on a lesion is round."""

IRREGULAR_SOLIDITY = 0.94
"""Area over convex area below which an outline is irregular: a quarter of ISIC 2018's lesions."""

SHARP_RISE = 3.4
"""Rise of L* across a sharp border per hundredth of the longest side, set by eye."""

BORDER_REACH = 3
"""Hand-drawn masks miss the border by this many pixels; the steepest rise within is taken."""

COLOR_MARGIN = 2
"""Pixels inside the mask that are left out of the colours, for the same reason."""

MIN_CORE = 0.3
"""Share of the lesion that must be left by that margin and by hair."""

COLOR_SHARE = 0.12
"""A colour that covers a smaller share of the lesion is not named."""

PROTOTYPES: tuple[tuple[Color, tuple[float, float, float]], ...] = (
    (Color.BLACK, (12, 7, 3)),
    (Color.DARK_BROWN, (24, 16, 10)),
    (Color.DARK_BROWN, (31, 30, 22)),
    (Color.LIGHT_BROWN, (50, 22, 20)),
    (Color.LIGHT_BROWN, (47, 31, 28)),
    (Color.TAN, (64, 18, 20)),
    (Color.TAN, (70, 13, 19)),
    (Color.BLUE_GRAY, (28, 13, -2)),
    (Color.BLUE_GRAY, (46, 13, 0)),
    (Color.RED, (42, 46, 10)),
    (Color.RED, (48, 44, 21)),
    (Color.PINK, (56, 31, 12)),
    (Color.PINK, (65, 28, 8)),
    (Color.WHITE, (84, 6, 8)),
    (Color.YELLOW, (70, 12, 42)),
)
"""CIE Lab of the colour names under light that shows skin as `REFERENCE_SKIN`; placed by eye
between the cluster centres of each diagnosis, red and pink at those of vascular lesions."""

REFERENCE_SKIN = (70.0, 12.0, 17.0)
"""CIE Lab of light skin. Dermatoscopes differ too much in cast for absolute colours, so colours
are named as the eye does, relative to the skin around them (von Kries adaptation)."""

EXPOSURE_LIMITS = (0.6, 1.7)
"""Bounds of the change of luminance to the reference, so that dark skin bleaches no lesion."""

SKIN_MARGIN = 3
"""Pixels around the mask that are left out of the skin."""

RING = 0.12
"""Width in frame sides of the outer ring that is taken for skin when there is no mask."""

MIN_SKIN = 0.02
"""Share of the frame that must be skin for a tone to be named."""

SHADOW = 20.0
"""L* below which a pixel is shadow or vignette rather than skin."""

TONE_LIMITS = (75.7, 65.6, 59.6, 53.2, 39.6)
"""L* between the tones: the ITA limits 55, 41, 28, 10 and -30 degrees (Chardon et al. 1991; Del
Bino and Bernerd 2013) at b* = 18 of skin in daylight, since b* in a dermatoscope is its cast."""

VIOLET_HUE, BEIGE_HUE, RED_CHROMA = -8.0, 28.0, 24.0
"""CIE Lab hue angles in degrees below and above which skin is violet and beige; the chroma from
which on it is red whatever its warm hue. Set by eye."""

HAIR_CLOSING = 9
"""Side in pixels of a closing wider than hair, whose difference to the image is the black-hat
(Lee et al., DullRazor, 1997)."""

HAIR_CONTRAST = 16
"""Grey levels of 256 in the black-hat from which on a pixel may be hair."""

HAIR_LENGTH = 30
"""Pixels that the bounding box of a hair spans at least, corner to corner."""

HAIR_DENSITY = 0.09
"""Area over squared span of a hair, or of hairs that cross, at most: what separates them from
pigment networks, which clump."""

HAIR_LIMITS = (0.0018, 0.024)
"""Shares of the picture between no, some and dense hair, set by eye."""

CORNER = 0.06
"""Side in frame sides of the corner squares."""

CORNER_LIGHTNESS = 0.7
"""L* over that of the skin below which a corner is dark."""


def measure(image: np.ndarray, mask: np.ndarray | None, label: str | None) -> Attributes:
    """Measure the attributes of an image: (H, W, 3) uint8 RGB, mask (H, W) bool, True is lesion.

    Without a mask, or with an empty one, `lesion` is None and the outer ring of the frame counts
    as skin. `label` is a class code of ISIC 2018 or any other class name.
    """
    if image.dtype != np.uint8 or image.shape[2:] != (3,):
        raise ValueError(f"an image is (H, W, 3) uint8, not {image.shape} {image.dtype}")
    if mask is not None and mask.shape != image.shape[:2]:
        raise ValueError(f"the mask is {mask.shape}, its image {image.shape[:2]}")
    scale = WORKING_SIDE / max(image.shape[:2])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    picture = Image.fromarray(image)
    rgb = np.asarray(picture.resize((width, height), Image.Resampling.BOX))
    gray = picture.resize((2 * width, 2 * height), Image.Resampling.BOX).convert("L")
    small = None if mask is None or not mask.any() else _shrink(mask, width, height)

    lab = rgb2lab(rgb)
    hair = hair_mask(np.asarray(gray))
    # A pixel of the working size shows hair if any of its four pixels does.
    bare = hair.reshape(height, 2, width, 2).max(axis=(1, 3)) == 0
    skin = _skin_color(lab, small, bare)
    lesion = None
    if mask is not None and small is not None:
        size, shape, position = geometry(mask)
        core = ndimage.binary_erosion(small, iterations=COLOR_MARGIN, border_value=1) & bare
        # A lesion too small or too hairy for its core to speak for it is taken whole.
        inside = core if core.sum() >= MIN_CORE * small.sum() else small
        lesion = Lesion(
            size=size,
            shape=shape,
            colors=colors(rgb[inside], skin),
            position=position,
            border=border(lab[..., 0], small),
        )
    return Attributes(
        diagnosis=_diagnosis(label),
        lesion=lesion,
        surround=Surround(
            tone=None if skin is None else tone(skin),
            tint=None if skin is None else tint(skin),
            hair=list(Hair)[int(np.searchsorted(HAIR_LIMITS, hair.mean(), side="right"))],
            dark_corners=_dark_corners(lab[..., 0], small, skin),
        ),
    )


def agree(attributes: Attributes, mask: np.ndarray) -> Attributes:
    """Take size, shape and position from a layout mask (H, W) bool, so that no prompt denies it.

    Attributes that say nothing of the lesion stay as they are, and so do all under an empty mask.
    """
    if attributes.lesion is None or not mask.any():
        return attributes
    size, shape, position = geometry(mask)
    lesion = attributes.lesion.model_copy(
        update={"size": size, "shape": shape, "position": position}
    )
    return attributes.model_copy(update={"lesion": lesion})


def geometry(mask: np.ndarray) -> tuple[Size, Shape, Position]:
    """Size, shape and position of a lesion from its mask (H, W) bool with at least one pixel."""
    scale = WORKING_SIDE / max(mask.shape)
    small = _shrink(mask, *(max(1, round(side * scale)) for side in mask.shape[::-1]))
    size = list(Size)[int(np.searchsorted(SIZE_LIMITS, mask.mean(), side="right"))]
    (region,) = regionprops(small.astype(np.uint8))
    if region.solidity < IRREGULAR_SOLIDITY:
        shape = Shape.IRREGULAR
    elif region.axis_minor_length >= ROUND_RATIO * region.axis_major_length:
        shape = Shape.ROUND
    else:
        shape = Shape.OVAL
    offset = (np.array(region.centroid) + 0.5) / small.shape - 0.5
    row, column = (int(np.sign(x)) * int(abs(x) > CENTER_REACH) + 1 for x in offset)
    return size, shape, list(Position)[3 * row + column]


def border(lightness: np.ndarray, mask: np.ndarray) -> Border | None:
    """How steeply L* (H, W) rises across the border of a mask (H, W); None if it has no border."""
    edge = mask & ~ndimage.binary_erosion(mask, border_value=1)
    if not edge.any():
        return None
    depth = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    inward = np.stack(np.gradient(ndimage.gaussian_filter(depth, 2)))
    slope = np.stack(np.gradient(ndimage.gaussian_filter(lightness, 1)))
    rise = -(slope * inward).sum(axis=0) / np.maximum(np.hypot(*inward), 1e-6)
    steepest = ndimage.maximum_filter(rise, 2 * BORDER_REACH + 1)[edge].mean()
    return Border.SHARP if steepest * max(mask.shape) / 100 >= SHARP_RISE else Border.BLURRED


def colors(rgb: np.ndarray, skin: np.ndarray | None) -> tuple[Color, ...]:
    """Name the colours of lesion pixels (N, 3) uint8, by falling share and relative to the skin.

    `skin` is CIE Lab (3,); without it the pixels are taken as they are.
    """
    xyz = rgb2xyz(rgb[None])
    if skin is not None:
        gain = lab2xyz(np.array(REFERENCE_SKIN)) / lab2xyz(skin)
        xyz = xyz * gain * (np.clip(gain[1], *EXPOSURE_LIMITS) / gain[1])
    lab = xyz2lab(xyz)[0]
    distance = np.square(lab[:, None] - np.array([point for _, point in PROTOTYPES])).sum(axis=-1)
    nearest = np.bincount(distance.argmin(axis=1), minlength=len(PROTOTYPES)) / len(lab)
    shares = dict.fromkeys(Color, 0.0)
    for (name, _), share in zip(PROTOTYPES, nearest, strict=True):
        shares[name] += float(share)
    ranked = sorted(Color, key=lambda name: -shares[name])
    return (ranked[0], *(n for n in ranked[1:MAX_COLORS] if shares[n] >= COLOR_SHARE))


def tone(skin: np.ndarray) -> Tone:
    """The tone of a skin colour, CIE Lab (3,)."""
    return list(Tone)[sum(float(skin[0]) < limit for limit in TONE_LIMITS)]


def tint(skin: np.ndarray) -> Tint:
    """The tint of a skin colour, CIE Lab (3,)."""
    hue = np.degrees(np.arctan2(skin[2], skin[1]))
    if hue < VIOLET_HUE:
        return Tint.VIOLET
    if np.hypot(skin[1], skin[2]) >= RED_CHROMA:
        return Tint.RED
    return Tint.BEIGE if hue >= BEIGE_HUE else Tint.PINK


def hair_mask(gray: np.ndarray) -> np.ndarray:
    """Pixels of dark hair, (H, W) bool, in a grey image (H, W) uint8 of twice the working size."""
    hat = ndimage.grey_closing(gray, (HAIR_CLOSING, HAIR_CLOSING)) - gray
    components, _ = ndimage.label(hat >= HAIR_CONTRAST, np.ones((3, 3)))
    boxes = ndimage.find_objects(components)
    span = np.array([np.hypot(y.stop - y.start, x.stop - x.start) for y, x in boxes])
    area = np.bincount(components.ravel(), minlength=len(boxes) + 1)[1:]
    sparse = (span >= HAIR_LENGTH) & (area <= HAIR_DENSITY * span**2)
    # No network reaches across the whole picture; dense hair does.
    across = span >= max(gray.shape)
    return np.concatenate([[False], sparse | across])[components]


def caption_manifest(
    manifest: SourceManifest,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 2,
) -> list[SourceRecord]:
    """Caption every record that has no caption yet; return all records in their order.

    `progress` is called with the records done and their total; `workers` are processes. A file
    that cannot be read, or a mask of another size than its image, is a `DidgenError`.
    """
    missing = [record for record in manifest.records if record.caption is None]
    total = len(manifest.records)
    done = total - len(missing)
    captions: dict[str, str] = {}
    jobs = [
        (
            manifest.image_path(record),
            manifest.mask_path(record) if record.mask else None,
            record.label,
        )
        for record in missing
    ]
    # Forked workers would inherit the threads of a progress bar in an unknown state.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        for record, caption in zip(missing, pool.map(_caption, jobs, chunksize=16), strict=True):
            captions[record.key] = caption
            if progress is not None:
                progress(done + len(captions), total)
    finally:
        # After an error or an interrupt the images still in the queue are not waited for.
        pool.shutdown(cancel_futures=True)
    return [
        record.model_copy(update={"caption": captions.get(record.key, record.caption)})
        for record in manifest.records
    ]


def _caption(job: tuple[Path, Path | None, str | None]) -> str:
    image_path, mask_path, label = job
    image = np.asarray(read_image(image_path))
    mask = None if mask_path is None else read_mask(mask_path)
    if mask is not None and mask.shape != image.shape[:2]:
        raise DidgenError(
            f"{mask_path} has {mask.shape[1]}x{mask.shape[0]} pixels but its image has "
            f"{image.shape[1]}x{image.shape[0]}; replace the mask."
        )
    return render(measure(image, mask, label))


def _shrink(mask: np.ndarray, width: int, height: int) -> np.ndarray:
    """Reduce a mask by area; the fullest pixel stays however small the lesion is."""
    cover = np.asarray(
        Image.fromarray(mask.astype(np.float32)).resize((width, height), Image.Resampling.BOX)
    )
    return cover >= min(0.5, cover.max())


def _skin_color(lab: np.ndarray, lesion: np.ndarray | None, bare: np.ndarray) -> np.ndarray | None:
    """Median CIE Lab (3,) of the skin in frame, or None if there is too little."""
    if lesion is None:
        outside = np.ones_like(bare)
        rows, columns = (round(RING * side) for side in bare.shape)
        outside[rows : bare.shape[0] - rows, columns : bare.shape[1] - columns] = False
    else:
        outside = ~ndimage.binary_dilation(lesion, iterations=SKIN_MARGIN)
    outside &= bare & (lab[..., 0] >= SHADOW)
    return np.median(lab[outside], axis=0) if outside.mean() >= MIN_SKIN else None


def _dark_corners(
    lightness: np.ndarray, lesion: np.ndarray | None, skin: np.ndarray | None
) -> bool:
    """Whether at least two corners are mostly dark, the lesion apart."""
    reference = np.median(lightness) if skin is None else skin[0]
    dark = lightness < CORNER_LIGHTNESS * reference
    if lesion is not None:
        dark &= ~lesion
    rows, columns = (max(1, round(CORNER * side)) for side in dark.shape)
    corners = [
        dark[y, x]
        for y in (slice(rows), slice(-rows, None))
        for x in (slice(columns), slice(-columns, None))
    ]
    return sum(corner.mean() > 0.5 for corner in corners) >= 2


def _diagnosis(label: str | None) -> str | None:
    """The words of a class, without the commas that part the clauses of a caption."""
    if label is None:
        return None
    return clean(CLASS_NAMES.get(label, label).replace(",", " ")).lower() or None
