"""Colours: the colour names of a lesion, and the tone and tint of the skin around it."""

import numpy as np
from scipy import ndimage
from skimage.color import lab2xyz, rgb2xyz, xyz2lab

from didgen.augment.captions.calibration import CAL
from didgen.augment.prompts.schema import MAX_COLORS, Color, Tint, Tone


def colors(rgb: np.ndarray, skin: np.ndarray | None) -> tuple[Color, ...]:
    """Name the colours of lesion pixels (N, 3) uint8, by falling share and relative to the skin.

    `skin` is CIE Lab (3,); without it the pixels are taken as they are.
    """
    xyz = rgb2xyz(rgb[None])
    if skin is not None:
        reference = np.array(CAL.reference_skin)
        reference[1:] = CAL.adaptation * reference[1:] + (1 - CAL.adaptation) * skin[1:]
        gain = lab2xyz(reference) / lab2xyz(skin)
        xyz = xyz * gain * (np.clip(gain[1], *CAL.exposure_limits) / gain[1])
    lab = xyz2lab(xyz)[0]
    distance = np.square(lab[:, None] - np.array([point for _, point in CAL.prototypes])).sum(
        axis=-1
    )
    nearest = np.bincount(distance.argmin(axis=1), minlength=len(CAL.prototypes)) / len(lab)
    shares = dict.fromkeys(Color, 0.0)
    for (name, _), share in zip(CAL.prototypes, nearest, strict=True):
        shares[name] += float(share)
    ranked = sorted(Color, key=lambda name: -shares[name])
    return (ranked[0], *(n for n in ranked[1:MAX_COLORS] if shares[n] >= CAL.color_share))


def tone(skin: np.ndarray) -> Tone:
    """The tone of a skin colour, CIE Lab (3,)."""
    return list(Tone)[sum(float(skin[0]) < limit for limit in CAL.tone_limits)]


def tint(skin: np.ndarray) -> Tint:
    """The tint of a skin colour, CIE Lab (3,)."""
    hue = np.degrees(np.arctan2(skin[2], skin[1]))
    if hue < CAL.violet_hue:
        return Tint.VIOLET
    if np.hypot(skin[1], skin[2]) >= CAL.red_chroma:
        return Tint.RED
    return Tint.BEIGE if hue >= CAL.beige_hue else Tint.PINK


def skin_color(lab: np.ndarray, lesion: np.ndarray | None, bare: np.ndarray) -> np.ndarray | None:
    """Median CIE Lab (3,) of the skin in frame, or None if there is too little."""
    if lesion is None:
        outside = np.ones_like(bare)
        rows, columns = (round(CAL.ring * side) for side in bare.shape)
        outside[rows : bare.shape[0] - rows, columns : bare.shape[1] - columns] = False
    else:
        outside = ~ndimage.binary_dilation(lesion, iterations=CAL.skin_margin)
    outside &= bare & (lab[..., 0] >= CAL.shadow)
    return np.median(lab[outside], axis=0) if outside.mean() >= CAL.min_skin else None
