"""Galleries of a run: a few images of each class, pairs with their masks, attention over time."""

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np

from didgen.downstream.pages.document import Heading, Paragraph
from didgen.downstream.report.blocks import Content, Figure, Gallery, Notice
from didgen.downstream.report.pictures import figure_of
from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.shards.index import layouts_are_masks
from didgen.manifests.shards.shard import read_shard, split_of
from didgen.manifests.sources.records import SourceManifest, class_words
from didgen.manifests.views.attention_maps import WATCHED, AttentionHistory
from didgen.manifests.views.contents import FoundSample, RunContents
from didgen.manifests.views.layouts import layout_of
from didgen.manifests.views.outlines import LAYOUT_COLOUR, MASK_COLOUR, binary, heat, outline

IMAGES = 8
"""Images shown of each class."""

CLASSES = 24
"""Classes that are shown; the table has all."""

PAIRS = 12
"""Pairs that are shown."""

LOOKED_AT = 4096
"""Samples that are looked at, at most, to find them."""

SIDE, PANEL, TILE = 176, 200, 128
"""Heights in pixels: of an image, of a pair, and of an attention map."""


def images_by_class(contents: RunContents) -> Iterator[Content]:
    """The first images of each class."""
    if "images" not in contents.sidecars:
        return
    yield Heading("Images by class")
    wanted = dict.fromkeys(contents.classes[:CLASSES], IMAGES)
    shown: dict[str, list[Figure]] = {label: [] for label in wanted}
    faults: list[str] = []
    for sample in _samples(contents, "images", wanted, faults):
        label = str(sample.row.get("label") or "")
        picture = _shown(sample, faults)
        if picture is not None:
            origin = f", {sample.row['origin']}" if "origin" in sample.row else ""
            prompt = sample.row.get("prompt")
            alt = f"{label or 'No class'}, {sample.key}{origin}" + (f": {prompt}" if prompt else "")
            shown[label].append(figure_of(picture, alt, f"{sample.key}{origin}", height=SIDE))
    yield from map(Notice, faults)
    for label, figures in shown.items():
        if figures:
            count = sum(
                n
                for (config, _, of), n in contents.counts.items()
                if (config, of) == ("images", label)
            )
            yield Heading(f"{titled(label)}: {len(figures)} of {count}", 3)
            yield Gallery(figures, 104)


def titled(label: str) -> str:
    """A class in words with its code, or what stands for none."""
    words = class_words(label)
    return f"{words[:1].upper()}{words[1:]} ({label})" if words != label else label or "No class"


def pairs(contents: RunContents, source: SourceManifest | None) -> Iterator[Content]:
    """The first pairs: both outlines on the image, the layout and the annotation beside it."""
    if "pairs" not in contents.sidecars:
        return
    yield Heading("Pairs: layout and annotation")
    faults: list[str] = []
    figures = []
    missing = False
    for sample in islice(_samples(contents, "pairs", None, faults), PAIRS):
        if _shown(sample, faults) is not None:
            figure, whole = _pair(sample, source, faults)
            if figure is not None:
                figures.append(figure)
                missing |= not whole
    yield Paragraph(
        "From left to right: the image with the outline of its mask in green and that of its "
        f"layout in white, the layout that guided it, and its mask{_origin_of_masks(contents)}."
    )
    if missing:
        yield Paragraph(
            "Where the middle is empty, the layout is a mask of a source that cannot be read here, "
            "or the pair is a real one."
        )
    yield from map(Notice, faults)
    yield Gallery(figures, 300)


def _origin_of_masks(contents: RunContents) -> str:
    """Where the masks of a run come from, as the end of a sentence; nothing where they differ."""
    kind = contents.recipe.get("kind", "augment")
    if kind == "synthetic":
        return ", which came with it from another generator"
    if kind != "augment":
        return ""
    if _follows_layouts(contents):
        return ", which is the layout"
    return ", the annotation that was read off the attention (Eq. 7)"


def _follows_layouts(contents: RunContents) -> bool:
    """Whether a run's masks are its layouts; an unfinished one does not say by which method."""
    decisions = contents.manifest.decisions if contents.manifest else {}
    return layouts_are_masks(contents.recipe, decisions)


