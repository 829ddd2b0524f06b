"""The classification benchmark on noise: whole, resumed, refused; its record against its files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from didgen.augment.device import choose_device
from didgen.downstream.benchmark.classification.benchmark import classify
from didgen.downstream.benchmark.classification.job import prepare_classification
from didgen.downstream.benchmark.recipe import ARMS, ClassifyRecipe
from didgen.downstream.benchmark.results import read_predictions, training_folder
from didgen.downstream.metrics.classification import (
    balanced_accuracy,
    correctness,
    figures,
    log_losses,
)
from didgen.downstream.stats.comparison import compare, holm
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json
from didgen.manifests.recipes.mix import MixRecipe
from didgen.manifests.recipes.reading import read_recipe
from didgen.manifests.runs.mix import mix, prepare_mix
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.commands import Command

Make = Callable[..., ClassifyRecipe]
CLASSES = ("MEL", "BCC")


@pytest.fixture(scope="module")
def done(recipe: Make, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A finished benchmark: every arm of two networks and seeds."""
    out = tmp_path_factory.mktemp("classify")
    return out, classify(prepare_classification(recipe()), out)


def copied(done: tuple[Path, dict], folder: Path) -> Path:
    shutil.copytree(done[0], folder / "out")
    return folder / "out"


def files(out: Path) -> dict[str, tuple[int, bytes]]:
    """Every result and predictions: when it was written, and its bytes."""
    return {
        str(path.relative_to(out)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(out.glob("runs/**/*.json*"))
    }


def test_every_training_leaves_its_files(done) -> None:
    out, benchmark = done
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


def test_only_real_test_images_are_tested(done, source: Path) -> None:
    out, benchmark = done
    records = SourceManifest.read(source).select(split="test", labelled=True)
    wanted = {record.key: record.label for record in records if record.label in CLASSES}
    found = read_predictions(training_folder(out, "conv", "didgen", 0), CLASSES)
    assert {k: CLASSES[i] for k, i in zip(found.keys, found.labels, strict=True)} == wanted
    assert sum(benchmark["images"]["synthetic"].values()) == 10
    assert benchmark["images"]["train"] == {"MEL": 6, "BCC": 6}


def test_arms_take_equal_steps_and_one_takes_equal_epochs(recipe: Make) -> None:
    job = prepare_classification(recipe(epochs=3))
    steps = {training.arm: training.steps for training in job.trainings}
    # 12 real and 10 synthetic images in batches of 4.
    assert steps == {arm: 9 if arm == "original-epochs" else 18 for arm in ARMS}
    assert job.evaluate_every == 3
    own = [{"name": "test_vit", "weights": "none", "arguments": {"img_size": 32}, "epochs": 2}]
    assert {t.steps for t in prepare_classification(recipe(networks=own)).trainings} == {12, 6}


def test_a_result_holds_the_figures_of_its_predictions(done) -> None:
    out, _ = done
    for arm in ARMS:
        folder = training_folder(out, "conv", arm, 1)
        told = read_json(folder / "result.json")
        found = read_predictions(folder, CLASSES)
        oracle = figures(found.probabilities, found.labels, CLASSES).to_dict()
        for name in ("balanced_accuracy", "mean_auc", "sensitivity", "confusion"):
            assert told["figures"][name] == oracle[name]
        assert told["training"]["steps"] == told["training"]["history"][-1]["step"]


def test_the_comparisons_are_those_of_the_predictions_seed_by_seed(done) -> None:
    out, benchmark = done
    assert len(benchmark["comparisons"]) == (len(ARMS) - 1) * 3 * 2
    by_network = []
    for network in ("conv", "test_vit"):
        before, after = (
            [read_predictions(training_folder(out, network, arm, s), CLASSES) for s in (0, 1)]
            for arm in ("oversampled", "didgen")
        )
        control, treatment = (
            np.stack([log_losses(one.probabilities, one.labels) for one in arm])
            for arm in (before, after)
        )
        by_network.append(
            compare(
                control,
                treatment,
                before[0].lesions,
                model=network,
                score="log-loss",
                names=("oversampled", "didgen"),
                higher_is_better=False,
            )
        )
    told = [
        one
        for one in benchmark["comparisons"]
        if (one["control"], one["score"]) == ("oversampled", "log-loss")
    ]
    oracle = [one.to_dict() for one in holm(by_network)]
    assert json.loads(json.dumps(told)) == json.loads(json.dumps(oracle))
    assert {one["family"] for one in told} == {2}


def test_the_mean_over_seeds_is_told_with_its_spread(done) -> None:
    out, benchmark = done
    arm = next(
        one for one in benchmark["arms"] if (one["network"], one["arm"]) == ("conv", "focal")
    )
    values = []
    for seed in (0, 1):
        found = read_predictions(training_folder(out, "conv", "focal", seed), CLASSES)
        right = correctness(found.probabilities, found.labels)
        values.append(balanced_accuracy(right, found.labels))
    assert arm["figures"]["balanced_accuracy"]["mean"] == pytest.approx(np.mean(values))
    assert arm["figures"]["balanced_accuracy"]["deviation"] == pytest.approx(np.std(values, ddof=1))
    assert sum(map(sum, arm["confusion"])) == 2 * 3


def test_the_page_says_what_the_record_holds(done) -> None:
    out, benchmark = done
    page = (out / "benchmark.md").read_text()
    for one in benchmark["comparisons"]:
        assert one["sentence"] in page
    assert "random weights, no pretraining" in page
    assert "2 classes (without NV), 32 px, 2 seeds an arm, on " in page
    assert ", float32; " in page
    assert "micro precision, recall and F1 are one number" in page
    rows = [line for line in page.splitlines() if line.startswith("| conv | focal |")]
    # Figures and classes have a row of each arm; tests have three of each rival.
    assert len(rows) == 2 + 3
    for line in page.splitlines():
        assert not line.startswith("|") or line.endswith("|")


def test_what_is_there_is_not_trained_again(done, recipe: Make, tmp_path: Path) -> None:
    out = copied(done, tmp_path)
    before = files(out)
    again = classify(prepare_classification(recipe()), out)
    assert files(out) == before
    assert again == done[1]


def test_a_lost_training_is_made_again_to_the_bit(done, recipe: Make, tmp_path: Path) -> None:
    out = copied(done, tmp_path)
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
    assert again["comparisons"] == done[1]["comparisons"]
    assert steps[-1][0] == steps[-1][1]
    assert steps == sorted(steps)


def test_lesions_learned_later_are_the_units_of_the_tests(
    done, recipe: Make, make_source, tmp_path: Path
) -> None:
    def together(manifest: SourceManifest) -> list:
        return [
            r.model_copy(update={"lesion_id": f"one-{r.label}"}) if r.split == "test" else r
            for r in manifest.records
        ]

    out = copied(done, tmp_path)
    before = files(out)
    grouped = changed(tmp_path, make_source, together)
    again = classify(prepare_classification(recipe(source=grouped)), out)
    assert files(out) == before
    # Drawn again and again, one lesion a class is always the same test set.
    intervals = [arm["balanced_accuracy_over_lesions"] for arm in again["arms"]]
    assert all(low == high for low, high in intervals)
    assert intervals != [arm["balanced_accuracy_over_lesions"] for arm in done[1]["arms"]]


def test_further_seeds_leave_the_others_alone(done, recipe: Make, tmp_path: Path) -> None:
    out = copied(done, tmp_path)
    before = files(out)
    more = classify(
        prepare_classification(recipe(seeds=[0, 1, 2], arms=["original", "didgen"])), out
    )
    after = files(out)
    assert {name: after[name] for name in before} == before
    assert [arm["seeds"] for arm in more["arms"]] == [[0, 1, 2]] * 4


def test_another_recipe_is_refused_before_anything_is_trained(
    done, recipe: Make, tmp_path: Path
) -> None:
    out = copied(done, tmp_path)
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


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            {"img_size": 64, "dynamic_img_size": False},
            r"test_vit cannot take images of 32 px \(Input height",
        ),
        ({"img_size": 32, "global_pool": ""}, "test_vit does not give one number for each class"),
    ],
)
def test_a_network_is_tried_before_any_is_trained(
    recipe: Make, arguments: dict[str, object], sentence: str
) -> None:
    networks = [
        {"name": "test_efficientnet", "weights": "none"},
        {"name": "test_vit", "weights": "none", "arguments": arguments},
    ]
    with pytest.raises(DidgenError, match=sentence):
        prepare_classification(recipe(networks=networks))


