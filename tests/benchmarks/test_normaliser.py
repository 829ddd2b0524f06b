"""The comparison of the normalisers: which layouts, what is recorded, and that it goes on."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import normaliser
from benchmarks.normaliser import Case, choose, gradient_rows, measure, table
from benchmarks.records import Records, Row
from didgen.augment.diffusion.images import load_mask
from didgen.augment.diffusion.pipeline import LesionPairPipeline
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.sampling import Sampling
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.lesions import SIZE, manifest
from tests.fixtures.recipes import QUICK
from tests.fixtures.tiny_model import sampler, shape

__all__ = ["manifest", "sampler", "shape"]

TARGETS = (0.05, 0.2)
SAMPLING = Sampling.model_validate(QUICK)


@pytest.fixture(scope="module")
def held_out(manifest: SourceManifest) -> SourceManifest:
    """The tiny source, all of it of the validation split; two images are of one lesion."""
    lesions = {"drawn_01": "drawn_00"}
    records = tuple(
        r.model_copy(update={"split": "val", "lesion_id": lesions.get(r.key, r.lesion_id)})
        for r in manifest.records
    )
    return SourceManifest(manifest.header, records)


@pytest.fixture(scope="module")
def cases(held_out: SourceManifest) -> list[Case]:
    return choose(held_out, SIZE, TARGETS, 2)


def test_layouts_are_the_nearest_of_each_area_and_no_lesion_comes_twice(
    held_out: SourceManifest,
) -> None:
    cases = choose(held_out, SIZE, TARGETS, 3)
    assert [case.target for case in cases] == [0.05] * 3 + [0.2] * 3
    assert len({case.record.lesion_id for case in cases}) == 6
    areas = {
        r.key: float((load_mask(held_out, r, SIZE) > 0.5).float().mean()) for r in held_out.records
    }
    assert all(case.area == pytest.approx(areas[case.record.key]) for case in cases)
    left = {r.key: r.lesion_id for r in held_out.records}
    for case in cases:
        nearest = min(left, key=lambda key: (abs(areas[key] - case.target), key))
        assert case.record.key == nearest
        left = {key: lesion for key, lesion in left.items() if lesion != left[nearest]}
    assert len(choose(held_out, SIZE, TARGETS, 99)) == 11
    with pytest.raises(DidgenError, match="no validation image with a mask and a caption"):
        choose(SourceManifest(held_out.header, ()), SIZE, TARGETS, 1)


def test_gradients_of_small_layouts_differ_by_more(
    sampler: LesionPairPipeline, cases: list[Case]
) -> None:
    rows = gradient_rows(sampler, SAMPLING, cases)
    assert [row["key"] for row in rows] == [case.record.key for case in cases]
    for row in rows:
        assert -1 <= row["cosine"] <= 1 and -1 <= row["cosine_with_l_ca"] <= 1
        assert row["lesion_weight"] * row["skin_weight"] == pytest.approx(1)
        assert row["skin_weight"] == pytest.approx(1 / row["area"] - 1, rel=0.01)
    small, large = (np.mean([row["cosine"] for row in rows if row["target"] == t]) for t in TARGETS)
    assert small < large


def test_a_measurement_goes_on_and_has_the_same_table(
    sampler: LesionPairPipeline,
    cases: list[Case],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = Records(tmp_path / "whole.jsonl", {})
    measure(sampler, SAMPLING, cases, [5.0], whole)
    assert len(whole.of("gradient")) == 4
    for name in normaliser.NORMALISERS:
        pairs = whole.of("pair", normaliser=name, eta=5.0)
        assert pairs.keys() == {case.record.key for case in cases}
        assert all(0 <= row["iou"] <= 1 for row in pairs.values())
    # Stopped after its first lines, one of them torn.
    lines = (tmp_path / "whole.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "stopped.jsonl").write_bytes(b"".join(lines[:8]) + lines[8][:9])
    stopped = Records(tmp_path / "stopped.jsonl", {})
    drawn: list[int] = []
    draws = normaliser.pair_rows

    def counted(pipeline: LesionPairPipeline, asked: Sampling, batch: list[Case]) -> list[Row]:
        drawn.append(len(batch))
        return draws(pipeline, asked, batch)

    monkeypatch.setattr(normaliser, "pair_rows", counted)
    measure(sampler, SAMPLING, cases, [5.0], stopped)
    assert drawn == [2, 2, 2]
    assert table(stopped, TARGETS, [5.0]) == table(whole, TARGETS, [5.0])
    measure(sampler, SAMPLING, cases, [5.0], stopped)
    assert drawn == [2, 2, 2]


def test_the_table_compares_layout_by_layout(tmp_path: Path) -> None:
    records = Records(tmp_path / "records.jsonl", {})
    for key, ours, printed in (("a", 0.4, 0.6), ("b", 0.6, 0.9)):
        for name, iou in (("region", ours), ("paper", printed)):
            row = {"kind": "pair", "normaliser": name, "eta": 20.0, "target": 0.02, "key": key}
            records.add([row | {"iou": iou}])
    records.add([row | {"iou": 0.1, "key": "only one of them"}])
    first, *_ = [line for line in table(records, [0.02], [20.0]).splitlines() if "| 2 |" in line]
    cells = [cell.strip() for cell in first.strip("|").split("|")]
    assert cells[:5] == ["2%", "2", "20", "0.500", "0.750"]
    assert cells[5].startswith("+0.250 (+0.2")
    assert cells[6:] == ["50%", "0%"]
