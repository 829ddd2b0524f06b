"""The segmentation benchmark on noise: whole, resumed, refused; its record against its files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from didgen.augment.device import choose_device
from didgen.downstream.benchmark.recipe import SEGMENT_ARMS, SegmentRecipe
from didgen.downstream.benchmark.results import read_segmentations, training_folder
from didgen.downstream.benchmark.segmentation.benchmark import segment
from didgen.downstream.benchmark.segmentation.job import SegmentationJob, prepare_segmentation
from didgen.downstream.benchmark.segmentation.pair_filter import agree
from didgen.downstream.data.pairs import folds
from didgen.downstream.metrics.segmentation import dice_scores, overlaps
from didgen.downstream.networks.segmenters import build_segmenter
from didgen.downstream.stats.comparison import compare, holm
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json, read_json_lines
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.commands import Command

Make = Callable[..., SegmentRecipe]
NETWORKS = ("unet", "wide")
SCALES = (8, None)


@pytest.fixture(scope="module")
def done(segment_recipe: Make, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A finished benchmark: every arm of two networks, scales and seeds."""
    out = tmp_path_factory.mktemp("segment")
    return out, segment(prepare_segmentation(segment_recipe()), out)


@pytest.fixture(scope="module")
def job(segment_recipe: Make) -> SegmentationJob:
    return prepare_segmentation(segment_recipe())


def copied(done: tuple[Path, dict], folder: Path) -> Path:
    shutil.copytree(done[0], folder / "out")
    return folder / "out"


def files(out: Path) -> dict[str, tuple[int, bytes]]:
    """Every result, predictions and what the filter says: when written, and the bytes."""
    return {
        # What the filter says is written each time.
        str(path.relative_to(out)): (
            path.stat().st_mtime_ns if "runs" in path.parts else 0,
            path.read_bytes(),
        )
        for path in sorted(out.rglob("*.json*"))
        if path.parent != out
    }


def test_every_training_leaves_its_files(done) -> None:
    out, benchmark = done
    assert len(benchmark["arms"]) == 2 * 2 * len(SEGMENT_ARMS)
    for network in NETWORKS:
        for arm in SEGMENT_ARMS:
            for real in SCALES:
                for seed in (0, 1):
                    folder = training_folder(out, network, arm, seed, real)
                    assert {path.name for path in folder.iterdir()} == {
                        "predictions.jsonl",
                        "result.json",
                        "weights.safetensors",
                    }
    assert read_json(out / "benchmark.json") == json.loads(json.dumps(benchmark))


def test_only_real_test_images_are_tested(done, source: Path) -> None:
    out, benchmark = done
    records = SourceManifest.read(source).select(split="test", masked=True)
    found = read_segmentations(training_folder(out, "unet", "didgen", 0, 8))
    assert found.keys == tuple(record.key for record in records)
    assert benchmark["images"] == {"train": 18, "val": 6, "test": 6, "synthetic": 6}


def test_arms_take_equal_steps_and_one_takes_equal_epochs(segment_recipe: Make) -> None:
    def steps(**fields: object) -> dict[tuple[str, int | None], int]:
        job = prepare_segmentation(segment_recipe(networks=ONE, seeds=[0], **fields))
        return {(t.arm, t.real): t.steps for t in (*job.judges, *job.trainings)}

    # 6 synthetic pairs beside 8 or 18 real ones, in batches of 4.
    planned = steps(epochs=3)
    for real, equal, own in ((8, 12, 6), (None, 18, 15)):
        assert planned.pop(("original-epochs", real)) == own
        assert {n for (_, count), n in planned.items() if count == real} == {equal}
    limited = steps(epochs=3, max_steps=10)
    # 10 of 12 steps are 2.5 epochs, which are 5 steps of 8 real pairs.
    assert limited["didgen", 8] == 10
    assert limited["original-epochs", 8] == 5


ONE = [
    {
        "name": "monai.UNet",
        "called": "unet",
        "weights": "none",
        "arguments": {"channels": [4, 8], "strides": [2]},
    }
]