def test_without_shards_there_is_nothing_to_compare(recipe: Make, tmp_path: Path) -> None:
    alone = recipe(run=None, arms=["original", "focal"], seeds=[0], keep_weights=False, exclude=[])
    benchmark = classify(prepare_classification(alone), tmp_path)
    assert benchmark["comparisons"] == []
    assert benchmark["classes"] == ["MEL", "NV", "BCC"]
    assert "Nothing was compared" in (tmp_path / "benchmark.md").read_text()
    assert not list(tmp_path.rglob("*.safetensors"))


def changed(folder: Path, make_source, change: Callable[[SourceManifest], list]) -> Path:
    """A source with other records, and images that stay where they are."""
    source = make_source(folder)
    manifest = SourceManifest.read(source)
    SourceManifest(manifest.header, tuple(change(manifest))).write(source)
    return source


def test_a_copy_among_the_test_images_is_refused_or_dropped(
    recipe: Make, make_source, tmp_path: Path
) -> None:
    def copy(manifest: SourceManifest) -> list:
        first = manifest.records[0]
        files = {"image": first.image, "sha256": first.sha256}
        return [
            record.model_copy(update=files) if record.key == "ISIC_0000008" else record
            for record in manifest.records
        ]

    leaking = changed(tmp_path, make_source, copy)
    with pytest.raises(DidgenError, match="ISIC_0000000 in train is nearly ISIC_0000008 in test"):
        prepare_classification(recipe(source=leaking))
    job = prepare_classification(recipe(source=leaking, near_duplicates="drop"))
    assert [one["key"] for one in job.dropped] == ["ISIC_0000000"]
    assert len(job.images["train"]) == 11
    assert "ISIC_0000000" not in job.images["train"].keys


