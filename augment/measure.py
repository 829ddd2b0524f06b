"""DermPrompt, measured: clinical attributes from the pixels of an image and its lesion mask."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.color import lab2xyz, rgb2lab, rgb2xyz, xyz2lab
from skimage.measure import regionprops

from augment.markings import MIN_INK, black_hat, dark_corners, hair_mask, ink_mask, ruler_mask
from augment.prompt import (
    MAX_COLORS,
    Asymmetry,
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
    diagnosis,
    replace_geometry,
)
from manifests.errors import DidgenError
from manifests.images import middle, read_image, read_mask

VERSION = 3
"""Raised with every change of a measure, so that cached captions of another are not reused."""

WORKING_SIDE = 128
"""Longest side in pixels at which all is measured but hair and rulers; those at twice that."""

SIZE_LIMITS = (0.04, 0.12, 0.35, 0.7)
"""Shares of the frame between the sizes: 2, 12, 38, 37 and 10 % of ISIC 2018's Task 3 lesions."""

CENTER_REACH = 0.1
"""A centroid this near the frame's middle, in frame sides along each axis, is at the center."""

OVAL_RATIO, ROUND_RATIO = 0.78, 0.83
"""Minor over major axis of the ellipse of equal moments up to which a lesion is oval and from
which on it is round; between, the eye takes it for either."""

IRREGULAR_SOLIDITY, SMOOTH_SOLIDITY = 0.93, 0.95
"""Area over convex area up to which an outline is irregular and from which on it is not."""

RAGGED = 1.5
"""Sigma in pixels of what is smoothed away first: masks made by programs have ragged outlines."""

WHOLE = 0.15
"""Share of an outline that the frame may cut before the lesion's form cannot be told."""

SYMMETRIC_SHARE, ASYMMETRIC_SHARE = 0.05, 0.13
"""Share of a lesion that is not matched by its mirror images, up to which it is symmetric and
from which on it is asymmetric: mean of the two axes at right angles that match best."""

MIRROR_SIDE, MIRROR_ANGLES = 64, 12
"""Longest side in pixels, and axes in a quarter turn, at which symmetry is measured."""

BORDER_RISES = (2.6, 4.2)
"""Rise of L* per hundredth of the longest side below which a border is blurred and from which on
it is sharp, set by eye; between, it is not named."""

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
    (Color.BLACK, (24, 4, 3)),
    (Color.DARK_BROWN, (24, 16, 10)),
    (Color.DARK_BROWN, (31, 30, 22)),
    (Color.LIGHT_BROWN, (50, 21, 23)),
    (Color.LIGHT_BROWN, (47, 31, 28)),
    (Color.LIGHT_BROWN, (55, 26, 27)),
    (Color.TAN, (64, 17, 22)),
    (Color.TAN, (70, 13, 19)),
    (Color.BLUE_GRAY, (28, 13, -2)),
    (Color.BLUE_GRAY, (46, 13, 0)),
    (Color.RED, (42, 46, 10)),
    (Color.RED, (48, 44, 21)),
    (Color.PINK, (53, 27, 19)),
    (Color.PINK, (61, 26, 19)),
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

ADAPTATION = 0.6
"""Share of the skin's cast that is taken out: like the eye, which does not adapt in full, and
sees what is redder than red skin as red. Set by eye."""

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

HAIR_LIMITS = (0.0018, 0.1)
"""Shares of the picture between no, some and dense hair, set by eye."""