def test_evaluations_come_after_equal_steps(segment_recipe: Make, job: SegmentationJob) -> None:
    assert [job.evaluate_every(count) for count in SCALES] == [2, 5]
    set_ = prepare_segmentation(segment_recipe(evaluate_every=3))
    assert [set_.evaluate_every(count) for count in SCALES] == [3, 3]


def test_a_result_holds_the_figures_of_its_masks(done, job: SegmentationJob) -> None:
    out, _ = done
    truths = job.images["test"].masks.numpy()
    for arm in SEGMENT_ARMS:
        folder = training_folder(out, "unet", arm, 1, 8)
        found = read_segmentations(folder)
        oracle = overlaps(found.masks, truths)
        for name, values in vars(found.overlaps).items():
            assert values == pytest.approx(getattr(oracle, name), abs=1e-6), name
        assert read_json(folder / "result.json")["figures"] == pytest.approx(oracle.means())


def test_the_kept_weights_are_those_of_the_masks(done, job: SegmentationJob) -> None:
    from safetensors.torch import load_file

    out, _ = done
    folder = training_folder(out, "unet", "didgen-filtered", 0, 8)
    network = build_segmenter(job.recipe.networks[0], None)
    network.get_submodule("network").load_state_dict(load_file(folder / "weights.safetensors"))
    with torch.no_grad():
        masks = network.eval()(job.images["test"].pixels)[:, 0] > 0
    assert np.array_equal(masks.numpy(), read_segmentations(folder).masks)


def test_the_comparisons_are_those_of_the_masks_seed_by_seed(done) -> None:
    out, benchmark = done
    # Four pairs of arms, four scores, two networks at two scales.
    assert len(benchmark["comparisons"]) == 4 * 4 * 4
    members = []
    for real, words in ((8, "8 real pairs"), (None, "all 18 real pairs")):
        for network in NETWORKS:
            control, treatment = (
                [read_segmentations(training_folder(out, network, arm, s, real)) for s in (0, 1)]
                for arm in ("didgen", "didgen-filtered")
            )
            members.append(
                compare(
                    np.stack([one.overlaps.dice for one in control]),
                    np.stack([one.overlaps.dice for one in treatment]),
                    control[0].lesions,
                    model=f"{network}, {words}",
                    score="Dice",
                    names=("didgen", "didgen-filtered"),
                )
            )
    oracle = [json.loads(json.dumps(one.to_dict())) for one in holm(members)]
    told = [
        one
        for one in json.loads(json.dumps(benchmark["comparisons"]))
        if (one["control"], one["score"]) == ("didgen", "Dice")
    ]
    for one, other in zip(told, oracle, strict=True):
        assert {one[name] == other[name] for name in ("model", "verdict", "family")} == {True}
        # Figures are rounded on disk.
        for name in ("difference", "p_holm", "control_mean"):
            assert one[name] == pytest.approx(other[name], abs=1e-5)
    distances = [one for one in benchmark["comparisons"] if one["score"] == "HD95"]
    assert not any(one["higher_is_better"] for one in distances)


def test_the_filter_keeps_the_pairs_that_unseeing_judges_agree_with(
    done, job: SegmentationJob
) -> None:
    out, benchmark = done
    assert job.synthetic is not None
    for real in SCALES:
        pairs = job.real(real)
        dealt = dict(zip(pairs.lesions, folds(pairs.lesions, 2, job.recipe.seed), strict=True))
        judged: dict[str, list[float]] = {key: [] for key in job.synthetic.keys}
        for fold in (0, 1):
            folder = training_folder(out, "unet", f"judge-{fold}", job.recipe.seed, real)
            for row in read_json_lines(folder / "predictions.jsonl"):
                # A judge was trained on every fold but its own.
                assert dealt.get(row["guide"], fold) == fold
                judged[row["key"]].append(row["dice"])
        rows = read_json_lines(out / "filter" / f"real-{real or 'all'}.jsonl")
        assert [row["key"] for row in rows] == list(job.synthetic.keys)
        for row in rows:
            assert row["judges"] == (1 if row["guide"] in dealt else 2)
            assert row["agreement"] == pytest.approx(np.mean(judged[row["key"]]))
        kept = [row["agreement"] for row in rows if row["kept"]]
        dropped = [row["agreement"] for row in rows if not row["kept"]]
        assert (len(kept), len(dropped)) == (5, 1)
        assert min(kept) >= max(dropped)
        folder = training_folder(out, "wide", "didgen-filtered", 0, real)
        assert read_json(folder / "result.json")["asked"]["images"]["synthetic"] == 5
    assert [scale["filter"]["kept"] for scale in benchmark["scales"]] == [5, 5]


