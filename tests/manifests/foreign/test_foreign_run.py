"""Tests of foreign runs: what goes in, what is left out and counted, and what is known of it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json_lines
from didgen.manifests.foreign.foreign_run import import_foreign, prepare_foreign
from didgen.manifests.images import open_checked
from didgen.manifests.recipes.synthetic import SyntheticRecipe
from didgen.manifests.runs.finish import read_trained_on
from didgen.manifests.runs.training_samples import check_run, training_samples
from didgen.manifests.runs.verify import verify
from didgen.manifests.shards.index import Manifest, read_manifest
from didgen.manifests.shards.shard import iterate, read_shard, read_sidecars, shard_path
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.commands import Command
from tests.fixtures.pictures import encoded
from tests.fixtures.sources import manifest_of, write_photo

SPLITS = ("train", "train", "val", "test")


def picture(seed: int, side: int = 96) -> Image.Image:
    """A smooth picture that no other seed comes near."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def disc(side: int = 96) -> Image.Image:
    rows, columns = np.mgrid[:side, :side] - side // 2
    return Image.fromarray((np.hypot(rows, columns) < side / 4).astype(np.uint8) * 255)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Four real images with masks: two train, one is of val and one of test."""
    photos = tmp_path / "photos"
    photos.mkdir()
    mask = encoded(disc(), "PNG")
    records = [
        write_photo(
            photos,
            f"ISIC_{number:07d}",
            encoded(picture(number), "PNG"),
            mask,
            width=96,
            height=96,
            label=("MEL", "NV")[number % 2],
            split=split,
        )
        for number, split in enumerate(SPLITS)
    ]
    manifest_of(photos, *records, classes=("MEL", "NV")).write(tmp_path / "source")
    return tmp_path / "source"


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Six samples with labels and masks; one is the test image in another size."""
    folder = tmp_path / "gan"
    (folder / "masks").mkdir(parents=True)
    rows = ["image,label"]
    for number in range(6):
        sample = picture(3, 80) if number == 5 else picture(10 + number, 64)
        sample.save(folder / f"gan{number}.png")
        disc(sample.width).save(folder / "masks" / f"gan{number}.png")
        rows.append(f"gan{number},{('MEL', 'NV')[number % 2]}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def asked(source: Path, foreign: Path, **fields: object) -> SyntheticRecipe:
    given = {"labels": foreign / "labels.csv", "masks": foreign / "masks", "shard_size": 4}
    return SyntheticRecipe.model_validate(
        {"images": foreign, "source": source, "licence": "CC-BY-4.0", **given, **fields}
    )


def imported(source: Path, foreign: Path, out: Path, **fields: object) -> Manifest:
    return import_foreign(prepare_foreign(asked(source, foreign, **fields)), out)


def test_a_folder_becomes_a_run_that_verifies(source: Path, foreign: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    manifest = imported(source, foreign, out)
    assert {verdict.status for verdict in verify(out)} == {"ok"}
    assert manifest.classes == ["MEL", "NV"]
    assert {config: len(shards) for config, shards in manifest.configs.items()} == {
        "images": 2,
        "pairs": 2,
    }
    for config in ("images", "pairs"):
        samples = {sample.key: sample for sample in iterate(out, config)}
        assert samples.keys() == {f"gan{number}" for number in range(5)}
        assert samples["gan1"].members["cls"] == b"1"
        assert json.loads(samples["gan1"].members["json"])["class"] == "NV"


def test_what_is_nearly_a_test_image_is_left_out_and_counted(
    source: Path, foreign: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    manifest = imported(source, foreign, out)
    assert manifest.totals.failures == 2
    for failure in manifest.failures:
        assert failure.key == "gan5"
        # A record that may be shared names no real image.
        assert failure.reason == "near-duplicate: it is nearly a held-out image"
    assert "ISIC_" not in json.dumps(manifest.decisions)
    assert manifest.decisions["near-duplicates"].startswith("1 samples are nearly held-out images")
    assert "near-duplicate" in (out / "README.md").read_text()


def test_pixels_and_masks_are_those_of_the_files(
    source: Path, foreign: Path, tmp_path: Path
) -> None:
    imported(source, foreign, tmp_path / "run")
    members = dict(read_shard(shard_path(tmp_path / "run", "pairs", 0)))["gan2"]
    (tmp_path / "found.jpg").write_bytes(members["jpg"])
    (tmp_path / "found.png").write_bytes(members["mask.png"])
    there = np.asarray(open_checked(foreign / "gan2.png").convert("RGB"), float)
    # JPEG at quality 95 without subsampling.
    assert np.abs(np.asarray(open_checked(tmp_path / "found.jpg"), float) - there).mean() < 2
    np.testing.assert_array_equal(
        np.asarray(open_checked(tmp_path / "found.png")),
        np.asarray(open_checked(foreign / "masks" / "gan2.png")),
    )


def test_nothing_is_said_of_an_origin_that_nobody_knows(
    source: Path, foreign: Path, tmp_path: Path
) -> None:
    from didgen.downstream.benchmark.scope import origin_of

    out = tmp_path / "run"
    manifest = imported(source, foreign, out)
    real = SourceManifest.read(source)
    check_run(out, manifest, source, real, "pairs")
    samples = list(training_samples(out, manifest, "pairs", read_sidecars(out, "pairs"), real))
    assert [one.guide for one in samples] == [""] * 5
    trained_on = read_trained_on(out, manifest)
    assert not trained_on
    origin = origin_of(manifest, trained_on, (one.layout for one in samples), real)
    assert origin.scope(real.records).name == "unknown"


def test_it_goes_on_where_it_stopped_and_refuses_another_folder(
    source: Path, foreign: Path, tmp_path: Path
) -> None:
    out, whole = tmp_path / "run", tmp_path / "whole"
    imported(source, foreign, whole)

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_foreign(prepare_foreign(asked(source, foreign)), out, stop)
    assert not (out / "manifest.json").exists()
    before = shard_path(out, "images", 0).stat().st_mtime_ns
    imported(source, foreign, out)
    assert shard_path(out, "images", 0).stat().st_mtime_ns == before
    assert read_manifest(out).configs == read_manifest(whole).configs
    picture(99, 64).save(foreign / "gan0.png")
    with pytest.raises(DidgenError, match="other inputs"):
        imported(source, foreign, out)


def test_labels_alone_are_images_and_masks_alone_are_pairs(
    source: Path, foreign: Path, tmp_path: Path
) -> None:
    assert imported(source, foreign, tmp_path / "a", masks=None).configs.keys() == {"images"}
    manifest = imported(source, foreign, tmp_path / "b", labels=None)
    assert manifest.configs.keys() == {"pairs"}
    (first, *_) = iterate(tmp_path / "b", "pairs")
    assert first.members.keys() == {"jpg", "json", "mask.png"}


def test_a_class_of_another_world_is_refused(source: Path, foreign: Path) -> None:
    table = foreign / "labels.csv"
    table.write_text(table.read_text().replace("gan0,MEL", "gan0,BCC"))
    with pytest.raises(DidgenError, match=r"class BCC, which .* does not have.*MEL, NV"):
        prepare_foreign(asked(source, foreign))


def test_samples_without_label_and_mask_are_refused(source: Path, foreign: Path) -> None:
    with pytest.raises(DidgenError, match=r"without label and mask; give a table with --labels"):
        prepare_foreign(asked(source, foreign, labels=None, masks=None))


def test_nothing_left_is_refused(source: Path, foreign: Path) -> None:
    for number in range(5):
        (foreign / f"gan{number}.png").unlink()
    (foreign / "labels.csv").write_text("image,label\ngan5,NV\n")
    with pytest.raises(DidgenError, match="nothing is left to import"):
        prepare_foreign(asked(source, foreign))


def test_files_that_are_no_images_are_listed(source: Path, foreign: Path, tmp_path: Path) -> None:
    (foreign / "gan1.png").write_bytes(b"no image")
    manifest = imported(source, foreign, tmp_path / "run")
    (row,) = [
        row
        for row in read_json_lines(tmp_path / "run" / "rejected.jsonl")
        if row["reason"] == "unreadable-image"
    ]
    assert row["file"].endswith("gan1.png")
    assert "rejected" in manifest.decisions


def test_the_command(source: Path, foreign: Path, tmp_path: Path, command: Command) -> None:
    out = tmp_path / "run"
    given = ["import", "synthetic", foreign, "--labels", foreign / "labels.csv"]
    given += ["--masks", foreign / "masks", "--source", source, "--licence", "CC-BY-4.0"]
    given += ["--generator", "StyleGAN3", "--out", out]
    told = command(*given, "--dry-run")
    assert told.code == 0
    assert "images: 5 samples in 1 shards" in told.out
    assert "near-duplicates: 1 samples" in told.out
    assert not out.exists()
    told = command(*given)
    assert told.code == 0
    assert f"10 samples in 2 shards are in {out}." in told.out
    assert "StyleGAN3" in (out / "README.md").read_text()
    assert command("verify", out).code == 0
