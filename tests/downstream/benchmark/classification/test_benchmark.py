"""Tests of the classification benchmark: whole, resumed, refused; its record and its files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from didgen.augment.device import choose_device
from didgen.downstream.benchmark.classification.benchmark import classify
from didgen.downstream.benchmark.classification.job import prepare_classification
from didgen.downstream.benchmark.recipe import ClassifyRecipe
from didgen.downstream.benchmark.results import read_predictions, training_folder
from didgen.downstream.metrics.classification import figures
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json, read_json_lines, write_json
from didgen.manifests.privacy.pseudonyms import Pseudonyms
from didgen.manifests.recipes.reading import read_recipe
from didgen.manifests.sources.records import SourceManifest, SourceRecord
from tests.fixtures.benchmarks import Done, copied, files
from tests.fixtures.commands import Command
from tests.fixtures.sources import changed_source

Make = Callable[..., ClassifyRecipe]
CLASSES = ("MEL", "BCC")
CONV = [{"name": "test_efficientnet", "called": "conv", "weights": "none"}]
ARMS = (*ClassifyRecipe.default_arms, "didgen")


def test_every_training_leaves_its_files(classified: Done) -> None:
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
                    "tested.json",
                    "validation.jsonl",
                    "weights.safetensors",
                }
    assert read_json(out / "benchmark.json") == json.loads(json.dumps(benchmark))


def test_only_real_test_images_are_tested(classified: Done, source: Path) -> None:
    out, benchmark = classified
    records = SourceManifest.read(source).select(split="test", labelled=True)
    wanted = {record.key: record.label for record in records if record.label in CLASSES}
    found = read_predictions(training_folder(out, "conv", "didgen", 0), CLASSES)
    assert {k: CLASSES[i] for k, i in zip(found.keys, found.labels, strict=True)} == wanted
    assert sum(benchmark["images"]["synthetic"].values()) == 10
    assert benchmark["images"]["train"] == {"MEL": 6, "BCC": 6}


@pytest.mark.parametrize(
    ("part", "name"), [("val", "validation.jsonl"), ("test", "predictions.jsonl")]
)
def test_a_result_holds_the_figures_of_its_predictions(
    classified: Done, part: str, name: str
) -> None:
    out, _ = classified
    for arm in ARMS:
        folder = training_folder(out, "conv", arm, 1)
        result = read_json(folder / "result.json")
        found = read_predictions(folder, CLASSES, name)
        oracle = figures(found.probabilities, found.labels, CLASSES).to_dict()
        told = read_json(folder / "tested.json")["figures"][part] if part == "test" else None
        for figure in ("balanced_accuracy", "mean_auc", "sensitivity", "confusion"):
            assert (told or result["figures"])[figure] == oracle[figure]
        training = result["training"]
        assert training["steps"] == training["history"][-1]["step"]
        assert training["images_seen"] == 4 * training["steps"]
        assert training["peak_memory"] > 2**20


def test_what_is_there_is_not_trained_again(classified: Done, recipe: Make, tmp_path: Path) -> None:
    out = copied(classified, tmp_path)
    before = files(out)
    again = classify(prepare_classification(recipe()), out)
    assert files(out) == before
    assert again == classified[1]


def test_a_lost_training_is_made_again_to_the_bit(
    classified: Done, recipe: Make, tmp_path: Path
) -> None:
    out = copied(classified, tmp_path)
    before = files(out)
    lost = training_folder(out, "conv", "oversampled", 0)
    (lost / "validation.jsonl").write_text("torn")
    (lost / "predictions.jsonl").write_text("torn")
    steps = []
    again = classify(prepare_classification(recipe()), out, progress=lambda *at: steps.append(at))
    after = files(out)
    changed = {name for name in before if before[name][0] != after[name][0]}
    assert {Path(name).parent for name in changed} == {lost.relative_to(out)}
    for name in ("validation.jsonl", "predictions.jsonl"):
        name = str((lost / name).relative_to(out))
        assert after[name][1] == before[name][1]
    # The order of the results does not follow from when they were made.
    assert again["comparisons"] == classified[1]["comparisons"]
    assert steps[-1][0] == steps[-1][1]
    assert steps == sorted(steps)


def test_patients_learned_later_are_the_units_of_the_tests(
    classified: Done, recipe: Make, make_source: Callable[..., Path], tmp_path: Path
) -> None:
    def together(manifest: SourceManifest) -> list[SourceRecord]:
        return [
            r.model_copy(update={"patient_id": f"one-{r.label}"}) if r.split == "test" else r
            for r in manifest.records
        ]

    out = copied(classified, tmp_path)
    before = files(out)
    grouped = changed_source(tmp_path, together)
    again = classify(prepare_classification(recipe(source=grouped)), out)
    assert files(out) == before
    assert again["unit"] == "patient or lesion"
    assert again["units"] == classified[1]["units"] | {"test": 2}
    assert {one["units"] for one in again["comparisons"]} == {2}
    assert "2 patients or lesions" in (out / "benchmark.md").read_text()
    # Drawn again and again, one patient a class is always the same test set.
    intervals = [arm["interval"] for arm in again["arms"]]
    assert all(low == high for low, high in intervals)
    assert intervals != [arm["interval"] for arm in classified[1]["arms"]]


def test_records_name_no_patient(recipe: Make, tmp_path: Path) -> None:
    """They are committed: a patient is a pseudonym, the same one in every file of a source."""
    source = changed_source(
        tmp_path,
        lambda m: [
            r.model_copy(update={"patient_id": f"patient {r.lesion_id}"}) for r in m.records
        ],
    )
    small: dict[str, Any] = {"networks": CONV, "arms": ["original"], "run": None, "source": source}
    out, records = tmp_path / "out", tmp_path / "records"
    classify(prepare_classification(recipe(**small, records=records)), out)
    pseudonyms = Pseudonyms.of(source)
    assert pseudonyms.stored
    patients = {r.key: pseudonyms.name(r.unit) for r in SourceManifest.read(source).records}
    tables = [*records.rglob("*.jsonl")]
    assert len(tables) == 4
    for table in tables:
        rows = read_json_lines(table)
        assert {row["key"]: row["unit"] for row in rows}.items() <= patients.items()
    for path in (path for folder in (out, records) for path in folder.rglob("*.json*")):
        assert "patient lesion" not in path.read_text()


def test_further_seeds_leave_the_others_alone(
    classified: Done, recipe: Make, tmp_path: Path
) -> None:
    out = copied(classified, tmp_path)
    before = files(out)
    more = classify(
        prepare_classification(recipe(seeds=[0, 1, 2], arms=["original", "didgen"])), out
    )
    after = files(out)
    assert {name: after[name] for name in before} == before
    assert [arm["seeds"] for arm in more["arms"]] == [[0, 1, 2]] * 4


def test_a_lost_test_is_made_from_the_weights(
    classified: Done, recipe: Make, tmp_path: Path
) -> None:
    out = copied(classified, tmp_path)
    before = files(out)
    lost = training_folder(out, "test_vit", "didgen", 1)
    (lost / "predictions.jsonl").write_text("torn")
    classify(prepare_classification(recipe()), out)
    after = files(out)
    changed = {Path(name) for name in before if before[name][0] != after[name][0]}
    assert changed == {
        lost.relative_to(out) / name for name in ("predictions.jsonl", "tested.json")
    }
    assert {name: data for name, (_, data) in after.items()} == {
        name: data for name, (_, data) in before.items()
    }


SCORE = "balanced accuracy"

USES = [
    "original",
    "didgen",
    {"name": "half", "use": "half", "run": "didgen"},
    {"name": "only", "use": "only", "run": "didgen"},
]


def test_test_images_are_shown_to_the_chosen_use_and_the_controls_alone(
    recipe: Make, tmp_path: Path
) -> None:
    few = {"arms": USES, "networks": CONV, "seeds": [0, 1, 2], "search": 2, "keep_weights": False}
    out, records = tmp_path / "out", tmp_path / "records"
    benchmark = classify(prepare_classification(recipe(**few, records=records)), out)
    (chosen,) = [one["name"] for one in benchmark["choices"]["didgen"] if one["chosen"]]
    assert {path.parts[-3] for path in out.rglob("predictions.jsonl")} == {"original", chosen}
    for arm in benchmark["arms"]:
        tested = arm["arm"] in ("original", chosen)
        # The search has two of the seeds; the chosen use then gets the third.
        assert arm["seeds"] == ([0, 1, 2] if tested else [0, 1])
        assert (arm["figures"] is not None) == tested
        assert arm["chosen"] == (arm["arm"] == chosen)
        assert arm["validation"]["figures"]["balanced_accuracy"]["seeds"] == len(arm["seeds"])
    assert {(one["control"], one["treatment"]) for one in benchmark["comparisons"]} == {
        ("original", chosen)
    }
    assert not list(out.rglob("*.safetensors"))
    # From the small files alone a benchmark goes on, without a training.
    there = files(out)
    assert {name: data for name, (_, data) in files(records).items()} == {
        name: data for name, (_, data) in there.items()
    }
    again = tmp_path / "again"
    assert classify(prepare_classification(recipe(**few, records=records)), again) == benchmark
    assert not list(again.rglob("curves"))


def test_a_search_looks_at_no_test_image_and_another_benchmark_takes_its_choice(
    recipe: Make, tmp_path: Path
) -> None:
    few = {"networks": CONV, "real": [2, 4], "near_duplicates": "drop", "arms": USES}
    search, confirmed = tmp_path / "search", tmp_path / "confirmed"
    wide = recipe(**few, seeds=[0, 1], search=1, test=False)
    found = classify(prepare_classification(wide), search)
    # Further seeds of the chosen use are for a test.
    assert {(arm["arm"], len(arm["seeds"])) for arm in found["arms"]} == {
        ("original", 2),
        *((name, 1) for name in ("didgen", "half", "only")),
    }
    assert wide.at_most() == len(prepare_classification(wide).at_most())
    assert not [*search.rglob("predictions.jsonl"), *search.rglob("tested.json")]
    assert {arm["figures"] for arm in found["arms"]} == {None} and not found["comparisons"]
    page = (search / "benchmark.md").read_text()
    assert "No test image was looked at" in page and "## Figures on the test" not in page
    (chosen,) = [one["name"] for one in found["choices"]["didgen"] if one["chosen"]]
    asked = recipe(**few, seeds=[5, 6, 7], seeds_at=[3, 2], chosen=search)
    benchmark = classify(prepare_classification(asked), confirmed)
    seeds = {(arm["arm"], arm["real"]): arm["seeds"] for arm in benchmark["arms"]}
    of_scale = {2: [5, 6, 7], 4: [5, 6]}
    assert seeds == {(a, k): of for a in ("original", chosen) for k, of in of_scale.items()}
    judged = [one for one in benchmark["comparisons"] if one["judged"]]
    assert [(one["seeds"], one["family"]) for one in judged] == [(3, 2), (2, 2)]
    page = (confirmed / "benchmark.md").read_text()
    assert f"another benchmark chose `{chosen}` for the run didgen" in page
    assert "2 to 3 seeds an arm" in page
    # A choice by other images, whose validation images may be the test images here.
    write_json(search / "benchmark.json", found | {"data": found["data"] | {"real": "0" * 64}})
    with pytest.raises(DidgenError, match="chose by other images or splits than this recipe has"):
        prepare_classification(asked)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"chosen": "nothing"}, "names nothing, which is no finished benchmark"),
        ({"arms": ["original", "didgen"], "run": None}, "did not choose among the uses of didgen"),
        (
            {"arms": ["original", "didgen", {"name": "x", "run": "didgen", "use": "only"}]},
            "did not choose among the uses of didgen",
        ),
    ],
)
def test_a_choice_of_other_uses_is_refused(
    fields: dict[str, Any], sentence: str, recipe: Make, tmp_path: Path
) -> None:
    arm = {"name": "didgen", "run": "didgen", "use": "half", "share": 0.5}
    choices = {"didgen": [{"name": "didgen", "chosen": True}]}
    record = {"kind": "classify", "choices": choices, "recipe": {"arms": [arm]}}
    write_json(tmp_path / "benchmark.json", record)
    runs = {"run": None, "runs": {"didgen": "run"}, "arms": ["original", "didgen"]}
    asked = recipe(**runs | {"chosen": tmp_path} | fields)
    with pytest.raises(DidgenError, match=sentence):
        prepare_classification(asked)


@pytest.mark.slow
def test_scales_have_images_of_their_own_seed_nested_and_no_early_stopping(
    recipe: Make, tmp_path: Path
) -> None:
    few = recipe(real=[2, 4, 9, None], networks=CONV, epochs=2, arms=["original", "didgen"])
    job = prepare_classification(few)
    for seed in (0, 1):
        kept = [{*job.real(real, seed).keys} for real in (2, 4, 9, None)]
        assert kept[0] < kept[1] < kept[2] == kept[3]
        for real in (2, 4):
            assert np.bincount(job.real(real, seed).labels).tolist() == [real, real]
    assert {*job.real(2, 0).keys} != {*job.real(2, 1).keys}
    by_scale = {t.real: t for t in job.trainings if (t.arm, t.seed) == ("original", 0)}
    # Two epochs over 4, 8, 12 and 12 real images and 10 synthetic ones, in batches of 4.
    assert {real: t.steps for real, t in by_scale.items()} == {2: 8, 4: 10, 9: 12, None: 12}
    assert {real: job.evaluate_every(t) for real, t in by_scale.items()} == {
        2: 8,
        4: 10,
        9: 12,
        None: 3,
    }
    benchmark = classify(job, tmp_path)
    last = training_folder(tmp_path, "conv", "didgen", 0, 4)
    assert read_json(last / "result.json")["training"]["best_step"] == 10
    assert read_json(last / "result.json")["asked"]["subset"] == {"real": 4, "seed": [42, 0]}
    assert [arm["real"] for arm in benchmark["arms"]] == [2, 2, 4, 4, 9, 9, None, None]
    page = (tmp_path / "benchmark.md").read_text()
    assert "| network | arm | scope | 2 | 4 | 9 | all |" in page
    assert "](plots/scarcity-test-conv.png)" in page
    assert (tmp_path / "plots" / "scarcity-validation-conv.png").is_file()


def test_the_tested_networks_are_tested_on_another_source_too(
    recipe: Make, outside: Path, tmp_path: Path
) -> None:
    few = {"arms": USES, "networks": CONV, "seeds": [0, 1]}
    job = prepare_classification(recipe(**few, outside=outside))
    assert job.outside is not None and len(job.outside) == 19
    benchmark = classify(job, tmp_path / "out")
    for arm in benchmark["arms"]:
        assert (arm["outside"] is None) == (arm["figures"] is None)
    elsewhere = [one for one in benchmark["comparisons"] if one["part"] == "outside"]
    # Another source is a family of its own.
    for one in elsewhere:
        assert one["judged"] == ((one["control"], one["score"]) == ("original", SCORE))
    assert {one["family"] for one in benchmark["comparisons"] if one["judged"]} <= {1}
    page = (tmp_path / "out" / "benchmark.md").read_text()
    assert f"## Figures on {outside}" in page
    folder = training_folder(tmp_path / "out", "conv", "original", 0)
    assert len(read_predictions(folder, CLASSES, "outside.jsonl").keys) == 19


def test_another_recipe_is_refused_before_anything_is_trained(
    classified: Done, recipe: Make, tmp_path: Path
) -> None:
    out = copied(classified, tmp_path)
    before = files(out)
    with pytest.raises(DidgenError, match=r"differs in recipe\.learning_rate \(0\.001, now 0\.5\)"):
        classify(prepare_classification(recipe(learning_rate=0.5, seeds=[7, 0])), out)
    assert files(out) == before


@pytest.mark.slow
@pytest.mark.timeout(900)
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
    assert "through each network on this machine: about a minute at most of train" in ended.out
    assert "warmup: 0.05" in ended.out
    # It was written as a recipe of today.
    assert "older form" not in ended.out
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
