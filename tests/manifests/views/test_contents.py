"""Tests of inspection: what runs and sources hold, whole or not, and one sample of either."""

import difflib
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from didgen.manifests.errors import DidgenError
from didgen.manifests.files import located
from didgen.manifests.shards.shard import iterate
from didgen.manifests.shards.tally import Tally
from didgen.manifests.sources.records import SourceManifest
from didgen.manifests.views.contents import (
    FoundImage,
    FoundSample,
    RunContents,
    SourceContents,
    find,
    inspect,
    nearest,
    write_picture,
)
from didgen.manifests.views.outlines import MASK_COLOUR


@pytest.fixture
def own(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "run"))


def test_a_run_is_counted_by_config_split_and_class(run: Path) -> None:
    contents = inspect(run)
    assert isinstance(contents, RunContents)
    assert contents.manifest is not None and contents.faults == []
    assert contents.counts == Counter(
        {
            ("images", "train", "MEL"): 5,
            ("images", "train", "BCC"): 5,
            ("pairs", "train", "MEL"): 3,
            ("pairs", "train", "BCC"): 3,
        }
    )
    assert contents.classes == ["MEL", "BCC"]
    assert contents.tally.failed == contents.manifest.failures


def test_rejected_tries_are_counted_by_the_kind_of_reason(run: Path) -> None:
    contents = inspect(run)
    assert isinstance(contents, RunContents)
    assert not contents.tally.rejections
    shards = contents.sidecars["pairs"]
    reasons = [f"the annotated mask has an IoU of 0.{n} with its layout" for n in (11, 7)]
    reasons.append("near-blank image: grey levels deviate by 1.50")
    rows = [dict(row) for row in shards[0].rows]
    rows[0]["rejected"], rows[1]["rejected"] = reasons[:1], reasons[1:]
    tally = Tally.of([shards[0].model_copy(update={"rows": rows})])
    assert tally.rejections == {
        "the annotated mask has an IoU of ... with its layout": 2,
        "near-blank image": 1,
    }


def test_every_sample_is_found_with_its_members(run: Path) -> None:
    contents = inspect(run)
    for config in ("images", "pairs"):
        for sample in iterate(run, config):
            found = find(contents, sample.key)
            assert isinstance(found, FoundSample)
            assert found.members == sample.members
            assert found.config == config and found.split == "train"
            assert found.record["prompt"] == found.row["prompt"]
            assert (found.mask is None) == (config == "images")


def test_a_failed_sample_has_its_reason_and_no_picture(run: Path, tmp_path: Path) -> None:
    found = find(inspect(run), "pairs-failed")
    assert isinstance(found, FoundSample)
    assert found.row["reason"] == "near-blank image: 1.50" and found.record == {}
    with pytest.raises(DidgenError, match=r"pairs-failed has no picture.*near-blank"):
        write_picture(found, tmp_path / "picture.png")


def test_what_is_broken_of_a_run_is_told_and_the_rest_counted(own: Path) -> None:
    (own / "manifest.json").unlink()
    (own / "run.json").write_text("{")
    (own / "pairs" / "pairs-000000.json").write_text("[]")
    # Without its records a run is known by nothing.
    with pytest.raises(DidgenError, match="neither a run nor a source"):
        inspect(own)
    shutil.copy(own / "pairs" / "pairs-000000.json", own / "manifest.json")
    contents = inspect(own)
    assert isinstance(contents, RunContents)
    assert contents.manifest is None and len(contents.faults) == 3
    assert sum(contents.counts.values()) == 12


def test_a_shard_that_lacks_a_sample_is_named(own: Path) -> None:
    (own / "images" / "images-000000.tar").unlink()
    with pytest.raises(DidgenError, match=r"images-000000\.tar does not exist"):
        find(inspect(own), "images-000000")
    shutil.copy(own / "images" / "images-000001.tar", own / "images" / "images-000000.tar")
    with pytest.raises(DidgenError, match="does not hold images-000000, which its sidecar lists"):
        find(inspect(own), "images-000000")


def test_an_unknown_key_is_answered_with_the_nearest(run: Path, source: Path) -> None:
    with pytest.raises(DidgenError, match="nearest keys are images-000001"):
        find(inspect(run), "image-000001")
    with pytest.raises(DidgenError, match="nearest keys are ISIC_0000012"):
        find(inspect(source), "ISIC_000012")


def test_a_source_has_its_images_and_rejections(source: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(source, tmp_path / "source"))
    rejected = '{"file": "a", "reason": "bad-label", "sentence": "a"}\n'
    (own / "rejected.jsonl").write_text(rejected * 2)
    contents = inspect(own)
    assert isinstance(contents, SourceContents)
    assert contents.rejected == {"bad-label": 2}
    found = find(contents, "ISIC_0000003")
    assert isinstance(found, FoundImage)
    # It is stored turned, and seen upright.
    assert found.picture().shape == (24, 2 * 16, 3)
    assert found.record == next(
        r for r in SourceManifest.read(source).records if r.key == "ISIC_0000003"
    )


def test_a_picture_has_the_form_of_its_name(run: Path, tmp_path: Path) -> None:
    pair, image = (find(inspect(run), key) for key in ("pairs-000001", "images-000001"))
    for name, form in (("a.PNG", "PNG"), ("a.jpg", "JPEG"), ("a.webp", "WEBP")):
        write_picture(image, tmp_path / name)
        with Image.open(tmp_path / name) as drawn:
            assert (drawn.format, drawn.size) == (form, (24, 16))
    write_picture(pair, tmp_path / "pair.png")
    pixels = np.asarray(Image.open(tmp_path / "pair.png"))
    assert isinstance(pair, FoundSample) and pair.mask is not None
    np.testing.assert_array_equal(pixels[:, 24:, 0] > 0, pair.mask)
    assert (pixels[:, :24] == MASK_COLOUR).all(-1).any()
    with pytest.raises(DidgenError, match=r"a\.txt is no picture by its name"):
        write_picture(pair, tmp_path / "a.txt")
    assert not (tmp_path / "a.txt").exists()


def test_a_run_in_a_store_is_inspected_there(run: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(run), "/inspected/run", recursive=True)
    contents = inspect(located("memory://inspected/run"))
    assert isinstance(contents, RunContents)
    assert contents.counts == inspect(run).counts  # type: ignore[union-attr]
    found = find(contents, "pairs-000001")
    assert found.picture().shape == (16, 48, 3)


@given(st.text("ab-0", max_size=6), st.lists(st.text("ab-0", max_size=8), unique=True, max_size=30))
def test_the_nearest_keys_are_those_of_difflib(key: str, known: list[str]) -> None:
    assert nearest(key, iter(known)) == difflib.get_close_matches(key, known, n=3, cutoff=0)
