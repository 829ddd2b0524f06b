"""Contact sheets: images by class, captioned images, and pairs with their masks' outlines."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from didgen.manifests.errors import DidgenError
from didgen.manifests.files import write_bytes
from didgen.manifests.images import encoded, middle, read_image
from didgen.manifests.sources.records import SourceManifest
from didgen.manifests.views.attention_maps import AttentionHistory
from didgen.manifests.views.outlines import MASK_COLOUR, heat, outline, pair_panel

GAP, TITLE = 4, 14
LINE, LETTERS = 15, 44
"""Height of a line of a caption in pixels, and the letters that fit into one."""
PANEL = 288
"""Side of an image on a sheet with captions, in pixels."""


def image_sheet(images: np.ndarray, titles: list[str], columns: int) -> Image.Image:
    """A grid of images (B, H, W, 3) uint8, row by row, each under its title."""
    count, height, width = images.shape[:3]
    rows = -(-count // columns)
    size = (columns * (width + GAP) + GAP, rows * (height + TITLE + GAP) + GAP)
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for number, (image, title) in enumerate(zip(images, titles, strict=True)):
        row, column = divmod(number, columns)
        left, top = GAP + column * (width + GAP), GAP + row * (height + TITLE + GAP)
        pen.text((left + 1, top), title, fill="black")
        sheet.paste(Image.fromarray(image), (left, top + TITLE))
    return sheet


def pair_sheet(
    images: np.ndarray, masks: np.ndarray, layouts: np.ndarray, titles: list[str], columns: int = 4
) -> Image.Image:
    """Pairs: each image with its mask's outline in green and its layout's in white, mask beside.

    images: (B, H, W, 3) uint8; masks, layouts: (B, H, W) booleans.
    """
    panels = [pair_panel(*parts) for parts in zip(images, masks, layouts, strict=True)]
    return image_sheet(np.stack(panels), titles, columns)


def attention_sheet(
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    histories: Sequence[AttentionHistory],
    titles: list[str],
) -> Image.Image:
    """How attention to the lesion grew, a pair a row: its maps, that of Eq. 7, and the outline.

    images: (H, W, 3) uint8; masks: (H, W) booleans.
    """
    panels = []
    for image, mask, history in zip(images, masks, histories, strict=True):
        side = image.shape[0]
        maps = [heat(levels, side) for levels in (*history.maps, history.propagated)]
        panels.append(np.concatenate([*maps, outline(image, mask, MASK_COLOUR)], axis=1))
    return image_sheet(np.stack(panels), titles, 1)


def caption_sheet(
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray | None],
    captions: Sequence[tuple[str, str]],
    columns: int = 5,
) -> Image.Image:
    """A grid of images (H, W, 3) uint8 with their masks' outlines, each over its name and caption.

    masks: (H, W) booleans or None; captions: (name, caption).
    """
    texts = [[name, *textwrap.wrap(caption, LETTERS)] for name, caption in captions]
    height = PANEL + LINE * max(map(len, texts), default=0) + GAP
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (PANEL + GAP) + GAP, rows * height + GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for number, (image, mask, lines) in enumerate(zip(images, masks, texts, strict=True)):
        row, column = divmod(number, columns)
        left, top = GAP + column * (PANEL + GAP), GAP + row * height
        panel = np.asarray(ImageOps.pad(Image.fromarray(image), (PANEL, PANEL), color="white"))
        if mask is not None:
            area = ImageOps.pad(Image.fromarray(mask), (PANEL, PANEL), Image.Resampling.NEAREST)
            panel = outline(panel, np.asarray(area), MASK_COLOUR)
        sheet.paste(Image.fromarray(panel), (left, top))
        for place, line in enumerate(lines):
            pen.text((left, top + PANEL + LINE * place), line, fill="black", font=font)
    return sheet


def write_caption_sheet(manifest: SourceManifest, path: Path, count: int, seed: int) -> None:
    """Draw `count` random captioned images of a manifest, cut as in training, to a PNG."""
    captioned = [record for record in manifest.records if record.caption]
    if not captioned:
        raise DidgenError("No image has a caption yet; run `didgen caption` first.")
    chosen = np.random.default_rng(seed).permutation(len(captioned))[:count]
    records = [captioned[index] for index in sorted(chosen)]
    sheet = caption_sheet(
        [middle(np.asarray(read_image(manifest.image_path(record)))) for record in records],
        [middle(manifest.read_mask(r)) if r.mask else None for r in records],
        [(f"{n} {r.key}", r.caption or "") for n, r in enumerate(records, 1)],
    )
    write_bytes(path, encoded(sheet, "PNG"))
