"""`didgen quality` on soft blobs: figures, copies and scores of a whole run, and its refusals."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from didgen.downstream.benchmark.classification.job import prepare_classification
from didgen.downstream.benchmark.recipe import ClassifyRecipe
from didgen.downstream.data.perceptual_hash import NEAR
from didgen.downstream.metrics.generative import LEAST, feature_figures, matched
from didgen.downstream.metrics.lpips import build_lpips
from didgen.downstream.pages.document import markdown
from didgen.downstream.pages.quality import quality_page
from didgen.downstream.quality.assess import assess, prepare_quality
from didgen.downstream.quality.embed import embed
from didgen.downstream.quality.recipe import QualityRecipe
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json, read_json_lines, sha256_of
from didgen.manifests.runs.verify import verify
from didgen.manifests.shards.index import MANIFEST_NAME
from didgen.manifests.shards.shard import read_sidecars
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.commands import didgen
from tests.fixtures.photographs import COPIED, original, write_smooth_run, write_smooth_source

FAST = ["--extractor", "timm:test_efficientnet/1", "--weights", "none", "--size", "48"]
FAST += ["--pairs", "4", "--planted", "12"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A source, and a run with mirrored training images."""
    folder = tmp_path_factory.mktemp("data")
    source = write_smooth_source(folder)
    return source, write_smooth_run(folder / "run", source=source)


