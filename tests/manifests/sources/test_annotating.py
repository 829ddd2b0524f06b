"""Tests of annotating a source: what is drawn, stopped, recorded and corrected."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from didgen.manifests.errors import DidgenError
from didgen.manifests.sources.annotating import (
    CORRECTED,
    Annotation,
    DrawnMask,
    MaskGates,
    annotate_source,
    without_mask,
)
from didgen.manifests.sources.carried_over import with_captions
from didgen.manifests.sources.records import SourceManifest, SourceRecord
from tests.fixtures.pictures import write_picture
from tests.fixtures.sources import manifest_of, record, write_photo

SIDE = 32


class Squares:
    """Draws a square of the side that the number in a key names; key `stop` ends the work."""

    name = "squares"

    def masks(
        self, manifest: SourceManifest, records: Sequence[SourceRecord]
    ) -> Iterator[DrawnMask]:
        for one in records:
            if one.key.startswith("stop"):
                raise KeyboardInterrupt
            mask = np.zeros((SIDE, SIDE), bool)
            mask[: int(one.key[1:]), : int(one.key[1:])] = True
            yield DrawnMask(one, mask, {"separability": 0.9, "attention_contrast": 0.5})


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A source of five images without masks, one of them captioned, and one with a person's."""
    (tmp_path / "photos").mkdir()
    keys = {"a00": "train", "a08": "train", "a16": "val", "a32": "train"}
    records = [
        record(key, width=SIDE, height=SIDE, split=split, label="MEL", caption="as measured")
        for key, split in keys.items()
    ]
    own = write_photo(
        tmp_path / "photos", "b", b"an image", b"a mask", width=SIDE, height=SIDE, split="test"
    )
    manifest_of(tmp_path / "photos", *records, own).write(tmp_path / "source")
    return tmp_path / "source"


def annotated(source: Path, *, again: bool = False) -> Annotation:
    return annotate_source(source, Squares, MaskGates(), again=again)


def test_images_without_a_mask_get_one_and_gates_stop_the_rest(bare: Path) -> None:
    before = {r.key: r for r in SourceManifest.read(bare).records}
    done = annotated(bare)
    assert (done.drawn, done.corrected) == (2, 0)
    assert done.stopped == {
        "a00": "the annotated mask covers 0.00% of the image",
        "a32": "the annotated mask covers 100.00% of the image",
    }
    manifest = SourceManifest.read(bare)
    assert manifest == done.manifest
    by = {r.key: r.mask_by for r in manifest.records}
    assert by == {"a00": None, "a08": "squares", "a16": "squares", "a32": None, "b": None}
    for one in manifest.select(masked=True):
        if one.mask_by:
            mask = manifest.read_mask(one)
            assert mask.sum() == int(one.key[1:]) ** 2 and one.caption is None
            assert manifest.mask_path(one) == bare / "annotated" / f"{one.key}.png"
            assert manifest.mask_digest(one) == one.mask_sha256
        else:
            assert one == before[one.key], "a person's mask is left alone"
    assert not (Path(manifest.header.root) / "annotated").exists()
    tries = [json.loads(line) for line in (bare / "annotated.jsonl").read_text().splitlines()]
    assert [row["scores"]["mask_area"] for row in tries] == [0.0, 0.0625, 0.25, 1.0]


def test_a_drawn_mask_is_trained_on_and_tests_nothing(bare: Path) -> None:
    manifest = annotated(bare).manifest
    assert [r.key for r in manifest.pairs("train")] == ["a08"]
    assert [r.key for r in manifest.pairs("val")] == []
    assert [r.key for r in manifest.pairs("test")] == ["b"]
    assert manifest.no_truths() == "1 held-out masks by squares are no truth, left out"
    whole = [r for r in manifest.records if r.truth]
    assert [r.key for r in whole] == ["b"]


def test_a_second_call_draws_nothing_anew(bare: Path) -> None:
    annotated(bare)
    before = SourceManifest.read(bare)
    assert [r.key for r in without_mask(before)] == ["a00", "a32"]
    assert annotated(bare).manifest == before
    assert [r.key for r in without_mask(before, again=True)] == ["a00", "a08", "a16", "a32"]


def test_what_a_person_changed_is_taken_in_and_not_drawn_again(bare: Path) -> None:
    annotated(bare)
    mine = np.eye(SIDE, dtype=np.uint8) * 255
    write_picture(bare / "annotated" / "a08.png", mine)
    (bare / "annotated" / "a16.png").unlink()
    done = annotated(bare, again=True)
    assert (done.drawn, done.corrected) == (1, 1)
    corrected = next(r for r in done.manifest.records if r.key == "a08")
    assert corrected.mask_by == f"squares{CORRECTED}" and not corrected.truth
    np.testing.assert_array_equal(done.manifest.read_mask(corrected), mine > 0)
    assert annotated(bare).corrected == 0
    write_picture(bare / "annotated" / "a08.png", mine[:9])
    with pytest.raises(DidgenError, match=r"a08.png has 32 x 9 pixels and its image 32 x 32"):
        annotated(bare)
    assert next(r for r in SourceManifest.read(bare).records if r.key == "a08") == corrected


def test_what_is_finished_is_kept_when_it_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    records = [record(key, width=SIDE, height=SIDE) for key in ("a08", "stop", "z16")]
    manifest_of(tmp_path / "photos", *records).write(tmp_path / "source")
    with pytest.raises(KeyboardInterrupt):
        annotated(tmp_path / "source")
    manifest = SourceManifest.read(tmp_path / "source")
    assert [r.mask_by for r in manifest.records] == ["squares", None, None]


def test_masks_outlive_another_import(bare: Path) -> None:
    drawn = annotated(bare).manifest.records
    again = [r.model_copy(update={"mask": None, "mask_by": None}) for r in drawn]
    bare_records = [r.model_copy(update={"mask_sha256": None}) for r in again[:4]]
    assert with_captions([*bare_records, drawn[4]], drawn) == drawn
    other = bare_records[1].model_copy(update={"sha256": "1" * 64})
    assert with_captions([other], drawn)[0].mask is None, "it is another image"
    own = bare_records[1].model_copy(update={"mask": "mine.png"})
    assert with_captions([own], drawn)[0].mask_by is None


def test_older_manifests_are_read(bare: Path) -> None:
    rows = [json.loads(line) for line in (bare / "records.jsonl").read_text().splitlines()]
    lines = [json.dumps({k: v for k, v in row.items() if k != "mask_by"}) for row in rows]
    (bare / "records.jsonl").write_text("\n".join(lines) + "\n")
    assert [r.mask_by for r in SourceManifest.read(bare).records] == [None] * 5