def attention(contents: RunContents) -> Iterator[Content]:
    """How the lesion token's map grew in the pairs whose rows keep it."""
    yield Heading("Attention to the lesion over time")
    if "pairs" not in contents.sidecars:
        yield Paragraph("There are no maps: only pairs have them, and this run has none.")
        return
    faults: list[str] = []
    rows: list[Content] = []
    for sample in islice(_samples(contents, "pairs", None, faults), WATCHED):
        try:
            history = AttentionHistory.of_row(sample.row, sample.key)
            if history is not None:
                rows += _history(sample, history)
        except DidgenError as error:
            faults.append(str(error))
    yield from map(Notice, dict.fromkeys(faults))
    if not rows:
        yield Paragraph(
            "There are no maps: `didgen augment` keeps them for the first pairs that it draws, "
            "which this run was made without: by an older version, by a method without attention "
            "maps, as a mix, or by another generator."
        )
        return
    yield Paragraph(
        "Cross-attention of the token `<lesion>` at some steps of the drawing, the last one that "
        "of the annotation; then that map propagated by self-attention (A_CS of Eq. 7)"
        f"{'' if _follows_layouts(contents) else ', from which the mask is cut'}, and the mask's "
        "outline. Each map goes from its least value (black) to its largest (pale yellow)."
    )
    yield from rows


def _history(sample: FoundSample, history: AttentionHistory) -> list[Content]:
    figures = [
        figure_of(
            heat(levels, TILE),
            f"{sample.key}: attention to the lesion at step {step} of {history.of}",
            f"step {step} of {history.of}",
        )
        for step, levels in zip(history.steps, history.maps, strict=True)
    ]
    figures.append(
        figure_of(
            heat(history.propagated, TILE),
            f"{sample.key}: attention propagated by self-attention, from which the mask is cut",
            "A_CS of Eq. 7",
        )
    )
    mask = sample.mask
    if mask is not None:
        drawn = outline(sample.image, mask, MASK_COLOUR)
        alt = f"{sample.key}: the image with the outline of its mask"
        figures.append(figure_of(drawn, alt, "the mask", height=TILE))
    return [Heading(sample.key, 3), Gallery(figures, 76)]


def _pair(
    sample: FoundSample, source: SourceManifest | None, faults: list[str]
) -> tuple[Figure | None, bool]:
    """A pair as a figure, and whether its layout is in it; None where its mask does not fit."""
    image, mask, name = sample.image, sample.mask, str(sample.row.get("layout") or "")
    if mask is None or mask.shape != image.shape[:2]:
        return None, True
    layout = None
    mask_of = str(sample.row.get("mask_of") or "")
    if image.shape[0] == image.shape[1] and name and not mask_of:
        try:
            seed = int(sample.row.get("seed", sample.record.get("seed", 0)))
            layout = layout_of(name, seed, image.shape[0], source)
        except (DidgenError, OSError, ValueError) as error:
            faults.append(f"The layout of {sample.key} cannot be shown: {error}")
    marked = image if layout is None else outline(image, layout, LAYOUT_COLOUR)
    gap = np.full((image.shape[0], 4, 3), 128, np.uint8)
    middle = np.full_like(image, 128) if layout is None else binary(layout)
    parts = [outline(marked, mask, MASK_COLOUR), gap, middle, gap, binary(mask)]
    label = str(sample.row.get("label") or "no class")
    scores = sample.row.get("scores") or {}
    overlap = scores.get("layout_iou")
    reported = f"{sample.key}, {label}" + (f", IoU {overlap:.2f}" if overlap is not None else "")
    guide = f"layout {mask_of or name}" if name else "no layout"
    figure = figure_of(
        np.concatenate(parts, axis=1),
        f"{sample.key}, {label}: the image with outlines, its {guide}, and its annotation, "
        f"which covers {mask.mean():.0%} of it",
        f"{reported} with its {guide}",
        height=PANEL,
    )
    return figure, layout is not None


def _shown(sample: FoundSample, faults: list[str]) -> np.ndarray | None:
    try:
        return sample.image
    except (DidgenError, KeyError) as error:
        faults.append(f"{sample.key} cannot be shown: {error}")
        return None


def _samples(
    contents: RunContents, config: Config, wanted: dict[str, int] | None, faults: list[str]
) -> Iterator[FoundSample]:
    """Samples of a config in their order, with their members; of each label as many as wanted.

    A shard that cannot be read is told among the faults, and the next one is taken.
    """
    looked = 0
    for sidecar in contents.sidecars[config]:
        rows = sidecar.kept
        if wanted is not None and not any(
            wanted.get(str(row.get("label") or ""), 0) for row in rows.values()
        ):
            continue
        try:
            for key, members in _bounded(read_shard(contents.directory / config / sidecar.shard)):
                looked += 1
                row = rows.get(key)
                label = str(row.get("label") or "") if row else ""
                if row is None or (wanted is not None and not wanted.get(label)):
                    continue
                if wanted is not None:
                    wanted[label] -= 1
                split = split_of(sidecar.shard)
                yield FoundSample(key, config, sidecar.shard, split, row, members)
                if wanted is not None and not any(wanted.values()):
                    return
        except DidgenError as error:
            faults.append(str(error))
        if looked > LOOKED_AT:
            return


def _bounded(
    samples: Iterable[tuple[str, dict[str, bytes]]],
) -> Iterator[tuple[str, dict[str, bytes]]]:
    return islice(samples, LOOKED_AT)