@pytest.fixture(scope="module")
def done(data: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of figures, and the run with scores in it."""
    source, run = data
    folder = tmp_path_factory.mktemp("quality")
    shutil.copytree(run, folder / "run")
    asked = ["--real", source, "--synthetic", folder / "run", "--out", folder / "out"]
    assert didgen("quality", *asked, *FAST, "--write-scores") == 0
    return folder / "out", folder / "run"


@pytest.fixture
def asked(data: tuple[Path, Path]) -> Callable[..., QualityRecipe]:
    def make(**fields: Any) -> QualityRecipe:
        given = {
            "real": data[0],
            "synthetic": data[1],
            "extractor": "timm:test_efficientnet/1",
            "weights": "none",
            "size": 48,
            "pairs": 4,
            "planted": 2,
        }
        return QualityRecipe(**given | fields)

    return make


def test_every_figure_says_what_it_rests_on(done: tuple[Path, Path]) -> None:
    record = read_json(done[0] / "quality.json")
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


def test_the_figures_are_those_of_the_features(asked, done) -> None:
    job = prepare_quality(asked(config="images"))
    made, real = (
        embed(part, job.extractor, 48) for part in (job.synthetic["images"], job.real["held-out"])
    )
    one, other = matched(made.collection.labels, real.collection.labels, 0)
    lesions = [real.collection.lesions[place] for place in other]
    oracle = feature_figures(made.features[one], real.features[other], lesions)
    for row in read_json(done[0] / "quality.json")["figures"]:
        if row["config"] == "images" and row["class"] is None and row["figure"] in oracle:
            assert row["value"] == pytest.approx(oracle[row["figure"]].value, rel=1e-4, abs=1e-7)


def test_mirrored_training_images_are_found_and_named(done: tuple[Path, Path]) -> None:
    rows = read_json_lines(done[0] / "copies.jsonl")
    assert len(rows) == 96
    planted = [row for row in rows if int(row["key"][-6:]) % COPIED == 0]
    for row in planted:
        wanted = f"ISIC_{original(int(row['key'][-6:])):07d}"
        assert row["nearest"] == wanted
        assert row["similarity"] > 0.99
    strangers = [row for row in rows if row not in planted]
    found = np.mean([row["copy"] for row in planted])
    assert found > 0.9 and found - np.mean([row["copy"] for row in strangers]) > 0.8


def test_the_rates_are_those_of_the_rows(done: tuple[Path, Path]) -> None:
    copies = read_json(done[0] / "quality.json")["copies"]
    rows = read_json_lines(done[0] / "copies.jsonl")
    for row in rows:
        above = row["similarity"] > copies["threshold"]
        assert row["copy"] == (above or row["hash_distance"] <= NEAR)
    assert copies["count"] == sum(row["copy"] for row in rows)
    assert copies["n"] == sum(told["n"] for told in copies["origins"].values()) == 96
    assert {name: told["n"] for name, told in copies["origins"].items()} == {
        "images": 48,
        "training layout": 24,
        "drawn layout": 24,
    }
    own = copies["origins"]["training layout"]["nearest_is_layout"]
    assert own["count"] == sum(bool(r["layout"]) and r["nearest"] == r["layout"] for r in rows)
    # Half of the layouts' images are copied in their pairs.
    assert own["count"] >= 12
    # The threshold lets at most one in a thousand of them pass, and the hash those that it knows.
    assert copies["held_out"]["count"] == len(copies["held_out_duplicates"])
    assert copies["calibrated_on"] + len(copies["held_out_duplicates"]) == 48


def test_images_that_the_model_saw_and_the_source_lacks_are_told(
    done: tuple[Path, Path], asked: Callable[..., QualityRecipe], tmp_path: Path
) -> None:
    copies = read_json(done[0] / "quality.json")["copies"]
    assert copies["trained_on"] == {"images": 73, "beyond": 1}
    page = " ".join((done[0] / "quality.md").read_text().split())
    assert "Of 73 images that the model is known to be trained on, 1 are not in the" in page
    untold = copies | {"trained_on": {"images": 0, "beyond": 0}}
    record = read_json(done[0] / "quality.json") | {"copies": untold}
    assert "What the model was trained on is not recorded" in markdown(quality_page(record))
    whole = copies | {"trained_on": {"images": 72, "beyond": 0}}
    record = read_json(done[0] / "quality.json") | {"copies": whole}
    assert "all are in the source's training split" in markdown(quality_page(record))


def test_a_model_that_was_trained_on_held_out_images_is_not_assessed(
    data: tuple[Path, Path], asked: Callable[..., QualityRecipe], tmp_path: Path
) -> None:
    manifest = SourceManifest.read(data[0])
    moved = {"split": "test", "lesion_id": "another lesion"}
    records = (manifest.records[0].model_copy(update=moved), *manifest.records[1:])
    SourceManifest(manifest.header, records).write(tmp_path / "source")
    with pytest.raises(DidgenError, match="was trained on ISIC_0000000 or on its lesion"):
        prepare_quality(asked(real=tmp_path / "source"))
    with pytest.raises(DidgenError, match="was trained on ISIC_0000000 or on its lesion"):
        prepare_classification(
            ClassifyRecipe.model_validate(
                {
                    "source": tmp_path / "source",
                    "run": data[1],
                    "exclude": [],
                    "networks": [{"name": "test_efficientnet", "weights": "none"}],
                    "image_size": 48,
                }
            )
        )


def test_the_recall_of_planted_copies_is_told(done: tuple[Path, Path]) -> None:
    planted = read_json(done[0] / "quality.json")["copies"]["planted"]
    for kind in ("mirrored", "quarter turn"):
        assert planted[kind]["recall"] == 1 and planted[kind]["right_image"]["rate"] == 1
    assert {told["n"] for told in planted.values()} == {12}
    assert all("interval" in told for told in planted.values())


def test_the_page_and_the_sheet_are_there(done: tuple[Path, Path]) -> None:
    page = (done[0] / "quality.md").read_text()
    assert "| FID |" in page and "| mirrored | 100.0 %" in page
    assert "the floor is what train images get" in page
    assert "metric_weights lpips" in page
    for line in page.splitlines():
        assert not line.startswith("|") or line.endswith("|")
    with Image.open(done[0] / "copies.png") as sheet:
        assert sheet.format == "PNG"
    assert {path.name for path in done[0].iterdir()} == {
        "quality.json",
        "quality.md",
        "copies.jsonl",
        "copies.png",
    }


def test_scores_stand_in_the_rows_and_the_run_stays_whole(done: tuple[Path, Path]) -> None:
    out, run = done
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
    data: tuple[Path, Path], done: tuple[Path, Path], tmp_path: Path, no_hub: None, capsys
) -> None:
    (source, _), (out, run) = data, done
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
    counts = [len(prepare_classification(one).synthetic or ()) for one in (recipe, whole)]
    assert counts[0] <= kept < counts[1]


def test_without_scores_nothing_can_be_dropped(data: tuple[Path, Path], tmp_path, capsys) -> None:
    source, run = data
    arguments = ["mix", source, run, "--ratio", "1", "--drop-copies", "--out", tmp_path / "mix"]
    assert didgen(*arguments) == 1
    assert "run `didgen quality --write-scores` first" in capsys.readouterr().err
    assert not (tmp_path / "mix").exists()


def test_the_same_call_gives_the_same_files(asked, tmp_path: Path) -> None:
    for name in ("one", "other"):
        assess(prepare_quality(asked(config="pairs", pairs=2)), tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()


def test_against_training_images_the_held_out_ones_make_the_floor(asked, tmp_path: Path) -> None:
    weights, seen = tmp_path / "lpips.safetensors", []
    save_file({name: part.clone() for name, part in build_lpips().state_dict().items()}, weights)
    job = prepare_quality(asked(against="train", config="images", lpips=weights))
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


def test_a_dry_run_counts_and_writes_nothing(data, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["quality", "--real", data[0], "--synthetic", data[1], *FAST, "--dry-run"]
    assert didgen(*arguments) == 0
    printed = capsys.readouterr().out
    assert "extractor: timm:test_efficientnet/1, 24 features at 48 px, random weights" in printed
    assert "held-out: 48 images (24 MEL, 24 NV)" in printed
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_it_is_a_fault_of_usage(data, capsys) -> None:
    assert didgen("quality", "--real", data[0], "--synthetic", data[1], *FAST) == 2


def test_inception_without_its_weights_is_one_sentence(data, tmp_path: Path, capsys) -> None:
    arguments = ["quality", "--real", data[0], "--synthetic", data[1], "--out", tmp_path / "out"]
    assert didgen(*arguments) == 1
    error = capsys.readouterr().err
    assert "metric_weights inception" in error and "Traceback" not in error
    assert not (tmp_path / "out").exists()


def changed(data: tuple[Path, Path], folder: Path, which: int) -> Path:
    """A copy of the source or of the run."""
    shutil.copytree(data[which], folder / "copy")
    return folder / "copy"


def test_a_source_without_held_out_images_is_refused(data, asked, tmp_path: Path) -> None:
    manifest = SourceManifest.read(data[0])
    records = tuple(r.model_copy(update={"split": "train"}) for r in manifest.records)
    SourceManifest(manifest.header, records).write(tmp_path / "source")
    with pytest.raises(DidgenError, match="has no held-out images to compare with"):
        prepare_quality(asked(real=tmp_path / "source"))


def test_a_torn_or_unfinished_run_is_refused(data, asked, tmp_path: Path) -> None:
    run = changed(data, tmp_path, 1)
    tar = run / "images" / "images-000001.tar"
    tar.write_bytes(tar.read_bytes()[:-100])
    with pytest.raises(DidgenError, match=r"images-000001.tar is missing or not as the run wrote"):
        prepare_quality(asked(synthetic=run))
    (run / MANIFEST_NAME).unlink()
    with pytest.raises(DidgenError, match="finish the run"):
        prepare_quality(asked(synthetic=run))


def test_a_run_without_samples_is_refused(asked, tmp_path: Path) -> None:
    run = write_smooth_run(tmp_path / "run", count=0)
    with pytest.raises(DidgenError, match="holds no sample; make some first"):
        prepare_quality(asked(synthetic=run))


def test_a_changed_photograph_ends_it_and_leaves_nothing(data, asked, tmp_path: Path) -> None:
    source = tmp_path / "moved"
    shutil.copytree(data[0].parent, source, ignore=shutil.ignore_patterns("run"))
    header = read_json(source / "source" / "source.json")
    header["root"] = str(source / "photos")
    (source / "source" / "source.json").write_text(json.dumps(header))
    (source / "photos" / "ISIC_0000050.png").write_bytes(b"\x89PNG not an image")
    with pytest.raises(DidgenError, match=r"ISIC_0000050.png has changed since it was imported"):
        assess(prepare_quality(asked(real=source / "source")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_without_labels_is_one_class_like_the_real_images(
    data, asked, tmp_path: Path
) -> None:
    run = changed(data, tmp_path, 1)
    for path in run.glob("pairs/pairs-0*.json"):
        text = re.sub(r'"label": "(MEL|NV)"', '"label": ""', path.read_text())
        path.write_text(text)
    record = assess(prepare_quality(asked(synthetic=run, config="pairs")), tmp_path / "out")
    assert record["images"]["pairs"] == {"": 48}
    fid = next(row for row in record["figures"] if row["figure"] == "fid")
    assert (fid["n_synthetic"], fid["n_real"]) == (48, 48)
    assert {row["class"] for row in record["figures"]} == {None}
    assert {row["matched_by"] for row in record["figures"]} == {
        "nothing, as no class is on both sides"
    }
    assert "| no class |" in (tmp_path / "out" / "quality.md").read_text()