def measure(image: np.ndarray, mask: np.ndarray | None, label: str | None) -> Attributes:
    """Measure the attributes of an image: (H, W, 3) uint8 RGB, mask (H, W) bool, True is lesion.

    Without a mask, or with an empty one, `lesion` is None and the outer ring of the frame counts
    as skin. `label` is a class code of ISIC 2018 or any other class name. What a measure cannot
    tell is left unsaid: `gel_bubbles` always, the others where the value lies between two names.
    """
    if image.dtype != np.uint8 or image.shape[2:] != (3,):
        raise ValueError(f"an image is (H, W, 3) uint8, not {image.shape} {image.dtype}")
    if mask is not None and mask.shape != image.shape[:2]:
        raise ValueError(f"the mask is {mask.shape}, its image {image.shape[:2]}")
    width, height = _working_size(image.shape[:2])
    picture = Image.fromarray(image)
    rgb = np.asarray(picture.resize((width, height), Image.Resampling.BOX))
    gray = picture.resize((2 * width, 2 * height), Image.Resampling.BOX).convert("L")
    small = None if mask is None or not mask.any() else _shrink(mask, width, height)

    lab = rgb2lab(rgb)
    outside = np.ones_like(lab[..., 0], dtype=bool)
    if small is not None:
        outside = ~ndimage.binary_dilation(small, iterations=SKIN_MARGIN)
    hat = black_hat(np.asarray(gray))
    ruler = ruler_mask(hat, _doubled(~outside))
    skin = _skin_color(lab, small, np.ones_like(outside))
    ink = np.zeros_like(outside) if skin is None else ink_mask(lab, ~outside, skin)
    hair = hair_mask(hat, _doubled(~outside), ruler | _doubled(ndimage.binary_dilation(ink)))
    # A pixel of the working size shows hair if any of its four pixels does.
    bare = _halved(~hair)
    skin = _skin_color(lab, small, bare & ~ink)
    lesion = None
    if mask is not None and small is not None:
        core = ndimage.binary_erosion(small, iterations=COLOR_MARGIN, border_value=1) & bare
        # A lesion too small or too hairy for its core to speak for it is taken whole.
        inside = core if core.sum() >= MIN_CORE * small.sum() else small
        lesion = Lesion(
            **geometry(mask)._asdict(),
            colors=colors(rgb[inside], skin),
            border=border(lab[..., 0], small),
        )
    return Attributes(
        diagnosis=diagnosis(label),
        lesion=lesion,
        surround=Surround(
            tone=None if skin is None else tone(skin),
            tint=None if skin is None else tint(skin),
            hair=list(Hair)[int(np.searchsorted(HAIR_LIMITS, hair.mean(), side="right"))],
            dark_corners=dark_corners(lab[..., 0], small, skin),
            ruler=bool(ruler.any()),
            ink=bool(ink.mean() >= MIN_INK),
            gel_bubbles=False,
        ),
    )


def measure_files(files: tuple[Path, Path | None, str | None]) -> Attributes:
    """Measure the central square of an image file and its mask file if it has one, with its label.

    A caption is to speak of what a model is shown beside it.
    """
    image_path, mask_path, label = files
    image = np.asarray(read_image(image_path))
    mask = None if mask_path is None else read_mask(mask_path)
    if mask is not None and mask.shape != image.shape[:2]:
        raise DidgenError(
            f"{mask_path} has {mask.shape[1]}x{mask.shape[0]} pixels but its image has "
            f"{image.shape[1]}x{image.shape[0]}; replace the mask."
        )
    return measure(middle(image), None if mask is None else middle(mask), label)


class Room(NamedTuple):
    """What a layout leaves to be said: its lesion's geometry, and whether border and skin show."""

    geometry: "Geometry"
    border: bool
    skin: bool


def room(mask: np.ndarray) -> Room | None:
    """What a layout mask (H, W) bool leaves to be said; None of an empty one."""
    if not mask.any():
        return None
    small = _shrink(mask, *_working_size(mask.shape))
    skin = (~ndimage.binary_dilation(small, iterations=SKIN_MARGIN)).mean() >= MIN_SKIN
    return Room(geometry(mask), bool(_edge(small).any()), bool(skin))


def agree(attributes: Attributes, layout: Room) -> Attributes:
    """Take the geometry of a lesion from a layout, so that no prompt denies it.

    Nor is a border or skin named that the layout leaves no room for. Other attributes stay as
    they are, and so do all where no lesion is described.
    """
    if attributes.lesion is None:
        return attributes
    found: dict[str, object] = layout.geometry._asdict()
    if not layout.border:
        found["border"] = None
    surround = attributes.surround
    if not layout.skin:
        surround = surround.model_copy(update={"tone": None, "tint": None})
    lesion = attributes.lesion.model_copy(update=found)
    return attributes.model_copy(update={"lesion": lesion, "surround": surround})


def agree_sentence(caption: str, layout: Room) -> str:
    """Like `agree`, for a caption that was not rendered: its geometry becomes the layout's."""
    size, shape, position, _ = layout.geometry
    form = " ".join(filter(None, (size, shape)))
    return replace_geometry(caption, f"a {form} lesion at the {position}")


class Geometry(NamedTuple):
    """What a mask alone says of its lesion."""

    size: Size
    shape: Shape | None
    position: Position
    asymmetry: Asymmetry | None


