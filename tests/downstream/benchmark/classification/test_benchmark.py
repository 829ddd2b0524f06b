"""Tests of the classification benchmark: whole, resumed, refused; its record and its files."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from didgen.augment.device import choose_device
from didgen.downstream.benchmark.classification.benchmark import classify
from didgen.downstream.benchmark.classification.job import prepare_classification
from didgen.downstream.benchmark.recipe import ARMS, ClassifyRecipe
from didgen.downstream.benchmark.results import read_predictions, training_folder
from didgen.downstream.metrics.classification import figures
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json
from didgen.manifests.recipes.reading import read_recipe
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.benchmarks import copied, files
from tests.fixtures.commands import Command
from tests.fixtures.sources import changed_source

Make = Callable[..., ClassifyRecipe]
CLASSES = ("MEL", "BCC")


def test_every_training_leaves_its_files(classified) -> None:
    out, benchmark = classified
    assert len(benchmark["arms"]) == 2 * len(ARMS)
    for network in ("conv", "test_vit"):
        for arm in ARMS:
            for seed in (0, 1):
                folder = training_folder(out, network, arm, seed)
                names = {path.name for path in folder.iterdir()}
                assert names == {
                    "curves",
                    "predictions.jsonl",
                    "result.json",
                    "weights.safetensors",
                }
    assert read_json(out / "benchmark.json") == json.loads(json.dumps(benchmark))


def test_only_real_test_images_are_tested(classified, source: Path) -> None:
    out, benchmark = classified
    records = SourceManifest.read(source).select(split="test", labelled=True)
    wanted = {record.key: record.label for record in records if record.label in CLASSES}
    found = read_predictions(training_folder(out, "conv", "didgen", 0), CLASSES)
    assert {k: CLASSES[i] for k, i in zip(found.keys, found.labels, strict=True)} == wanted
    assert sum(benchmark["images"]["synthetic"].values()) == 10
    assert benchmark["images"]["train"] == {"MEL": 6, "BCC": 6}


def test_a_result_holds_the_figures_of_its_predictions(classified) -> None:
    out, _ = classified
    for arm in ARMS:
        folder = training_folder(out, "conv", arm, 1)
        told = read_json(folder / "result.json")
        found = read_predictions(folder, CLASSES)
        oracle = figures(found.probabilities, found.labels, CLASSES).to_dict()
        for name in ("balanced_accuracy", "mean_auc", "sensitivity", "confusion"):
            assert told["figures"][name] == oracle[name]
        assert told["training"]["steps"] == told["training"]["history"][-1]["step"]


def test_what_is_there_is_not_trained_again(classified, recipe: Make, tmp_path: Path) -> None:
    out = copied(classified, tmp_path)
    before = files(out)
    again = classify(prepare_classification(recipe()), out)
    assert files(out) == before
    assert again == classified[1]


def test_a_lost_training_is_made_again_to_the_bit(classified, recipe: Make, tmp_path: Path) -> None:
    out = copied(classified, tmp_path)
    before = files(out)
    lost = training_folder(out, "conv", "oversampled", 0)
    (lost / "predictions.jsonl").write_text("torn")
    steps = []
    again = classify(prepare_classification(recipe()), out, progress=lambda *at: steps.append(at))
    after = files(out)
    changed = {name for name in before if before[name][0] != after[name][0]}
    assert {Path(name).parent for name in changed} == {lost.relative_to(out)}
    name = str((lost / "predictions.jsonl").relative_to(out))
    assert after[name][1] == before[name][1]
    # The order of the results does not follow from when they were made.
    assert again["comparisons"] == classified[1]["comparisons"]
    assert steps[-1][0] == steps[-1][1]
    assert steps == sorted(steps)


def test_lesions_learned_later_are_the_units_of_the_tests(
    classified, recipe: Make, make_source, tmp_path: Path
) -> None:
    def together(manifest: SourceManifest) -> list:
        return [
            r.model_copy(update={"lesion_id": f"one-{r.label}"}) if r.split == "test" else r
            for r in manifest.records
        ]

    out = copied(classified, tmp_path)
    before = files(out)
    grouped = changed_source(tmp_path, together)
    again = classify(prepare_classification(recipe(source=grouped)), out)
    assert files(out) == before
    # Drawn again and again, one lesion a class is always the same test set.
    intervals = [arm["balanced_accuracy_over_lesions"] for arm in again["arms"]]
    assert all(low == high for low, high in intervals)
    assert intervals != [arm["balanced_accuracy_over_lesions"] for arm in classified[1]["arms"]]


def test_further_seeds_leave_the_others_alone(classified, recipe: Make, tmp_path: Path) -> None:
    out = copied(classified, tmp_path)
    before = files(out)
    more = classify(
        prepare_classification(recipe(seeds=[0, 1, 2], arms=["original", "didgen"])), out
    )
    after = files(out)
    assert {name: after[name] for name in before} == before
    assert [arm["seeds"] for arm in more["arms"]] == [[0, 1, 2]] * 4


def test_another_recipe_is_refused_before_anything_is_trained(
    classified, recipe: Make, tmp_path: Path
) -> None:
    out = copied(classified, tmp_path)
    before = files(out)
    with pytest.raises(DidgenError, match=r"differs in recipe\.learning_rate \(0\.001, now 0\.5\)"):
        classify(prepare_classification(recipe(learning_rate=0.5, seeds=[7, 0])), out)
    assert files(out) == before


@pytest.mark.slow
def test_the_papers_networks_train_at_their_size(recipe: Make, tmp_path: Path) -> None:
    paper = read_recipe("isic2018-classify", ClassifyRecipe)
    networks = [
        network.model_dump() | {"weights": "none", "epochs": 1} for network in paper.networks
    ]
    few = recipe(
        networks=networks,
        image_size=paper.image_size,
        mixed_precision=paper.mixed_precision,
        arms=["original", "didgen"],
        seeds=[0],
        batch_size=16,
        keep_weights=False,
    )
    benchmark = classify(prepare_classification(few), tmp_path)
    sizes = {one["called"]: one["parameters"] for one in benchmark["networks"]}
    assert sizes["vgg16"] > 134e6
    assert 6.9e6 < sizes["densenet121"] < 7e6
    assert 85e6 < sizes["vit"] < 86e6
    assert len(benchmark["arms"]) == 6


def test_without_shards_there_is_nothing_to_compare(recipe: Make, tmp_path: Path) -> None:
    alone = recipe(run=None, arms=["original", "focal"], seeds=[0], keep_weights=False, exclude=[])
    benchmark = classify(prepare_classification(alone), tmp_path)
    assert benchmark["comparisons"] == []
    assert benchmark["classes"] == ["MEL", "NV", "BCC"]
    assert "Nothing was compared" in (tmp_path / "benchmark.md").read_text()
    assert not list(tmp_path.rglob("*.safetensors"))


def test_the_command(recipe: Make, tmp_path: Path, command: Command) -> None:
    asked = recipe(arms=["original", "didgen"], seeds=[0]).model_dump_json()
    path, out = tmp_path / "recipe.yaml", tmp_path / "out"
    path.write_text(asked)
    ended = command("classify", path)
    assert ended.code == 2
    assert "--out" in ended.err
    ended = command("classify", path, "--dry-run")
    assert ended.code == 0
    assert "synthetic: 10 images (5 MEL, 5 BCC)" in ended.out
    assert f"4 trainings, 24 steps at most, on {choose_device()}" in " ".join(ended.out.split())
    assert "warmup: 0.05" in ended.out
    assert not out.exists()
    ended = command("classify", path, "--out", out)
    assert ended.code == 0
    assert "didgen minus original" in ended.out
    assert "one seed, so it holds for these two networks only" in ended.out
    assert (out / "benchmark.md").is_file()
    path.write_text(asked.replace('"learning_rate":0.001', '"learning_rate":0.1'))
    ended = command("classify", path, "--out", out)
    assert ended.code == 1
    assert ended.err.splitlines()[-1].startswith("Error: ")
    assert "recipe.learning_rate" in ended.err