def test_a_class_of_copies_alone_is_refused(recipe: Make, make_source, tmp_path: Path) -> None:
    def copies(manifest: SourceManifest) -> list:
        test = manifest.records[8]
        files = {"image": test.image, "sha256": test.sha256}
        return [
            record.model_copy(update=files)
            if record.label == "MEL" and record.split == "train"
            else record
            for record in manifest.records
        ]

    leaking = changed(tmp_path, make_source, copies)
    with pytest.raises(DidgenError, match="without its near-duplicates has no image of MEL in tra"):
        prepare_classification(recipe(source=leaking, near_duplicates="drop"))


def test_a_synthetic_copy_of_a_test_image_is_refused(
    recipe: Make, make_run, make_source, source: Path, run: Path, tmp_path: Path
) -> None:
    def of_the_run(manifest: SourceManifest) -> list:
        import hashlib

        from didgen.manifests.shards.shard import iterate

        data = next(iter(iterate(run, "images"))).members["jpg"]
        record = manifest.records[8]
        manifest.image_path(record).write_bytes(data)
        update = {"sha256": hashlib.sha256(data).hexdigest()}
        return [r.model_copy(update=update) if r is record else r for r in manifest.records]

    leaking = changed(tmp_path, make_source, of_the_run)
    with pytest.raises(
        DidgenError, match="synthetic-images-000000 in train is nearly ISIC_0000008"
    ):
        prepare_classification(recipe(source=leaking))
    job = prepare_classification(recipe(source=leaking, near_duplicates="drop"))
    assert job.synthetic is not None
    assert len(job.synthetic) == 9


def test_data_that_does_not_fit_is_refused(
    recipe: Make, make_run, make_source, source: Path, run: Path, tmp_path: Path
) -> None:
    def shared(manifest: SourceManifest) -> list:
        test = manifest.records[8].model_copy(update={"lesion_id": "lesion 0"})
        return [test if r.key == test.key else r for r in manifest.records]

    other = make_run(tmp_path / "other", classes=["MEL", "NV", "BCC", "Rash"])
    mixed = tmp_path / "mixed"
    mix(prepare_mix(MixRecipe(source=source, run=run, ratio=0.5)), mixed)
    lesions = changed(tmp_path / "a", make_source, shared)
    lacking = changed(
        tmp_path / "b",
        make_source,
        lambda m: [r for r in m.records if (r.label, r.split) != ("BCC", "val")],
    )
    for fields, sentence in (
        ({"run": other}, "was made for the class Rash"),
        ({"run": mixed}, "is a mix already"),
        ({"run": tmp_path}, "finish the run"),
        ({"source": lesions}, "has the lesion lesion 0 in train"),
        ({"source": lacking}, "has no image of BCC in val"),
        ({"exclude": ["Rash"]}, "has no class Rash to exclude"),
        ({"exclude": ["NV", "BCC"]}, "leaves 1 classes"),
        ({"exclude": ["MEL"]}, "`positive` is MEL, which is none of NV, BCC"),
    ):
        with pytest.raises(DidgenError, match=sentence):
            prepare_classification(recipe(**fields))


def test_a_shard_that_changed_is_refused(recipe: Make, make_run, tmp_path: Path) -> None:
    damaged = make_run(tmp_path / "run")
    tar = damaged / "images" / "images-000001.tar"
    tar.write_bytes(tar.read_bytes()[:-600])
    with pytest.raises(DidgenError, match="is missing or not as the run wrote it"):
        prepare_classification(recipe(run=damaged))


def test_the_command(recipe: Make, tmp_path: Path, command: Command) -> None:
    asked = recipe(arms=["original", "didgen"], seeds=[0]).model_dump_json()
    path, out = tmp_path / "recipe.yaml", tmp_path / "out"
    path.write_text(asked)
    done = command("classify", path)
    assert done.code == 2
    assert "--out" in done.err
    done = command("classify", path, "--dry-run")
    assert done.code == 0
    assert "synthetic: 10 images (5 MEL, 5 BCC)" in done.out
    assert f"4 trainings, 24 steps at most, on {choose_device()}" in " ".join(done.out.split())
    assert "warmup: 0.05" in done.out
    assert not out.exists()
    done = command("classify", path, "--out", out)
    assert done.code == 0
    assert "didgen minus original" in done.out
    assert "one seed, so it holds for these two networks only" in done.out
    assert (out / "benchmark.md").is_file()
    path.write_text(asked.replace('"learning_rate":0.001', '"learning_rate":0.1'))
    done = command("classify", path, "--out", out)
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith("Error: ")
    assert "recipe.learning_rate" in done.err