def geometry(mask: np.ndarray) -> Geometry:
    """The geometry of a lesion from its mask (H, W) bool with at least one pixel."""
    small = _shrink(mask, *_working_size(mask.shape))
    size = list(Size)[int(np.searchsorted(SIZE_LIMITS, mask.mean(), side="right"))]
    (region,) = regionprops(small.astype(np.uint8))
    offset = (np.array(region.centroid) + 0.5) / small.shape - 0.5
    row, column = (int(np.sign(x)) * int(abs(x) > CENTER_REACH) + 1 for x in offset)
    position = list(Position)[3 * row + column]
    frame = np.ones_like(small)
    frame[1:-1, 1:-1] = False
    outline = small & ~ndimage.binary_erosion(small)
    if (outline & frame).sum() > WHOLE * outline.sum():
        return Geometry(size, None, position, None)
    smooth = ndimage.gaussian_filter(small.astype(float), RAGGED) >= 0.5
    solidity = regionprops(smooth.astype(np.uint8))[0].solidity if smooth.any() else 1.0
    if solidity <= IRREGULAR_SOLIDITY:
        odd = asymmetry(mask) is Asymmetry.ASYMMETRIC
        return Geometry(size, Shape.IRREGULAR, position, Asymmetry.ASYMMETRIC if odd else None)
    ratio = region.axis_minor_length / max(region.axis_major_length, 1e-6)
    shape = None
    if solidity >= SMOOTH_SOLIDITY:
        shape = Shape.ROUND if ratio >= ROUND_RATIO else Shape.OVAL if ratio <= OVAL_RATIO else None
    return Geometry(size, shape, position, asymmetry(mask))


def asymmetry(mask: np.ndarray) -> Asymmetry | None:
    """Whether a mask (H, W) bool is its own mirror image about two axes at right angles.

    As in the ABCD rule (Stolz et al., 1994), the axes go through the centroid and are those that
    fit best.
    """
    side = MIRROR_SIDE / max(mask.shape)
    small = _shrink(mask, *(max(1, round(length * side)) for length in mask.shape[::-1]))
    points = np.argwhere(small)
    centroid = points.mean(axis=0)
    angles = np.arange(2 * MIRROR_ANGLES) * (np.pi / (2 * MIRROR_ANGLES))
    turns = np.stack(
        [np.cos(2 * angles), np.sin(2 * angles), np.sin(2 * angles), -np.cos(2 * angles)], axis=-1
    ).reshape(-1, 2, 2)
    mirrored = np.rint((points - centroid) @ turns + centroid).astype(int)
    inside = ((mirrored >= 0) & (mirrored < small.shape)).all(axis=-1)
    mirrored[~inside] = 0
    unmatched = 1 - (small[mirrored[..., 0], mirrored[..., 1]] & inside).mean(axis=1)
    share = (unmatched[:MIRROR_ANGLES] + unmatched[MIRROR_ANGLES:]).min() / 2
    if share <= SYMMETRIC_SHARE:
        return Asymmetry.SYMMETRIC
    return Asymmetry.ASYMMETRIC if share >= ASYMMETRIC_SHARE else None


def border(lightness: np.ndarray, mask: np.ndarray) -> Border | None:
    """How steeply L* (H, W) rises across the border of a mask (H, W); None if it is in doubt."""
    edge = _edge(mask)
    if not edge.any():
        return None
    depth = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    inward = np.stack(np.gradient(ndimage.gaussian_filter(depth, 2)))
    slope = np.stack(np.gradient(ndimage.gaussian_filter(lightness, 1)))
    rise = -(slope * inward).sum(axis=0) / np.maximum(np.hypot(*inward), 1e-6)
    steepest = ndimage.maximum_filter(rise, 2 * BORDER_REACH + 1)[edge].mean()
    blurred, sharp = BORDER_RISES
    steepest *= max(mask.shape) / 100
    return Border.SHARP if steepest >= sharp else Border.BLURRED if steepest < blurred else None


def colors(rgb: np.ndarray, skin: np.ndarray | None) -> tuple[Color, ...]:
    """Name the colours of lesion pixels (N, 3) uint8, by falling share and relative to the skin.

    `skin` is CIE Lab (3,); without it the pixels are taken as they are.
    """
    xyz = rgb2xyz(rgb[None])
    if skin is not None:
        reference = np.array(REFERENCE_SKIN)
        reference[1:] = ADAPTATION * reference[1:] + (1 - ADAPTATION) * skin[1:]
        gain = lab2xyz(reference) / lab2xyz(skin)
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


def _working_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Width and height at which an image of shape (H, W) is measured."""
    scale = WORKING_SIDE / max(shape)
    height, width = (max(1, round(side * scale)) for side in shape)
    return width, height


def _doubled(mask: np.ndarray) -> np.ndarray:
    return mask.repeat(2, axis=0).repeat(2, axis=1)


def _halved(mask: np.ndarray) -> np.ndarray:
    """Where all four pixels of (2H, 2W) bool hold, (H, W) bool."""
    squares = mask.reshape(mask.shape[0] // 2, 2, mask.shape[1] // 2, 2)
    return np.asarray(squares.all(axis=(1, 3)))


def _edge(mask: np.ndarray) -> np.ndarray:
    """The pixels of a mask (H, W) bool that border on what is not in it, the frame apart."""
    return mask & ~ndimage.binary_erosion(mask, border_value=1)


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