def test_the_page_says_what_the_record_holds(done) -> None:
    out, benchmark = done
    page = (out / "benchmark.md").read_text()
    for one in benchmark["comparisons"]:
        assert one["sentence"] in page
    assert "32 px, loss dice-bce, 2 seeds an arm, on " in page
    assert "random weights, no pretraining" in page
    assert (
        f"With 8 real pairs, `didgen` has also used masks of 3 lesions of the training split as "
        f"layouts, {benchmark['scales'][0]['guides_among_real']} of them lesions of these pairs"
        in page
    )
    # All real pairs there are can be scarce for nobody.
    assert "With 18 real pairs" not in page
    assert "McNemar" not in page
    assert len([line for line in page.splitlines() if line.startswith("| unet | 8 |")]) == 4
    for line in page.splitlines():
        assert not line.startswith("|") or line.endswith("|")


def test_each_network_and_scale_has_its_plots(done) -> None:
    out, benchmark = done
    page = (out / "benchmark.md").read_text()
    named = {
        f"plots/{kind}-{network}-{real or 'all'}.png"
        for kind in ("change", "worst")
        for network in NETWORKS
        for real in SCALES
    }
    assert {plot["file"] for plot in benchmark["plots"]} == named
    for name in named:
        assert f"]({name})" in page
        with Image.open(out / name) as image:
            assert image.format == "PNG"
            colours = image.convert("RGB").getcolors(2**24)
            assert colours is not None and len(colours) > 20


def test_a_split_of_copies_alone_is_refused(
    segment_recipe: Make, make_source, tmp_path: Path
) -> None:
    source = make_source(tmp_path)
    manifest = SourceManifest.read(source)
    test = manifest.select(split="test", masked=True)[0]
    files = {"image": test.image, "sha256": test.sha256}
    records = (r.model_copy(update=files) if r.split == "val" else r for r in manifest.records)
    SourceManifest(manifest.header, tuple(records)).write(source)
    with pytest.raises(DidgenError, match="without its near-duplicates has no masks in val"):
        prepare_segmentation(
            segment_recipe(source=source, run=None, arms=["original"], near_duplicates="drop")
        )


def test_what_is_there_is_not_trained_again(done, segment_recipe: Make, tmp_path: Path) -> None:
    out = copied(done, tmp_path)
    before = files(out)
    assert segment(prepare_segmentation(segment_recipe()), out) == done[1]
    assert files(out) == before


@pytest.mark.slow
def test_lost_trainings_are_made_again_to_the_bit(
    done, segment_recipe: Make, tmp_path: Path
) -> None:
    out = copied(done, tmp_path)
    before = files(out)
    lost = [
        training_folder(out, "wide", "didgen", 1, 8),
        training_folder(out, "unet", "judge-1", 42, None),
    ]
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
    assert again["comparisons"] == done[1]["comparisons"]
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1]


