"""Tests of `didgen quality`: figures, copies and scores of a whole run, and its refusals."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import save_file

from didgen.downstream.benchmark.classification.job import prepare_classification
from didgen.downstream.benchmark.recipe import ClassifyRecipe
from didgen.downstream.metrics.generative import LEAST, feature_figures, matched
from didgen.downstream.metrics.lpips import build_lpips
from didgen.downstream.quality.assess import assess, prepare_quality, sides
from didgen.downstream.quality.embed import embed
from didgen.downstream.quality.recipe import QualityRecipe
from didgen.manifests.choices import Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json, read_json_lines, sha256_of
from didgen.manifests.runs.verify import verify
from didgen.manifests.shards.index import MANIFEST_NAME
from didgen.manifests.shards.shard import read_sidecars
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.assessments import FAST
from tests.fixtures.commands import didgen
from tests.fixtures.photographs import write_smooth_run


def test_every_figure_says_what_it_rests_on(assessed: tuple[Path, Path]) -> None:
    record = read_json(assessed[0] / "quality.json")
    assert record["kind"] == "quality" and record["against"] == "held-out"
    assert record["images"]["train"] == {"MEL": 36, "NV": 36}
    assert record["images"]["held-out"] == record["images"]["pairs"] == {"MEL": 24, "NV": 24}
    overall = {(r["config"], r["figure"]): r for r in record["figures"] if r["class"] is None}
    assert {figure for _, figure in overall} >= {"fid", "fid_inf", "kid", "precision", "recall"}
    for (_, figure), row in overall.items():
        assert {"value", "interval", "deviation", "n_real", "n_synthetic", "note"} <= row.keys()
        assert row["size"] == (48 if row["basis"] == "features" else 256)
        assert "bicubic" in row["resize"] and "extractor_sha256" in row
        assert (row["value"] is None) == figure.startswith("lpips") == bool(row["note"])
        if row["value"] is not None and figure != "fid":
            assert row["interval"] or row["deviation"]
        assert (row["floor"]["value"] is None) == (row["value"] is None)
    # Held-out images are as many as synthetic ones, and training images enough for the floor.
    fid = overall["images", "fid"]
    assert (fid["n_synthetic"], fid["n_real"], fid["floor"]["n_synthetic"]) == (48, 48, 48)
    assert fid["extractor"] == "timm:test_efficientnet/1"
    classes = {row["class"] for row in record["figures"]}
    assert classes == {None, "MEL", "NV"}
    assert {row["matched_by"] for row in record["figures"]} == {"class"}
    by_class = [r for r in record["figures"] if r["class"] == "NV" and r["figure"] == "recall"]
    assert all(row["n_real"] == 24 >= LEAST for row in by_class) and by_class


def test_the_figures_are_those_of_the_features(
    quality_recipe: Callable[..., QualityRecipe], assessed: tuple[Path, Path]
) -> None:
    job = prepare_quality(quality_recipe(config="images"))
    made, real = (
        embed(part, job.extractor, 48) for part in (job.synthetic["images"], job.real["held-out"])
    )
    one, other = matched(made.collection.labels, real.collection.labels, 0)
    lesions = [real.collection.units[place] for place in other]
    oracle = feature_figures(made.features[one], real.features[other], lesions)
    for row in read_json(assessed[0] / "quality.json")["figures"]:
        if row["config"] == "images" and row["class"] is None and row["figure"] in oracle:
            assert row["value"] == pytest.approx(oracle[row["figure"]].value, rel=1e-4, abs=1e-7)


def test_a_model_that_was_trained_on_held_out_images_is_not_assessed(
    smooth_data: tuple[Path, Path], quality_recipe: Callable[..., QualityRecipe], tmp_path: Path
) -> None:
    manifest = SourceManifest.read(smooth_data[0])
    moved = {"split": "test", "lesion_id": "another lesion"}
    records = (manifest.records[0].model_copy(update=moved), *manifest.records[1:])
    SourceManifest(manifest.header, records).write(tmp_path / "source")
    with pytest.raises(DidgenError, match="was trained on ISIC_0000000 or on its lesion"):
        prepare_quality(quality_recipe(real=tmp_path / "source"))
    with pytest.raises(DidgenError, match="was trained on ISIC_0000000 or on its lesion"):
        prepare_classification(
            ClassifyRecipe.model_validate(
                {
                    "source": tmp_path / "source",
                    "run": smooth_data[1],
                    "exclude": [],
                    "networks": [{"name": "test_efficientnet", "weights": "none"}],
                    "image_size": 48,
                }
            )
        )


def test_scores_stand_in_the_rows_and_the_run_stays_whole(assessed: tuple[Path, Path]) -> None:
    out, run = assessed
    assert {verdict.status for verdict in verify(run)} == {"ok"}
    wanted = {(row["config"], row["key"]): row for row in read_json_lines(out / "copies.jsonl")}
    for config in ("images", "pairs"):
        for sidecar in read_sidecars(run, config):
            for key, row in sidecar.kept.items():
                told = wanted[config, key]
                assert row["copy"]["is_copy"] == told["copy"]
                for name in ("nearest", "similarity", "hash_distance"):
                    assert row["copy"][name] == told[name]


def test_a_mix_and_a_benchmark_leave_copies_out(
    smooth_data: tuple[Path, Path],
    assessed: tuple[Path, Path],
    tmp_path: Path,
    no_hub: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (source, _), (out, run) = smooth_data, assessed
    rows = [row for row in read_json_lines(out / "copies.jsonl") if row["config"] == "images"]
    kept = sum(not row["copy"] for row in rows)
    asked = [source, run, "--ratio", "9", "--config", "images", "--drop-copies"]
    assert didgen("mix", *asked, "--out", tmp_path / "mix") == 0
    synthetic_rows = [
        row
        for sidecar in read_sidecars(tmp_path / "mix", "images")
        for row in sidecar.kept.values()
        if row["origin"] == "synthetic"
    ]
    assert len(synthetic_rows) == kept < 48
    recipe = ClassifyRecipe.model_validate(
        {
            "source": source,
            "run": run,
            "exclude": [],
            "networks": [{"name": "test_efficientnet", "weights": "none"}],
            "image_size": 48,
            "near_duplicates": "drop",
            "drop_copies": True,
        }
    )
    whole = recipe.model_copy(update={"drop_copies": False})
    jobs = [prepare_classification(one) for one in (recipe, whole)]
    counts = [len(run.images) for job in jobs for run in job.runs.values()]
    assert counts[0] <= kept < counts[1]


def test_without_scores_nothing_can_be_dropped(
    smooth_data: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, run = smooth_data
    arguments = ["mix", source, run, "--ratio", "1", "--drop-copies", "--out", tmp_path / "mix"]
    assert didgen(*arguments) == 1
    assert "run `didgen quality --write-scores` first" in capsys.readouterr().err
    assert not (tmp_path / "mix").exists()


def test_the_same_call_gives_the_same_files(
    quality_recipe: Callable[..., QualityRecipe], tmp_path: Path
) -> None:
    for name in ("one", "other"):
        assess(prepare_quality(quality_recipe(config="pairs", pairs=2)), tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()


def test_against_training_images_the_held_out_ones_make_the_floor(
    quality_recipe: Callable[..., QualityRecipe], tmp_path: Path
) -> None:
    weights, seen = tmp_path / "lpips.safetensors", []
    save_file({name: part.clone() for name, part in build_lpips().state_dict().items()}, weights)
    job = prepare_quality(quality_recipe(against="train", config="images", lpips=weights))
    record = assess(job, tmp_path, progress=lambda *at: seen.append(at))
    for row in record["figures"]:
        if row["basis"] == "lpips":
            assert row["value"] is not None and row["floor"]["value"] is not None
            assert row["extractor_sha256"] == sha256_of(weights)
    assert record["against"] == "train"
    fid = next(row for row in record["figures"] if row["figure"] == "fid")
    assert (fid["n_synthetic"], fid["n_real"]) == (48, 48)
    assert "what held-out images get" in (tmp_path / "quality.md").read_text()
    # 120 real images, 48 synthetic ones and five copies of two planted ones.
    assert seen[-1] == (178, 178) and seen == sorted(seen)


@pytest.mark.parametrize("split", ["val", "test"])
def test_one_of_the_held_out_splits_may_be_compared_with(
    quality_recipe: Callable[..., QualityRecipe], split: Split, tmp_path: Path
) -> None:
    job = prepare_quality(quality_recipe(against=split, config="images"))
    held_out = {record.key for record in job.source.select(split=split)}
    train, every = (embed(job.real[part], job.extractor, 32) for part in ("train", "held-out"))
    real, rest = sides(job, train, every)
    assert {*real.collection.keys} == held_out
    assert rest is train
    record = assess(job, tmp_path)
    assert record["against"] == split
    fid = next(row for row in record["figures"] if row["figure"] == "fid")
    assert fid["n_real"] == len(held_out)
    assert f"compare with the {split} images" in (tmp_path / "quality.md").read_text()


def test_a_dry_run_counts_and_writes_nothing(
    smooth_data: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [
        "quality",
        "--real",
        smooth_data[0],
        "--synthetic",
        smooth_data[1],
        *FAST,
        "--dry-run",
    ]
    assert didgen(*arguments) == 0
    printed = capsys.readouterr().out
    assert "extractor: timm:test_efficientnet/1, 24 features at 48 px, random weights" in printed
    assert "held-out: 48 images (24 MEL, 24 NV)" in printed
    assert "through the extractor on this machine: about a minute at most" in printed
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_it_is_a_fault_of_usage(
    smooth_data: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert didgen("quality", "--real", smooth_data[0], "--synthetic", smooth_data[1], *FAST) == 2


def test_inception_without_its_weights_is_one_sentence(
    smooth_data: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "quality",
        "--real",
        smooth_data[0],
        "--synthetic",
        smooth_data[1],
        "--out",
        tmp_path / "out",
    ]
    assert didgen(*arguments) == 1
    error = capsys.readouterr().err
    assert "didgen weights inception" in error and "Traceback" not in error
    assert not (tmp_path / "out").exists()


def changed(smooth_data: tuple[Path, Path], folder: Path, which: int) -> Path:
    """A copy of the source or of the run."""
    shutil.copytree(smooth_data[which], folder / "copy")
    return folder / "copy"


def test_a_source_without_held_out_images_is_refused(
    smooth_data: tuple[Path, Path], quality_recipe: Callable[..., QualityRecipe], tmp_path: Path
) -> None:
    manifest = SourceManifest.read(smooth_data[0])
    records = tuple(r.model_copy(update={"split": "train"}) for r in manifest.records)
    SourceManifest(manifest.header, records).write(tmp_path / "source")
    with pytest.raises(DidgenError, match="has no held-out images to compare with"):
        prepare_quality(quality_recipe(real=tmp_path / "source"))


def test_a_torn_or_unfinished_run_is_refused(
    smooth_data: tuple[Path, Path], quality_recipe: Callable[..., QualityRecipe], tmp_path: Path
) -> None:
    run = changed(smooth_data, tmp_path, 1)
    tar = run / "images" / "images-000001.tar"
    tar.write_bytes(tar.read_bytes()[:-100])
    with pytest.raises(DidgenError, match=r"images-000001.tar is missing or not as the run wrote"):
        prepare_quality(quality_recipe(synthetic=run))
    (run / MANIFEST_NAME).unlink()
    with pytest.raises(DidgenError, match="finish the run"):
        prepare_quality(quality_recipe(synthetic=run))


def test_a_run_without_samples_is_refused(
    quality_recipe: Callable[..., QualityRecipe], tmp_path: Path
) -> None:
    run = write_smooth_run(tmp_path / "run", count=0)
    with pytest.raises(DidgenError, match="holds no sample; make some first"):
        prepare_quality(quality_recipe(synthetic=run))


def test_a_changed_photograph_ends_it_and_leaves_nothing(
    smooth_data: tuple[Path, Path], quality_recipe: Callable[..., QualityRecipe], tmp_path: Path
) -> None:
    source = tmp_path / "moved"
    shutil.copytree(smooth_data[0].parent, source, ignore=shutil.ignore_patterns("run"))
    header = read_json(source / "source" / "source.json")
    header["root"] = str(source / "photos")
    (source / "source" / "source.json").write_text(json.dumps(header))
    (source / "photos" / "ISIC_0000050.png").write_bytes(b"\x89PNG not an image")
    with pytest.raises(DidgenError, match=r"ISIC_0000050.png has changed since it was imported"):
        assess(prepare_quality(quality_recipe(real=source / "source")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_without_labels_is_one_class_like_the_real_images(
    smooth_data: tuple[Path, Path], quality_recipe: Callable[..., QualityRecipe], tmp_path: Path
) -> None:
    run = changed(smooth_data, tmp_path, 1)
    for path in run.glob("pairs/pairs-0*.json"):
        text = re.sub(r'"label": "(MEL|NV)"', '"label": ""', path.read_text())
        path.write_text(text)
    record = assess(
        prepare_quality(quality_recipe(synthetic=run, config="pairs")), tmp_path / "out"
    )
    assert record["images"]["pairs"] == {"": 48}
    fid = next(row for row in record["figures"] if row["figure"] == "fid")
    assert (fid["n_synthetic"], fid["n_real"]) == (48, 48)
    assert {row["class"] for row in record["figures"]} == {None}
    assert {row["matched_by"] for row in record["figures"]} == {
        "nothing, as no class is on both sides"
    }
    assert "| no class |" in (tmp_path / "out" / "quality.md").read_text()
