"""Tests of gates: figures against naive counts, and a reason for what is stopped."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from didgen.augment.generation.gates import fault, measure, otsu_failures
from didgen.manifests.recipes.augment import Gates

masks = hnp.arrays(bool, (9, 9))


def components_one_by_one(mask: np.ndarray) -> int:
    """The naive count: flood every component from its first pixel."""
    left = {(int(row), int(column)) for row, column in zip(*np.nonzero(mask), strict=True)}
    count = 0
    while left:
        count += 1
        edge = [left.pop()]
        while edge:
            row, column = edge.pop()
            near = {(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)}
            edge += near & left
            left -= near
    return count


@settings(deadline=None)
@given(masks, masks)
def test_scores_are_those_counted_pixel_by_pixel(mask: np.ndarray, layout: np.ndarray) -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    scores = measure(image, mask, layout)
    pixels = list(zip(mask.ravel().tolist(), layout.ravel().tolist(), strict=True))
    both, either = sum(m and y for m, y in pixels), sum(m or y for m, y in pixels)
    assert scores["layout_iou"] == pytest.approx(both / max(either, 1), abs=1e-4)
    assert scores["mask_area"] == pytest.approx(sum(m for m, _ in pixels) / 81, abs=1e-4)
    assert scores["components"] == components_one_by_one(mask)
    grey = [sum(pixel) / 3 for pixel in image.reshape(-1, 3).tolist()]
    mean = sum(grey) / 81
    spread = (sum((level - mean) ** 2 for level in grey) / 81) ** 0.5
    assert scores["contrast"] == pytest.approx(spread, abs=1e-3)


PAIR = {"contrast": 20.0, "mask_area": 0.2, "components": 1, "layout_iou": 0.8}
CLEAR = {"attention_contrast": 0.8, "separability": 0.9}
FLAT = {"attention_contrast": 0.004, "separability": 0.0}


@pytest.mark.parametrize(
    ("scores", "gates", "reason"),
    [
        (PAIR, {}, None),
        ({"contrast": 20.0}, {}, None),
        ({"contrast": 1.99}, {}, "near-blank image: grey levels deviate by 1.99"),
        ({"contrast": 1.99}, {"contrast": 1.5}, None),
        (PAIR | {"mask_area": 0.0}, {"mask_area": (0, 1)}, "the annotated mask covers 0.00%"),
        (PAIR | {"mask_area": 1.0}, {"mask_area": (0, 1)}, "the annotated mask covers 100.00%"),
        (PAIR | {"mask_area": 0.3}, {"mask_area": (0.1, 0.29)}, "covers 30.00% of the image"),
        (PAIR | {"mask_area": 0.3}, {"mask_area": (0.3, 0.3)}, None),
        (PAIR | {"components": 2}, {"components": 1}, "the annotated mask has 2 components"),
        (PAIR | {"components": 99}, {"components": None}, None),
        (PAIR | {"layout_iou": 0.29}, {}, "an IoU of 0.29 with its layout"),
        (PAIR | CLEAR, {}, None),
        (PAIR | CLEAR, {"attention_contrast": 0.8, "separability": 0.9}, None),
        (PAIR | CLEAR, {"attention_contrast": 0.801}, "a relative span of 0.800"),
        (PAIR | CLEAR, {"separability": 0.91}, "a separability of 0.900"),
        (PAIR | FLAT | {"mask_area": 0.0}, {}, "flat attention: its relative span is 0.004, in"),
        # A method that says nothing of its attention is not asked for it.
        (PAIR, {"attention_contrast": 1, "separability": 1}, None),
    ],
)
def test_each_gate_stops_what_it_names(
    scores: dict[str, float], gates: dict[str, object], reason: str | None
) -> None:
    found = fault(scores, Gates.model_validate(gates))
    assert found is None if reason is None else found is not None and reason in found


def test_failures_of_otsu_are_counted_over_all_tries() -> None:
    reason = fault(PAIR | FLAT, Gates())
    rows = [
        {"layout": "drawn", "redraws": 2, "rejected": [reason, "near-blank image: 1.0"]},
        {"layout": "drawn", "redraws": 0, "rejected": []},
        {"layout": "ISIC_1", "redraws": 1, "rejected": [reason, reason], "status": "failed"},
        {"layout": "", "redraws": 3, "rejected": ["near-blank image: 1.0"] * 3},
    ]
    assert otsu_failures(rows) == {"otsu": "no two levels stopped 3 of 6 tries of pairs"}
    assert otsu_failures(rows[3:]) == {}