@pytest.mark.slow
def test_a_recipe_may_grow_by_seeds_scales_and_networks(
    segment_recipe: Make, tmp_path: Path
) -> None:
    few = {"networks": ONE, "arms": ["original", "didgen"], "seeds": [0], "real": [8]}
    segment(prepare_segmentation(segment_recipe(**few)), tmp_path)
    before = files(tmp_path)
    more = {"seeds": [0, 1], "real": [8, 9], "arms": ["original", "didgen", "didgen-filtered"]}
    grown = segment(prepare_segmentation(segment_recipe(**(few | more))), tmp_path)
    after = files(tmp_path)
    assert {name: after[name] for name in before} == before
    assert [arm["seeds"] for arm in grown["arms"]] == [[0, 1]] * 6


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"learning_rate": 0.5}, r"differs in recipe\.learning_rate \(0\.01, now 0\.5\)"),
        ({"seed": 1}, r"differs in recipe\.seed \(42, now 1\)"),
        ({"filter": {"keep": 0.5}}, r"differs in filter\.keep \(0\.8, now 0\.5\)"),
        ({"filter": {"folds": 3}}, r"differs in folds \(2, now 3\)"),
    ],
)
def test_another_recipe_is_refused_before_anything_is_trained(
    done, segment_recipe: Make, fields, sentence: str, tmp_path: Path
) -> None:
    out = copied(done, tmp_path)
    before = files(out)
    with pytest.raises(DidgenError, match=sentence):
        segment(prepare_segmentation(segment_recipe(**fields)), out)
    assert files(out) == before


def test_without_pairs_there_is_nothing_to_compare(segment_recipe: Make, tmp_path: Path) -> None:
    alone = segment_recipe(
        run=None, networks=ONE, arms=["original"], seeds=[0], real=[8], keep_weights=False
    )
    benchmark = segment(prepare_segmentation(alone), tmp_path)
    assert benchmark["comparisons"] == benchmark["plots"] == []
    page = (tmp_path / "benchmark.md").read_text()
    assert "Nothing was compared" in page
    assert "as layouts" not in page
    assert not list(tmp_path.rglob("*.safetensors"))


def changed(folder: Path, make_source, change: Callable[[SourceManifest], list]) -> Path:
    """A source with other records, and images that stay where they are."""
    source = make_source(folder)
    manifest = SourceManifest.read(source)
    SourceManifest(manifest.header, tuple(change(manifest))).write(source)
    return source


def test_layouts_of_test_masks_are_refused(segment_recipe: Make, make_run, tmp_path: Path) -> None:
    for number, key in enumerate(("ISIC_0000008", "ISIC_0000017")):
        leaking = make_run(tmp_path / str(number), layouts=("ISIC_0000000", key))
        with pytest.raises(DidgenError, match=f"guided by the mask of {key}, which is no training"):
            prepare_segmentation(segment_recipe(run=leaking))


def test_a_copy_among_the_test_images_is_refused_or_dropped(
    segment_recipe: Make, make_source, tmp_path: Path
) -> None:
    def copy(manifest: SourceManifest) -> list:
        first = manifest.records[0]
        files = {"image": first.image, "sha256": first.sha256}
        return [
            r.model_copy(update=files) if r.key == "ISIC_0000008" else r for r in manifest.records
        ]

    leaking = changed(tmp_path, make_source, copy)
    with pytest.raises(DidgenError, match="ISIC_0000000 in train is nearly ISIC_0000008 in test"):
        prepare_segmentation(segment_recipe(source=leaking))
    job = prepare_segmentation(segment_recipe(source=leaking, near_duplicates="drop"))
    assert [one["key"] for one in job.dropped] == ["ISIC_0000000"]
    assert "ISIC_0000000" not in job.real(None).keys
    # Its mask is that of the test image, and guided two of the six pairs.
    assert job.synthetic is not None and job.synthetic.guides == ("", "lesion 13", "lesion 24", "")


def test_data_that_does_not_fit_is_refused(
    segment_recipe: Make, make_source, source: Path, tmp_path: Path
) -> None:
    def shared(manifest: SourceManifest) -> list:
        test = manifest.records[8].model_copy(update={"lesion_id": "lesion 0"})
        return [test if r.key == test.key else r for r in manifest.records]

    def bare(manifest: SourceManifest) -> list:
        return [
            r.model_copy(update={"mask": None}) if r.split == "val" else r for r in manifest.records
        ]

    for fields, sentence in (
        ({"run": tmp_path}, "finish the run"),
        ({"source": changed(tmp_path / "a", make_source, shared)}, "has the lesion lesion 0 in"),
        ({"source": changed(tmp_path / "b", make_source, bare)}, "no image with a mask in val"),
        ({"collections": ["photos", "task 1"]}, "of the collection task 1; it has photos"),
        ({"real": [19]}, "asks for 19 training pairs and the source has 18"),
        ({"networks": [{"name": "monai.UNets"}]}, "no segmentation net monai.UNets"),
    ):
        with pytest.raises(DidgenError, match=sentence):
            prepare_segmentation(segment_recipe(**fields))


