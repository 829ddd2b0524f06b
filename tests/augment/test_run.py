"""The run: a tiny model driven all the way to shards that verify, twice to the same bytes."""

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from augment import run as run_module
from augment.autoencoder import start_as_area_average
from augment.build import build_pipeline
from augment.model import save_pipeline
from augment.plan import Planned
from augment.run import Job, augment, pack, prepare
from manifests.errors import DidgenError
from manifests.recipe import AugmentRecipe, Build
from manifests.records import SourceManifest
from manifests.shards import Failure, Sample, iterate, shard_path
from manifests.verify import verify


@pytest.fixture(scope="module")
def model(shape: Build, manifest: SourceManifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved tiny model whose decoder shows the latents, with its captions beside it."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    pipeline = build_pipeline(shape, [r.caption or "" for r in manifest.records], 256, seed=0)
    start_as_area_average(pipeline.vae, torch.rand(4, 3, 32, 32))
    save_pipeline(pipeline, folder, ((r.label, r.caption) for r in manifest.records))
    return folder


def recipe(model: Path, **fields: object) -> AugmentRecipe:
    """A small recipe: two classes of two images and three pairs, in shards of two."""
    given = {
        "model": str(model),
        "images": {"per_class": {"MEL": 2, "BCC": 2}},
        "pairs": {"count": 3, "layouts": "drawn"},
        "sampling": {"steps": 2, "batch_size": 2},
        "shard_size": 2,
    }
    return AugmentRecipe.model_validate(given | fields)


@pytest.fixture(scope="module")
def job(model: Path) -> Job:
    return prepare(recipe(model))


@pytest.fixture(scope="module")
def finished(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was carried out without a break."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    augment(job, out)
    return out


def tars(out: Path) -> dict[str, bytes]:
    """The bytes of every shard of a run."""
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*.tar"))}


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


def test_its_card_is_remade_like_a_shard(job: Job, tmp_path: Path, finished: Path) -> None:
    out = shutil.copytree(finished, tmp_path / "run")
    card = (out / "README.md").read_bytes()
    # The tiny model has no card that names a licence.
    assert b"license: other" in card
    (out / "README.md").unlink()
    (out / "croissant.json").write_text("{}")
    augment(job, out)
    assert (out / "README.md").read_bytes() == card
    assert {verdict.status for verdict in verify(out)} == {"ok"}


def test_samples_hold_what_the_plan_says(finished: Path, job: Job) -> None:
    planned = {p.key: p for shards in job.plan.values() for shard in shards for p in shard}
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


def test_contact_sheets_are_pictures(finished: Path) -> None:
    for name in ("images.png", "pairs.png"):
        with Image.open(finished / "sheets" / name) as sheet:
            assert min(sheet.size) > 256


def test_the_same_recipe_gives_the_same_tar_bytes(
    finished: Path, model: Path, tmp_path: Path
) -> None:
    augment(prepare(recipe(model)), tmp_path / "again")
    assert tars(tmp_path / "again") == tars(finished)


def test_another_batch_size_gives_the_same_plan_and_images(
    finished: Path, job: Job, model: Path, tmp_path: Path
) -> None:
    singly = prepare(recipe(model, sampling={"steps": 2, "batch_size": 1}))
    assert singly.plan == job.plan
    assert singly.fingerprint == job.fingerprint
    augment(singly, tmp_path / "singly")
    for config in ("images", "pairs"):
        pairs = zip(
            iterate(finished, config),  # type: ignore[arg-type]
            iterate(tmp_path / "singly", config),  # type: ignore[arg-type]
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


def test_a_second_run_does_no_work(
    finished: Path, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*.tar")}
    monkeypatch.setattr(run_module, "_make", lambda *_: pytest.fail("a whole shard was remade"))
    augment(job, finished)
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*.tar")} == before


def test_a_broken_run_goes_on_to_the_same_bytes(
    finished: Path, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, made = tmp_path / "broken", run_module._make

    def breaking(*arguments: object) -> Iterator[Sample | Failure]:
        if shard_path(out, "images", 0).exists():
            raise RuntimeError("the power failed")
        yield from made(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(run_module, "_make", breaking)
    with pytest.raises(RuntimeError, match="the power failed"):
        augment(job, out)
    assert list(tars(out)) == ["images/images-000000.tar"]
    assert not (out / "manifest.json").exists()
    monkeypatch.setattr(run_module, "_make", made)
    augment(job, out)
    assert tars(out) == tars(finished)
    assert {verdict.status for verdict in verify(out)} == {"ok"}


def test_a_flipped_byte_is_found_and_mended(finished: Path, job: Job) -> None:
    tar = shard_path(finished, "pairs", 1)
    whole = tar.read_bytes()
    tar.write_bytes(whole[:700] + bytes([whole[700] ^ 1]) + whole[701:])
    assert {v.status for v in verify(finished) if v.status != "ok"} == {"mismatch"}
    augment(job, finished)
    assert tar.read_bytes() == whole
    assert {verdict.status for verdict in verify(finished)} == {"ok"}


def test_a_run_directory_of_another_recipe_is_refused(finished: Path, model: Path) -> None:
    other = prepare(recipe(model, seed=7))
    with pytest.raises(DidgenError, match=r"differs in seed \(42, now 7\)"):
        augment(other, finished)


def test_a_recipe_that_asks_for_nothing_is_refused(model: Path) -> None:
    nothing = recipe(
        model, images={"per_class": {"MEL": 0}}, pairs={"count": 0, "layouts": "drawn"}
    )
    with pytest.raises(DidgenError, match="asks for no sample at all"):
        prepare(nothing)


def test_a_config_without_samples_is_left_out(model: Path, tmp_path: Path) -> None:
    only = recipe(model, images={"per_class": {"MEL": 1}}, pairs={"count": 0, "layouts": "drawn"})
    assert list(augment(prepare(only), tmp_path / "run").configs) == ["images"]


def test_another_model_in_the_same_folder_is_another_run(
    finished: Path, model: Path, tmp_path: Path
) -> None:
    scheduler = model / "scheduler" / "scheduler_config.json"
    before = scheduler.read_text()
    try:
        scheduler.write_text(before + " ")
        with pytest.raises(DidgenError, match="the same recipe over other inputs"):
            augment(prepare(recipe(model)), finished)
    finally:
        scheduler.write_text(before)


def test_layouts_of_a_source_guide_pairs(model: Path, source: Path, tmp_path: Path) -> None:
    asked = recipe(model, source=str(source), images=None, pairs={"count": 2, "exclude": []})
    manifest = augment(prepare(asked), tmp_path / "run")
    assert manifest.totals.samples == 2
    records = [json.loads(s.members["json"]) for s in iterate(tmp_path / "run", "pairs")]
    assert all(record["layout"].startswith("drawn_") for record in records)


PLANNED = Planned("pairs", "pair-000000", "MEL", 0, 1, "a prompt", "drawn")
SPOTTED = np.kron(np.eye(8), np.ones((8, 8)))[..., None].repeat(3, -1).astype(np.uint8) * 255


@pytest.mark.parametrize(
    ("image", "mask", "reason"),
    [
        (np.full((64, 64, 3), 90, np.uint8), np.eye(64) > 0, "near-blank image"),
        (SPOTTED, np.zeros((64, 64), bool), "the annotated mask covers 0% of the image"),
        (SPOTTED, np.ones((64, 64), bool), "the annotated mask covers 100% of the image"),
    ],
)
def test_an_unusable_sample_is_a_failure_with_a_reason(
    job: Job, image: np.ndarray, mask: np.ndarray, reason: str
) -> None:
    result = pack(PLANNED, image, mask, np.eye(64) > 0, job)
    assert isinstance(result, Failure)
    assert reason in result.reason


def test_a_model_without_p_tokens_is_refused(model: Path, tmp_path: Path, shape: Build) -> None:
    from transformers import CLIPTokenizer

    plain = CLIPTokenizer.from_pretrained(model / "tokenizer")
    copy = tmp_path / "plain"
    copy.mkdir()
    for part in model.iterdir():
        if part.name != "tokenizer":
            (copy / part.name).symlink_to(part)
    kept = {t: i for t, i in plain.get_vocab().items() if not t.startswith(("<lesion", "<skin"))}
    CLIPTokenizer(vocab=kept, merges=[], model_max_length=77).save_pretrained(copy / "tokenizer")
    with pytest.raises(DidgenError, match="does not know <lesion> and <skin>"):
        prepare(recipe(copy))
