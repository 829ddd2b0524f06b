"""Tests of the segmentation benchmark: whole, resumed, refused; its record and its files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from didgen.augment.device import choose_device
from didgen.downstream.benchmark.recipe import SegmentRecipe
from didgen.downstream.benchmark.results import read_segmentations, training_folder
from didgen.downstream.benchmark.segmentation.benchmark import segment
from didgen.downstream.benchmark.segmentation.job import SegmentationJob, prepare_segmentation
from didgen.downstream.metrics.segmentation import overlaps
from didgen.downstream.networks.segmenters import build_segmenter
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json, read_json_lines
from didgen.manifests.privacy.pseudonyms import Pseudonyms
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.benchmarks import SMALL_NET, Done, copied, files
from tests.fixtures.commands import Command

Make = Callable[..., SegmentRecipe]
NETWORKS = ("unet", "wide")
SCALES = (8, None)
SEGMENT_ARMS = ("original", "original-epochs", "didgen", "didgen-filtered")


def arms_tested(benchmark: dict[str, Any]) -> list[str]:
    """The controls, and the one of two uses that validation chose."""
    (chosen,) = [one["name"] for one in benchmark["choices"]["didgen"] if one["chosen"]]
    return ["original", "original-epochs", chosen]


def test_every_training_leaves_its_files(segmented: Done) -> None:
    out, benchmark = segmented
    assert len(benchmark["arms"]) == 2 * 2 * len(SEGMENT_ARMS)
    for network in NETWORKS:
        for arm in SEGMENT_ARMS:
            for real in SCALES:
                for seed in (0, 1):
                    folder = training_folder(out, network, arm, seed, real)
                    names = {"result.json", "validation.jsonl", "weights.safetensors"}
                    if arm in arms_tested(benchmark):
                        names |= {"predictions.jsonl", "tested.json"}
                    assert {path.name for path in folder.iterdir()} == names
    assert read_json(out / "benchmark.json") == json.loads(json.dumps(benchmark))


def test_lesions_of_own_images_are_pseudonyms(segmented: Done, source: Path) -> None:
    """Of the images, and of the masks that guided what the networks of the filter judge."""
    out, _ = segmented
    lesions = {record.lesion_id for record in SourceManifest.read(source).records}
    pseudonyms = {"", *map(Pseudonyms.of(source).name, lesions)}
    judged = [*(out / "runs").rglob("judge-*/**/*.jsonl"), *(out / "filter").rglob("*.jsonl")]
    assert judged
    for path in (*judged, *out.rglob("validation.jsonl"), *out.rglob("predictions.jsonl")):
        rows = read_json_lines(path)
        assert {row.get("unit", row.get("guide")) for row in rows} <= pseudonyms


def test_only_real_test_images_are_tested(segmented: Done, source: Path) -> None:
    out, benchmark = segmented
    records = SourceManifest.read(source).select(split="test", masked=True)
    found = read_segmentations(training_folder(out, "unet", arms_tested(benchmark)[2], 0, 8))
    assert found.keys == tuple(record.key for record in records)
    assert benchmark["images"] == {"train": 18, "val": 6, "test": 6, "synthetic": 6}


def test_a_result_holds_the_figures_of_its_masks(
    segmented: Done, segmentation_job: SegmentationJob
) -> None:
    out, benchmark = segmented
    truths = segmentation_job.images["test"].masks.numpy()
    for arm in arms_tested(benchmark):
        folder = training_folder(out, "unet", arm, 1, 8)
        found = read_segmentations(folder)
        oracle = overlaps(found.masks, truths)
        for name, values in vars(found.overlaps).items():
            assert values == pytest.approx(getattr(oracle, name), abs=1e-6), name
        told = read_json(folder / "tested.json")["figures"]["test"]
        assert told == pytest.approx(oracle.means())


def test_the_kept_weights_are_those_of_the_masks(
    segmented: Done, segmentation_job: SegmentationJob
) -> None:
    from safetensors.torch import load_file

    out, _ = segmented
    folder = training_folder(out, "unet", "didgen-filtered", 0, 8)
    network = build_segmenter(segmentation_job.recipe.networks[0], None)
    network.get_submodule("network").load_state_dict(load_file(folder / "weights.safetensors"))
    with torch.no_grad():
        masks = network.eval()(segmentation_job.images["val"].pixels)[:, 0] > 0
    assert np.array_equal(masks.numpy(), read_segmentations(folder, "validation.jsonl").masks)


def test_every_use_trains(segment_recipe: Make, tmp_path: Path) -> None:
    uses = ("half", "first", "twin", "only", "filter")
    arms = ["original", "copy-paste", *({"name": u, "use": u, "run": "didgen"} for u in uses)]
    arms.append({"name": "light", "use": "half", "run": "didgen", "weight": 0.5, "filter": True})
    few = segment_recipe(networks=[SMALL_NET], arms=arms, real=[8], seeds=[0])
    benchmark = segment(prepare_segmentation(few), tmp_path)
    assert len({arm["steps"] for arm in benchmark["arms"]}) == 1
    assert [one["name"] for one in benchmark["choices"]["didgen"]] == [
        *("half", "light", "first", "filter", "twin", "only"),
    ]
    (rival,) = benchmark["against_all"]
    assert rival["rivals"] == ("copy-paste",)


def test_networks_of_the_filter_come_with_the_seeds_that_need_them(
    segment_recipe: Make, outside: Path, tmp_path: Path
) -> None:
    few = {"networks": [SMALL_NET], "real": [8], "seeds": [0, 1, 2], "search": 1}
    asked = segment_recipe(**few, arms=["original", "didgen", "didgen-filtered"], outside=outside)
    benchmark = segment(prepare_segmentation(asked), tmp_path / "out")
    (chosen,) = (one["name"] for one in benchmark["choices"]["didgen"] if one["chosen"])
    seeds = {arm["arm"]: arm["seeds"] for arm in benchmark["arms"]}
    (other,) = {"didgen", "didgen-filtered"} - {chosen}
    assert seeds == {"original": [0, 1, 2], chosen: [0, 1, 2], other: [0]}
    judged = {path.name for path in (tmp_path / "out" / "filter" / "didgen").iterdir()}
    wanted = (0, 1, 2) if chosen == "didgen-filtered" else (0,)
    assert judged == {f"real-8-seed-{seed}.jsonl" for seed in wanted}
    # The same networks are tested on the other source, in a table of the same figures.
    page = (tmp_path / "out" / "benchmark.md").read_text()
    start, there = (page.index(f"## Figures on {name}") for name in ("the test images", outside))
    header = "| network | real | arm | scope | steps | best at | Dice | interval | IoU |"
    assert header in page[start:there] and header in page[there:]
    for arm in benchmark["arms"]:
        assert (arm["outside"] is None) == (arm["figures"] is None)


def test_two_runs_are_rivals_with_a_use_each(
    segment_recipe: Make, make_run: Callable[..., Path], tmp_path: Path
) -> None:
    runs = {
        "ours": make_run(tmp_path / "ours", layouts=("ISIC_0000000", "ISIC_0000013")),
        "theirs": make_run(tmp_path / "theirs", layouts=("ISIC_0000024",)),
    }
    arms = ["original", "ours", "theirs", {"name": "half", "use": "half", "run": "theirs"}]
    few = segment_recipe(
        run=None, runs=runs, arms=arms, networks=[SMALL_NET], real=[8], seeds=[0, 1]
    )
    benchmark = segment(prepare_segmentation(few), tmp_path / "out")
    theirs = next(one["name"] for one in benchmark["choices"]["theirs"] if one["chosen"])
    tested = {arm["arm"] for arm in benchmark["arms"] if arm["figures"] is not None}
    assert tested == {"original", "ours", theirs}
    (rival,) = benchmark["against_all"]
    assert (rival["treatment"], rival["rivals"]) == ("ours", (theirs,))


def test_what_is_there_is_not_trained_again(
    segmented: Done, segment_recipe: Make, tmp_path: Path
) -> None:
    out = copied(segmented, tmp_path)
    before = files(out)
    assert segment(prepare_segmentation(segment_recipe()), out) == segmented[1]
    assert files(out) == before


@pytest.mark.slow
def test_lost_trainings_are_made_again_to_the_bit(
    segmented: Done, segment_recipe: Make, tmp_path: Path
) -> None:
    out = copied(segmented, tmp_path)
    before = files(out)
    lost = [
        training_folder(out, "wide", "original", 1, 8),
        training_folder(out, "unet", "judge-didgen-1", 0, None),
    ]
    (lost[0] / "validation.jsonl").write_text("torn")
    for folder in lost:
        (folder / "predictions.jsonl").write_text("torn")
    shutil.rmtree(out / "filter")
    steps: list[tuple[int, int]] = []
    again = segment(
        prepare_segmentation(segment_recipe()), out, progress=lambda *at: steps.append(at)
    )
    after = files(out)
    changed = {out / name for name in before if before[name][0] != after[name][0]}
    assert {path.parent for path in changed} == {*lost}
    for folder in lost:
        name = str((folder / "predictions.jsonl").relative_to(out))
        assert after[name][1] == before[name][1]
    assert again["comparisons"] == segmented[1]["comparisons"]
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1]


@pytest.mark.slow
def test_a_recipe_may_grow_by_seeds_scales_and_networks(
    segment_recipe: Make, tmp_path: Path
) -> None:
    few = {"networks": [SMALL_NET], "arms": ["original", "didgen"], "seeds": [0], "real": [8]}
    segment(prepare_segmentation(segment_recipe(**few)), tmp_path)
    before = files(tmp_path)
    more = {"seeds": [0, 1], "real": [8, 9], "arms": ["original", "didgen", "didgen-filtered"]}
    grown = segment(prepare_segmentation(segment_recipe(**(few | more))), tmp_path)
    after = files(tmp_path)
    # Another use may be chosen now, but no training was made again.
    trained = {name for name in before if "runs" in name and not name.endswith("tested.json")}
    assert {name: after[name] for name in trained} == {name: before[name] for name in trained}
    assert [arm["seeds"] for arm in grown["arms"]] == [[0, 1]] * 6


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"learning_rate": 0.5}, r"differs in recipe\.learning_rate \(0\.01, now 0\.5\)"),
        ({"seed": 1}, r"differs in folds"),
        ({"filter": {"keep": 0.5}}, r"differs in filter\.keep \(0\.8, now 0\.5\)"),
        ({"filter": {"folds": 3}}, r"differs in folds"),
    ],
)
def test_another_recipe_is_refused_before_anything_is_trained(
    segmented: Done, segment_recipe: Make, fields: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    out = copied(segmented, tmp_path)
    before = files(out)
    with pytest.raises(DidgenError, match=sentence):
        segment(prepare_segmentation(segment_recipe(**fields)), out)
    assert files(out) == before


def test_without_pairs_there_is_nothing_to_compare(segment_recipe: Make, tmp_path: Path) -> None:
    alone = segment_recipe(
        run=None, networks=[SMALL_NET], arms=["original"], seeds=[0], real=[8], keep_weights=False
    )
    benchmark = segment(prepare_segmentation(alone), tmp_path)
    assert benchmark["comparisons"] == benchmark["plots"] == []
    assert benchmark["choices"] == {}
    page = (tmp_path / "benchmark.md").read_text()
    assert "Nothing was compared" in page
    assert not list(tmp_path.rglob("*.safetensors"))


def test_half_precision_trains_and_predicts(segment_recipe: Make, tmp_path: Path) -> None:
    few = segment_recipe(
        mixed_precision="bf16",
        networks=[SMALL_NET],
        arms=["original"],
        run=None,
        seeds=[0],
        real=[8],
    )
    benchmark = segment(prepare_segmentation(few), tmp_path)
    assert benchmark["devices"][0].endswith("bf16")


def test_the_command(segment_recipe: Make, tmp_path: Path, command: Command) -> None:
    few = {"arms": ["original", "didgen", "didgen-filtered"], "seeds": [0], "real": [8]}
    asked = segment_recipe(networks=[SMALL_NET], **few).model_dump_json()
    path, out = tmp_path / "recipe.yaml", tmp_path / "out"
    path.write_text(asked)
    ended = command("segment", path)
    assert ended.code == 2
    assert "--out" in ended.err
    ended = command("segment", path, "--dry-run")
    assert ended.code == 0
    assert "train: 18 pairs, val: 6 pairs, test: 6 pairs, synthetic: 6 pairs" in ended.out
    assert "Training sets: 8 real pairs" in ended.out
    assert f"5 trainings, 20 steps at most, on {choose_device()}" in " ".join(ended.out.split())
    assert "through each network on this machine: about a minute at most of train" in ended.out
    assert "patience: 20" in ended.out
    assert not out.exists()
    ended = command("segment", path, "--out", out)
    assert ended.code == 0
    assert "Validation images choose the arm didgen" in ended.out
    assert " minus original is " in ended.out
    assert "one seed, so it holds for these two networks only" in ended.out
    assert (out / "benchmark.md").is_file()
    path.write_text(asked.replace('"learning_rate":0.01', '"learning_rate":0.1'))
    ended = command("segment", path, "--out", out)
    assert ended.code == 1
    assert ended.err.splitlines()[-1].startswith("Error: ")
    assert "recipe.learning_rate" in ended.err


@pytest.mark.data
@pytest.mark.slow
def test_a_small_net_learns_real_lesions(data_dir: Path, tmp_path: Path) -> None:
    from didgen.manifests.importers.isic2018 import import_isic2018

    imported = import_isic2018(data_dir / "isic2018")
    imported.write(tmp_path / "source")
    recipe = SegmentRecipe.model_validate(
        {
            "source": tmp_path / "source",
            "collections": ["isic2018-task1"],
            "networks": [
                {
                    "name": "monai.UNet",
                    "weights": "none",
                    "arguments": {"channels": [8, 16, 32, 64], "strides": [2, 2, 2]},
                }
            ],
            "arms": ["original"],
            "real": [100],
            "seeds": [0],
            "near_duplicates": "drop",
            "image_size": 64,
            "batch_size": 16,
            "max_steps": 150,
            "evaluate_every": 25,
            "learning_rate": 3e-3,
            "mixed_precision": "no",
        }
    )
    job = prepare_segmentation(recipe)
    assert {split: len(part) for split, part in job.images.items()} == pytest.approx(
        {"train": 1755, "val": 220, "test": 219}, abs=10
    )
    (arm,) = segment(job, tmp_path / "out")["arms"]
    # To call every pixel of the middle half lesion gives 0.5.
    assert arm["figures"]["dice"]["mean"] > 0.6
