"""Tests of the run: a tiny model driven to shards that verify, twice to the same bytes."""

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from didgen.augment.generation import worker as worker_module
from didgen.augment.generation.part import Part
from didgen.augment.generation.prepare import GenerationJob, check_source, prepare_generation
from didgen.augment.generation.run import augment
from didgen.manifests.errors import DidgenError
from didgen.manifests.provenance.models import unlisted
from didgen.manifests.provenance.trained_on import TRAINED_ON_NAME, TrainedOn
from didgen.manifests.runs.training_samples import check_run
from didgen.manifests.runs.verify import verify
from didgen.manifests.shards.index import read_manifest, read_run
from didgen.manifests.shards.shard import Failure, Sample, iterate
from didgen.manifests.sources.records import SourceManifest
from didgen.manifests.views.attention_maps import FIELD, AttentionHistory
from tests.fixtures.recipes import QUICK, tiny_recipe
from tests.fixtures.runs import contents, flip, lay, tars, truncate


def test_a_run_is_whole_and_verifies(finished: Path) -> None:
    assert {verdict.status for verdict in verify(finished)} == {"ok"}
    assert sorted(tars(finished)) == [
        "images/images-000000.tar",
        "images/images-000001.tar",
        "pairs/pairs-000000.tar",
        "pairs/pairs-000001.tar",
    ]
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["totals"]["samples"] == 7
    assert manifest["failures"] == []
    assert "because" in manifest["decisions"]["device"]


def test_its_card_is_remade_like_a_shard(
    job: GenerationJob, tmp_path: Path, finished: Path
) -> None:
    out = shutil.copytree(finished, tmp_path / "run")
    card = (out / "README.md").read_bytes()
    # The tiny model has no card that names a licence.
    assert b"license: other" in card
    (out / "README.md").unlink()
    (out / "croissant.json").write_text("{}")
    augment(job, out)
    assert (out / "README.md").read_bytes() == card
    assert {verdict.status for verdict in verify(out)} == {"ok"}


def test_samples_hold_what_the_plan_says(finished: Path, job: GenerationJob) -> None:
    planned = {p.key: p for plan in job.plan.values() for p in plan}
    for config, members in (
        ("images", {"jpg", "cls", "json"}),
        ("pairs", {"jpg", "mask.png", "json"}),
    ):
        for sample in iterate(finished, config):  # type: ignore[arg-type]
            assert set(sample.members) == members
            record = json.loads(sample.members["json"])
            of = planned[sample.key]
            assert (record["prompt"], record["seed"], record["class"]) == (
                of.prompt,
                of.seed,
                of.label,
            )
            assert job.classes[record["label"]] == of.label
            if config == "pairs":
                mask = np.asarray(Image.open(io.BytesIO(sample.members["mask.png"]))) > 0
                layout = job.layouts.mask(of.layout, of.seed)
                iou = (mask & layout).sum() / (mask | layout).sum()
                assert record["scores"]["layout_iou"] == pytest.approx(iou, abs=1e-4)
                assert record["scores"]["mask_area"] == pytest.approx(mask.mean(), abs=1e-4)


def test_the_same_recipe_gives_the_same_tar_bytes(
    finished: Path, model: Path, tmp_path: Path
) -> None:
    augment(prepare_generation(tiny_recipe(model)), tmp_path / "again")
    assert tars(tmp_path / "again") == tars(finished)


def test_another_batch_size_gives_the_same_plan_and_images(
    finished: Path, job: GenerationJob, model: Path, tmp_path: Path
) -> None:
    singly = prepare_generation(tiny_recipe(model, sampling=QUICK | {"batch_size": 1}))
    for config, plan in job.plan.items():
        assert list(singly.plan[config]) == list(plan)
    assert singly.fingerprint == job.fingerprint
    augment(singly, tmp_path / "singly")
    for config in ("images", "pairs"):
        pairs = zip(
            iterate(finished, config),
            iterate(tmp_path / "singly", config),
            strict=True,
        )
        for one, other in pairs:
            images = [
                np.asarray(Image.open(io.BytesIO(sample.members["jpg"]))).astype(int)
                for sample in (one, other)
            ]
            # Sums differ in their order by batch, and JPEG may make a step of such a difference.
            change = np.abs(images[0] - images[1])
            assert change.max() <= 8
            assert change.mean() <= 0.1


def scribble(path: Path) -> None:
    path.write_text("{")


