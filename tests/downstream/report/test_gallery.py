"""Tests of galleries: few of many, layouts where they can be had, attention where kept."""

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from didgen.downstream.pages.document import Heading, Paragraph
from didgen.downstream.report.blocks import Content, Figure, Gallery, Notice
from didgen.downstream.report.gallery import IMAGES, PAIRS, attention, images_by_class, pairs
from didgen.manifests.recipes.mix import MixRecipe
from didgen.manifests.runs.mix import mix, prepare_mix
from didgen.manifests.shards.index import Manifest
from didgen.manifests.shards.shard import Sample, Stamp, write_shard
from didgen.manifests.sources.records import SourceManifest
from didgen.manifests.views.attention_maps import FIELD, AttentionHistory
from didgen.manifests.views.contents import run_contents
from tests.fixtures.photographs import MASK
from tests.fixtures.pictures import encoded, smooth


def figures(blocks: Iterable[Content]) -> list[Figure]:
    return [one for block in blocks if isinstance(block, Gallery) for one in block.figures]


def pixels(figure: Figure) -> np.ndarray:
    data = base64.b64decode(figure.data.partition("base64,")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def write_pairs(folder: Path, count: int, rows: Sequence[dict[str, Any]]) -> Path:
    """A run of square pairs with the given rows, in turn."""
    samples = [
        Sample(
            f"pair-{number:06d}",
            {
                "jpg": encoded(smooth(number), "JPEG"),
                "mask.png": MASK,
                "json": b"{}",
            },
            {"label": "MEL", "layout": "drawn", "seed": number} | rows[number % len(rows)],
        )
        for number in range(count)
    ]
    write_shard(folder, "pairs", 0, samples, Stamp("f"))
    return folder


def test_a_few_images_of_each_class_are_shown(tmp_path: Path) -> None:
    samples = [
        Sample(
            f"image-{number:06d}",
            {"jpg": encoded(smooth(number), "JPEG"), "cls": b"0", "json": b"{}"},
            {"label": ("MEL", "NV", "")[number % 3], "prompt": f"prompt {number}"},
        )
        for number in range(60)
    ]
    for index in range(3):
        part = samples[20 * index : 20 * index + 20]
        write_shard(tmp_path, "images", index, part, Stamp("f"))
    blocks = list(images_by_class(run_contents(tmp_path)))
    assert [b.text for b in blocks if isinstance(b, Heading)][1:] == [
        "No class: 8 of 20",
        "Melanoma (MEL): 8 of 20",
        "Melanocytic nevus (NV): 8 of 20",
    ]
    shown = figures(blocks)
    assert len(shown) == 3 * IMAGES
    assert shown[IMAGES].alt == "MEL, image-000000: prompt 0"
    assert np.abs(pixels(shown[IMAGES]) - smooth(0)).mean() < 8


def test_a_pair_has_its_layout_and_its_annotation(tmp_path: Path, source: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"scores": {"layout_iou": 0.5}},
        {"layout": "ISIC_0000000"},
        {"layout": "gone"},
    ]
    contents = run_contents(write_pairs(tmp_path / "run", 20, rows))
    blocks = list(pairs(contents, SourceManifest.read(source)))
    shown = figures(blocks)
    assert len(shown) == PAIRS
    assert shown[0].caption == "pair-000000, MEL, IoU 0.50 with its layout drawn"
    assert "covers 25% of it" in shown[0].alt
    first, real, gone = (pixels(one)[:, 52:100] for one in shown[:3])
    for layout in (first, real):
        assert (layout < 60).any() and (layout > 200).any()
    assert np.abs(gone - 128).max() < 20
    np.testing.assert_array_equal(pixels(shown[0])[:, 104:, 0] > 128, first_mask())
    assert any("the middle is empty" in b.text for b in blocks if isinstance(b, Paragraph))
    # Without the source its layouts cannot be had.
    assert "middle is empty" in str(list(pairs(contents, None)))


def first_mask() -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(MASK))) > 0


@pytest.mark.parametrize(
    ("recipe", "decisions", "told"),
    [
        ({"kind": "augment"}, {}, "read off the attention (Eq. 7)"),
        (
            {"kind": "augment", "sampling": {"annotation": {"mask": "layout"}}},
            {},
            "its mask, which is the layout.",
        ),
        ({"kind": "augment"}, {"method": "pix2pixhd, a port"}, "its mask, which is the layout."),
        ({"kind": "synthetic"}, {}, "came with it from another generator."),
        ({"kind": "mix"}, {}, "and its mask."),
    ],
)
def test_where_the_masks_come_from_is_said(
    tmp_path: Path, recipe: dict[str, Any], decisions: dict[str, str], told: str
) -> None:
    contents = run_contents(write_pairs(tmp_path / "run", 2, [{}]))
    if decisions:
        said: dict[str, Any] = {
            "fingerprint": "f",
            "didgen": "0",
            "classes": [],
            "failures": [],
            "configs": {},
        }
        totals = {"shards": 0, "samples": 0, "failures": 0, "bytes": 0}
        said |= {"recipe": recipe, "decisions": decisions, "versions": {}, "totals": totals}
        contents = replace(contents, manifest=Manifest.model_validate(said))
    blocks = list(pairs(replace(contents, recipe=recipe), None))
    (first, *_) = [block.text for block in blocks if isinstance(block, Paragraph)]
    assert told in first
    assert ("Eq. 7" in first) == ("Eq. 7" in told)


def test_attention_is_shown_where_it_was_kept(tmp_path: Path) -> None:
    maps = np.random.default_rng(0).integers(0, 256, (3, 16, 16), np.uint8)
    history = AttentionHistory((1, 5, 9), 9, maps, maps[0]).to_row()
    run = write_pairs(tmp_path / "run", 6, [{FIELD: history}, {FIELD: history | {"maps": "?"}}])
    blocks = list(attention(run_contents(run)))
    assert [b.text for b in blocks if isinstance(b, Heading)][1:] == ["pair-000000", "pair-000002"]
    assert [f.caption for f in figures(blocks)][:5] == [
        "step 1 of 9",
        "step 5 of 9",
        "step 9 of 9",
        "A_CS of Eq. 7",
        "the mask",
    ]
    notices = [block.text for block in blocks if isinstance(block, Notice)]
    assert len(notices) == 2 and "maps of pair-000001 are not what didgen writes" in notices[0]


@pytest.mark.parametrize("kept", ["an older run", "no pairs"])
def test_without_attention_the_reason_is_said(run: Path, tmp_path: Path, kept: str) -> None:
    contents = run_contents(run if kept == "an older run" else tmp_path)
    blocks = list(attention(contents))
    assert not figures(blocks)
    wanted = "an older version" if kept == "an older run" else "only pairs have them"
    assert wanted in " ".join(b.text for b in blocks if isinstance(b, Paragraph))


def test_a_mix_says_what_is_real(source: Path, run: Path, tmp_path: Path) -> None:
    recipe = MixRecipe(source=source, run=run, ratio=0.5, config="images")
    mix(prepare_mix(recipe), tmp_path / "mix")
    shown = figures(images_by_class(run_contents(tmp_path / "mix")))
    assert {one.caption.rpartition(", ")[2] for one in shown} == {"real", "synthetic"}