def test_a_collection_is_part_of_the_images(
    segment_recipe: Make, make_source, tmp_path: Path
) -> None:
    def renamed(manifest: SourceManifest) -> list:
        return [
            r.model_copy(update={"source": "others"}) if r.label == "MEL" else r
            for r in manifest.records
        ]

    parted = changed(tmp_path, make_source, renamed)
    job = prepare_segmentation(segment_recipe(source=parted, collections=["photos"], real=[None]))
    assert {split: len(part) for split, part in job.images.items()} == {
        "train": 12,
        "val": 4,
        "test": 4,
    }
    # A pair may still be guided by a training mask of the other collection.
    assert job.synthetic is not None and "lesion 0" in job.synthetic.guides


def test_half_precision_trains_and_predicts(segment_recipe: Make, tmp_path: Path) -> None:
    few = segment_recipe(
        mixed_precision="bf16", networks=ONE, arms=["original"], run=None, seeds=[0], real=[8]
    )
    benchmark = segment(prepare_segmentation(few), tmp_path)
    assert benchmark["devices"][0].endswith("bf16")


def test_the_command(segment_recipe: Make, tmp_path: Path, command: Command) -> None:
    few = {"arms": ["original", "didgen", "didgen-filtered"], "seeds": [0], "real": [8]}
    asked = segment_recipe(networks=ONE, **few).model_dump_json()
    path, out = tmp_path / "recipe.yaml", tmp_path / "out"
    path.write_text(asked)
    done = command("segment", path)
    assert done.code == 2
    assert "--out" in done.err
    done = command("segment", path, "--dry-run")
    assert done.code == 0
    assert "train: 18 pairs, val: 6 pairs, test: 6 pairs, synthetic: 6 pairs" in done.out
    assert "Training sets: 8 real pairs" in done.out
    assert f"5 trainings, 20 steps at most, on {choose_device()}" in " ".join(done.out.split())
    assert "patience: 20" in done.out
    assert not out.exists()
    done = command("segment", path, "--out", out)
    assert done.code == 0
    assert "didgen-filtered minus didgen" in done.out
    assert "one seed, so it holds for these two networks only" in done.out
    assert (out / "benchmark.md").is_file()
    path.write_text(asked.replace('"learning_rate":0.01', '"learning_rate":0.1'))
    done = command("segment", path, "--out", out)
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith("Error: ")
    assert "recipe.learning_rate" in done.err


def test_agreement_is_that_of_a_loop(job: SegmentationJob) -> None:
    assert job.synthetic is not None
    rng = np.random.default_rng(0)
    guesses = rng.random(job.synthetic.masks.shape) < 0.5
    judged = [
        dict(zip(job.synthetic.keys, dice_scores(part, job.synthetic.masks.numpy()), strict=True))
        for part in (guesses, ~guesses)
    ]
    del judged[1][job.synthetic.keys[2]]
    found = agree(job.synthetic, judged, keep=0.5)
    for place, truth in enumerate(job.synthetic.masks.numpy()):
        scores = []
        for guess in (guesses[place], ~guesses[place])[: 1 if place == 2 else 2]:
            both = int((guess & truth).sum())
            scores.append(2 * both / (int(guess.sum()) + int(truth.sum())))
        assert found.dice[place] == pytest.approx(sum(scores) / len(scores))
    assert found.judges.tolist() == [2, 2, 1, 2, 2, 2]
    best = sorted(range(6), key=lambda place: -found.dice[place])[:3]
    assert np.flatnonzero(found.kept).tolist() == sorted(best)


@pytest.mark.data
@pytest.mark.slow
def test_a_small_net_learns_real_lesions(data_dir: Path, tmp_path: Path) -> None:
    from didgen.manifests.importers.isic2018 import import_isic2018

    imported = import_isic2018(data_dir / "isic2018", seed=42, fractions=(0.8, 0.1, 0.1))
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