@pytest.mark.parametrize(
    ("name", "damage", "status", "remade"),
    [
        ("pairs/pairs-000001.tar", truncate, "torn", ["pairs/pairs-000001.tar"]),
        ("pairs/pairs-000001.tar", flip, "mismatch", ["pairs/pairs-000001.tar"]),
        ("pairs/pairs-000001.tar", Path.unlink, "missing", ["pairs/pairs-000001.tar"]),
        ("images/images-000000.json", Path.unlink, "missing", ["images/images-000000.tar"]),
        ("images/images-000000.json", scribble, "mismatch", ["images/images-000000.tar"]),
        ("images/_info.json", Path.unlink, "missing", []),
        ("images/_info.json", scribble, "mismatch", []),
        ("run.json", Path.unlink, "missing", []),
        ("run.json", scribble, "mismatch", []),
        ("manifest.json", Path.unlink, "missing", []),
        ("manifest.json", scribble, "mismatch", []),
        ("images/images-000007.tar", lay, "extra", []),
        ("images/notes.txt", lay, "extra", []),
        ("pairs/pairs-000000.tar.host-1-ab.tmp", lay, "torn", []),
        ("manifest.json.host-1-ab.tmp", lay, "torn", []),
    ],
)
def test_damage_is_named_and_only_what_is_broken_is_made_again(
    finished: Path,
    job: GenerationJob,
    tmp_path: Path,
    name: str,
    damage: Callable[[Path], object],
    status: str,
    remade: list[str],
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    before, made = tars(out), {path: path.stat().st_mtime_ns for path in out.rglob("*.tar")}
    index = (out / "manifest.json").read_bytes()
    damage(out / name)
    faults = {verdict.file: verdict.status for verdict in verify(out) if verdict.status != "ok"}
    assert faults == {name: status}
    augment(job, out)
    assert {verdict.status for verdict in verify(out)} == {"ok"}
    assert tars(out) == before
    assert (out / "manifest.json").read_bytes() == index
    touched = [path for path, time in made.items() if path.stat().st_mtime_ns != time]
    assert [str(path.relative_to(out)) for path in touched] == remade
    left = {str(path.relative_to(out)) for path in out.rglob("*")}
    own = {str(path.relative_to(finished)) for path in finished.rglob("*")}
    kept = f"set-aside/{name}"
    assert left - own == ({"set-aside", "set-aside/images", kept} if status == "extra" else set())


@pytest.mark.parametrize(
    ("name", "was", "now", "remade"),
    [
        ("images/images-000000.json", '"label": "MEL"', '"label": "BCC"', 1),
        ("pairs/pairs-000001.json", '"redraws": 0', '"redraws": 1', 1),
        ("manifest.json", '"BCC"', '"MEL", "BCC"', 0),
    ],
)
def test_what_does_not_say_what_the_samples_say_is_mended(
    finished: Path, job: GenerationJob, tmp_path: Path, name: str, was: str, now: str, remade: int
) -> None:
    out = shutil.copytree(finished, tmp_path / "run")
    made = {path: path.stat().st_mtime_ns for path in out.rglob("*.tar")}
    text = (out / name).read_text()
    assert was in text
    (out / name).write_text(text.replace(was, now, 1))
    faults = {verdict.file for verdict in verify(out) if verdict.status != "ok"}
    assert faults and all(file.endswith(".tar") for file in faults)
    augment(job, out)
    assert {verdict.status for verdict in verify(out)} == {"ok"}
    assert contents(out) == contents(finished)
    assert sum(path.stat().st_mtime_ns != time for path, time in made.items()) == remade


def test_parts_in_any_order_are_one_run(finished: Path, job: GenerationJob, tmp_path: Path) -> None:
    # The model lies where it does from the other run: its path is recorded from here.
    out = tmp_path / "run"
    for part in ("2/3", "3/3"):
        assert augment(job, out, Part.parse(part)) is None
        assert not (out / "manifest.json").exists()
    manifest = augment(job, out, Part.parse("1/3"))
    assert manifest is not None and manifest.totals.shards == 4
    assert tars(out) == tars(finished)
    for name in ("run.json", "manifest.json", "sheets/pairs.png"):
        assert (out / name).read_bytes() == (finished / name).read_bytes()


def test_a_part_without_shards_and_the_rest_of_a_run(
    finished: Path, job: GenerationJob, tmp_path: Path
) -> None:
    assert augment(job, tmp_path, Part.parse("9/9")) is None
    assert tars(tmp_path) == {}
    assert augment(job, tmp_path) is not None
    assert tars(tmp_path) == tars(finished)


def test_the_record_says_what_is_planned_before_the_first_shard(
    job: GenerationJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> Iterator[Sample | Failure]:
        assert read_run(tmp_path).planned == {"images": 4, "pairs": 3}
        raise RuntimeError("the power failed")

    monkeypatch.setattr(worker_module, "make", stop)
    with pytest.raises(RuntimeError, match="the power failed"):
        augment(job, tmp_path)
    faults = {v.file: v.status for v in verify(tmp_path) if v.status != "ok"}
    assert faults == {"manifest.json": "missing"}
    assert tars(tmp_path) == {}


@pytest.mark.parametrize("name", ["images/photo.jpg", "README.md", "croissant.json"])
def test_a_folder_of_other_files_is_refused(job: GenerationJob, tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    lay(tmp_path / name)
    with pytest.raises(DidgenError, match=f"{name} lies where a run would put its files"):
        augment(job, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name.split("/")[0]]


def test_redraws_and_reasons_are_counted(model: Path, tmp_path: Path) -> None:
    hopeless = prepare_generation(
        tiny_recipe(model, pairs=None, gates={"contrast": 255, "redraws": 2})
    )
    manifest = augment(hopeless, tmp_path)
    assert manifest is not None
    assert (manifest.totals.samples, manifest.totals.failures, manifest.totals.redraws) == (0, 4, 8)
    assert all("drawn 3 times, at last near-blank" in f.reason for f in manifest.failures)
    assert {verdict.status for verdict in verify(tmp_path)} == {"ok"}


def test_a_run_directory_of_another_recipe_is_refused(finished: Path, model: Path) -> None:
    other = prepare_generation(tiny_recipe(model, seed=7))
    with pytest.raises(DidgenError, match=r"differs in seed \(42, now 7\)"):
        augment(other, finished)


def test_a_config_without_samples_is_left_out(model: Path, tmp_path: Path) -> None:
    only = tiny_recipe(
        model, images={"per_class": {"MEL": 1}}, pairs={"count": 0, "layouts": "drawn"}
    )
    manifest = augment(prepare_generation(only), tmp_path / "run")
    assert manifest is not None and list(manifest.configs) == ["images"]


def test_another_model_in_the_same_folder_is_another_run(
    finished: Path, model: Path, tmp_path: Path
) -> None:
    scheduler = model / "scheduler" / "scheduler_config.json"
    before = scheduler.read_text()
    try:
        scheduler.write_text(before + " ")
        with pytest.raises(DidgenError, match="the same recipe over other inputs"):
            augment(prepare_generation(tiny_recipe(model)), finished)
    finally:
        scheduler.write_text(before)


def test_layouts_of_a_source_guide_pairs(model: Path, source: Path, tmp_path: Path) -> None:
    asked = tiny_recipe(model, source=str(source), images=None, pairs={"count": 2, "exclude": []})
    manifest = augment(prepare_generation(asked), tmp_path / "run")
    assert manifest is not None and manifest.totals.samples == 2
    records = [json.loads(s.members["json"]) for s in iterate(tmp_path / "run", "pairs")]
    assert all(record["layout"].startswith("drawn_") for record in records)


def test_a_run_tells_what_its_model_was_trained_on(
    model: Path, manifest: SourceManifest, source: Path, finished: Path, tmp_path: Path
) -> None:
    copy, out = shutil.copytree(model, tmp_path / "model"), tmp_path / "run"
    asked = tiny_recipe(copy, source=str(source), images=None, pairs={"count": 2, "exclude": []})
    augment(prepare_generation(asked), out)
    assert not (out / TRAINED_ON_NAME).exists()
    assert read_manifest(out).decisions["contamination"].startswith("unknown, because")
    made = tars(out)
    # A list that comes later decides no sample, and goes to the run where it is carried out again.
    seen = TrainedOn.of(manifest.select(split="train"))
    (copy / TRAINED_ON_NAME).write_bytes(seen.text())
    augment(prepare_generation(asked), out)
    assert (tars(out), (out / TRAINED_ON_NAME).read_bytes()) == (made, seen.text())
    assert {verdict.status for verdict in verify(out)} == {"ok"}
    (copy / TRAINED_ON_NAME).write_bytes(TrainedOn.of(manifest.records).text())
    with pytest.raises(DidgenError, match="holds out for val, one of 3 such of 3 images"):
        augment(prepare_generation(asked), tmp_path / "other")
    assert not (tmp_path / "other").exists()
    with pytest.raises(DidgenError, match="holds out for val"):
        check_source(prepare_generation(asked), tmp_path / "other")
    # A dry run has no folder, or one of another run.
    for place in (None, finished):
        with pytest.raises(DidgenError, match="holds out for val"):
            check_source(prepare_generation(asked), place)
    # A run that is there is mended all the same; who would test with it is told.
    augment(prepare_generation(asked), out)
    assert {verdict.status for verdict in verify(out)} == {"ok"}
    whole = SourceManifest.read(source)
    with pytest.raises(DidgenError, match=f"The model of {out} was trained on"):
        check_run(out, read_manifest(out), source, whole)


def test_the_first_pairs_keep_their_attention(finished: Path, job: GenerationJob) -> None:
    found = {
        sample.key: AttentionHistory.of_row(sample.row, sample.key)
        for sample in iterate(finished, "pairs")
    }
    # Three pairs in two shards, of the four that are watched.
    assert len(found) == 3 and None not in found.values()
    for history in found.values():
        assert history is not None
        assert (history.steps, history.of) == ((1, 2), 2)
        assert history.maps.shape == (2, 16, 16) and history.propagated.shape == (32, 32)
    for sample in iterate(finished, "images"):
        assert FIELD not in sample.row
    with Image.open(finished / "sheets" / "attention.png") as sheet:
        assert sheet.format == "PNG" and sheet.width > 3 * 256


def test_a_model_without_a_list_is_told_whoever_makes_the_shards(
    job: GenerationJob,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = unlisted(job.recipe.model, job.trained_on)["contamination"]
    assert "no trained_on.jsonl was found" in told
    made: list[Path] = []
    monkeypatch.setattr(
        "didgen.augment.generation.run.make_on_cluster",
        lambda job, out, todo: made.append(out),
    )
    assert augment(job, tmp_path / "run", engine="ray") is None
    assert made == [tmp_path / "run"]
    assert "no trained_on.jsonl was found" in " ".join(capsys.readouterr().err.split())
