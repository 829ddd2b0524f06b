"""Pictures of a report: pixels and files as data URIs of a modest size."""

import base64
from pathlib import Path

import numpy as np
from PIL import Image

from didgen.downstream.report.blocks import Figure
from didgen.manifests.images import encoded, open_checked

QUALITY = 80
"""Of WebP, which at this quality has no blocks that the eye sees."""

WIDEST = 1500
"""Pixels of the widest picture that a page takes in; what is wider is scaled down."""


def figure_of(
    pixels: np.ndarray, alt: str, caption: str = "", *, height: int | None = None
) -> Figure:
    """Pixels (H, W, 3) uint8 as a figure, reduced to a height where they are higher."""
    image = Image.fromarray(pixels)
    if height is not None and image.height > height:
        width = max(1, round(image.width * height / image.height))
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    return _figure(image, alt, caption)


def figure_of_file(path: Path, alt: str, caption: str = "") -> Figure:
    """A picture file as a figure that keeps its size; what is none is a `DidgenError`."""
    image = open_checked(path).convert("RGB")
    if image.width > WIDEST:
        height = max(1, round(image.height * WIDEST / image.width))
        image = image.resize((WIDEST, height), Image.Resampling.LANCZOS)
    return _figure(image, alt, caption, wide=True)


def data_uri(data: bytes, kind: str) -> str:
    """Bytes of a media type as a URI."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _figure(image: Image.Image, alt: str, caption: str, wide: bool = False) -> Figure:
    uri = data_uri(encoded(image, "WEBP", quality=QUALITY, method=4), "image/webp")
    return Figure(uri, alt, caption, image.width, image.height, wide=wide)
