"""Tests of finetuning: whole tiny runs from a source to a model, also killed and shared."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml
from accelerate.state import AcceleratorState
from diffusers import StableDiffusionPipeline
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from didgen.augment.device import choose_device
from didgen.augment.diffusion.model_folder import load_pipeline
from didgen.augment.diffusion.small_model import build_pipeline
from didgen.augment.finetuning.checkpoint import checkpoints
from didgen.augment.finetuning.diffusion_run import claim
from didgen.augment.finetuning.finetune import finetune
from didgen.augment.finetuning.latent_cache import Table
from didgen.augment.finetuning.lora import merge_adapters
from didgen.augment.finetuning.objective import RegionLoss
from didgen.augment.generation.prepare import prepare_generation
from didgen.augment.generation.run import augment
from didgen.augment.prompts.prompt import LESION, SKIN, compose
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json, read_json_lines
from didgen.manifests.locks import LOCKS, claimed
from didgen.manifests.provenance.trained_on import TRAINED_ON_NAME, TrainedOn
from didgen.manifests.recipes.finetune import FinetuneRecipe, Lora
from didgen.manifests.recipes.small_model import Build, Perceptual
from didgen.manifests.runs.verify import verify
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.finetuned import quick
from tests.fixtures.places import REPOSITORY
from tests.fixtures.recipes import QUICK, tiny_recipe
from tests.fixtures.runs import tars
from tests.fixtures.tiny_xl import XL_MAPS, xl_recipe


def embeddings(pipeline: StableDiffusionPipeline) -> Tensor:
    """The token embeddings of a model."""
    return pipeline.text_encoder.get_input_embeddings().weight.detach()


def initial(recipe: FinetuneRecipe, manifest: SourceManifest) -> StableDiffusionPipeline:
    """The model of a recipe before training."""
    assert recipe.build is not None
    texts = [compose(record.caption) for record in manifest.select(split="train")]
    return build_pipeline(recipe.build, texts, recipe.image_size, recipe.seed)


def test_a_run_ends_in_a_model_that_stable_diffusion_loads(
    finetuned: Path, manifest: SourceManifest
) -> None:
    plain = StableDiffusionPipeline.from_pretrained(finetuned / "model", safety_checker=None)
    assert plain.unet.config.sample_size == 32
    rows = read_json_lines(finetuned / "model" / "captions.jsonl")
    assert rows == [
        {"label": r.label, "caption": r.caption} for r in manifest.select(split="train")
    ]
    with Image.open(finetuned / "sheets" / "step-0000004.png") as sheet:
        assert sheet.width > 4 * 256
    assert not list(finetuned.rglob("*.tmp"))
    assert list(finetuned.glob("logs/**/events*"))


def test_its_card_has_the_licence_of_its_training_images(finetuned: Path) -> None:
    card = ModelCard.load(finetuned / "model" / "README.md")
    assert card.data.license == "cc0-1.0"
    assert card.data.library_name == "diffusers"
    assert "data: drawn, 9 real images" in card.text
    assert "kind: finetune" in card.text


@pytest.mark.slow
def test_its_list_of_training_images_goes_on_with_it(
    finetuned: Path, manifest: SourceManifest, tmp_path: Path
) -> None:
    seen = TrainedOn.of(manifest.select(split="train"))
    assert (finetuned / "model" / TRAINED_ON_NAME).read_bytes() == seen.text()
    # A source of the same pixels under other names, and of one image more to train on.
    *others, moved = manifest.records
    records = (*others, moved.model_copy(update={"split": "train"}))
    SourceManifest(manifest.header, records).write(tmp_path / "source")
    recipe = quick(tmp_path / "source", model=str(finetuned / "model"), steps=1, ema_decay=None)
    model = finetune(recipe, tmp_path / "run")
    assert TrainedOn.read(model / TRAINED_ON_NAME) == seen | TrainedOn.of([moved])
    assert "contamination" not in read_json(tmp_path / "run" / "decisions.json")
    (finetuned / "model" / TRAINED_ON_NAME).rename(tmp_path / "list")
    try:
        finetune(recipe, tmp_path / "unlisted")
    finally:
        (tmp_path / "list").rename(finetuned / "model" / TRAINED_ON_NAME)
    told = read_json(tmp_path / "unlisted" / "decisions.json")["contamination"]
    assert told.startswith("unknown, because")


def test_a_source_that_holds_out_what_the_model_was_trained_on_is_refused(
    finetuned: Path, manifest: SourceManifest, tmp_path: Path
) -> None:
    first, *others = manifest.records
    records = (first.model_copy(update={"split": "test", "key": "renamed"}), *others)
    SourceManifest(manifest.header, records).write(tmp_path / "source")
    recipe = quick(tmp_path / "source", model=str(finetuned / "model"))
    with pytest.raises(DidgenError, match="was trained on renamed or on its lesion"):
        finetune(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_p_tokens_stay_fixed_while_other_words_learn(
    finetuned: Path, quick_recipe: FinetuneRecipe, manifest: SourceManifest
) -> None:
    before, after = initial(quick_recipe, manifest), load_pipeline(str(finetuned / "model"))
    tokenizer = after.tokenizer
    assert tokenizer.get_vocab() == before.tokenizer.get_vocab()
    fixed = tokenizer.convert_tokens_to_ids([LESION, SKIN])
    assert torch.equal(embeddings(before)[fixed], embeddings(after)[fixed])
    words = tokenizer("an image of on", add_special_tokens=False).input_ids
    moved = (embeddings(before)[words] - embeddings(after)[words]).abs().amax(1)
    assert (moved > 1e-5).all()
    changed = [
        name
        for name, value in before.unet.state_dict().items()
        if not torch.equal(value, after.unet.state_dict()[name])
    ]
    assert len(changed) > 0.9 * len(before.unet.state_dict())


def test_run_again_there_is_nothing_left_to_do(
    finetuned: Path, quick_recipe: FinetuneRecipe
) -> None:
    weights = {p: p.read_bytes() for p in (finetuned / "model").rglob("*.safetensors")}
    kept = [
        *finetuned.glob("checkpoints/*/*/*"),
        *finetuned.glob("sheets/*"),
        finetuned / "autoencoder.safetensors",
    ]
    times = {path: path.stat().st_mtime_ns for path in kept}
    assert len(times) >= 7
    finetune(quick_recipe, finetuned)
    assert {path: path.stat().st_mtime_ns for path in kept} == times
    assert {p: p.read_bytes() for p in (finetuned / "model").rglob("*.safetensors")} == weights


def test_a_folder_is_trained_in_by_one_process_at_a_time(
    finetuned: Path, quick_recipe: FinetuneRecipe
) -> None:
    with (
        claimed(finetuned, "finetune"),
        pytest.raises(DidgenError, match="Another process is training"),
    ):
        finetune(quick_recipe, finetuned)
    assert not (finetuned / LOCKS).exists()


def test_another_recipe_in_the_same_folder_is_refused(
    finetuned: Path, quick_recipe: FinetuneRecipe
) -> None:
    other = quick_recipe.model_copy(update={"learning_rate": 2e-3})
    with pytest.raises(DidgenError, match=r"differs in learning_rate \(0.001, now 0.002\)"):
        finetune(other, finetuned)


def test_a_loaded_model_trains_its_unet_alone(
    finetuned: Path, manifest: SourceManifest, tmp_path: Path
) -> None:
    train = SourceManifest(manifest.header, tuple(manifest.select(split="train")))
    train.write(tmp_path / "source")
    recipe = quick(tmp_path / "source", model=str(finetuned / "model"), steps=2, ema_decay=None)
    before = load_pipeline(str(finetuned / "model"))
    after = load_pipeline(str(finetune(recipe, tmp_path / "run")))
    for part in ("vae", "text_encoder"):
        old, new = (getattr(model, part).state_dict() for model in (before, after))
        assert all(torch.equal(old[name], new[name]) for name in old), part
    assert before.vae.config.scaling_factor == after.vae.config.scaling_factor
    old, new = before.unet.state_dict(), after.unet.state_dict()
    assert sum(not torch.equal(old[name], new[name]) for name in old) > 0.9 * len(old)
    assert not (tmp_path / "run" / "autoencoder.safetensors").exists()
    # Without a validation image there is nothing to draw a sheet of.
    assert not (tmp_path / "run" / "sheets").exists()


def test_a_model_with_its_shape_goes_on_in_all_parts(
    finetuned: Path, source: Path, shape: Build, manifest: SourceManifest, tmp_path: Path
) -> None:
    model = str(finetuned / "model")
    autoencoder = shape.autoencoder.model_copy(update={"learning_rate": 1e-6})
    build = shape.model_copy(update={"autoencoder": autoencoder})
    gentle = {"learning_rate": 1e-6, "steps": 2, "ema_decay": None}
    recipe = quick(source, model=model, build=build, **gentle)
    before = load_pipeline(model)
    after = load_pipeline(str(finetune(recipe, tmp_path / "run")))
    assert after.tokenizer.get_vocab() == before.tokenizer.get_vocab()
    for part in ("vae", "text_encoder", "unet"):
        old, new = (getattr(one, part).state_dict() for one in (before, after))
        moved = [(old[name] - new[name]).abs().max() for name in old]
        # On from the model's weights, not from those of the seed or of the area average.
        assert 0 < max(moved) < 1e-4, part
    other = build.model_copy(update={"head_channels": 16})
    with pytest.raises(
        DidgenError,
        match=r"in `build`: its unet\.attention_head_dim is \[2, 4, 4\] and not \[1,",
    ):
        finetune(quick(source, model=model, build=other, **gentle), tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_half_a_size_comes_first(
    finetuned: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides: list[int] = []
    forward = RegionLoss.forward

    def seen(module: RegionLoss, batch: dict[str, Any]) -> dict[str, Tensor]:
        sides.append(batch["noise"].shape[-1])
        return forward(module, batch)

    monkeypatch.setattr(RegionLoss, "forward", seen)
    halves = {"half_size_until": 2, "cache": False, "checkpoint_every": 2, "leak_weight": 0.1}
    recipe = quick(source, model=str(finetuned / "model"), **halves)
    after = load_pipeline(str(finetune(recipe, tmp_path / "run")))
    assert sides == [16, 16, 32, 32]
    assert after.unet.config.sample_size == 32
    early, late = sorted(tmp_path.glob("run/sheets/*.png"))
    with Image.open(early) as small, Image.open(late) as large:
        assert small.width < 0.6 * large.width
    # On from where the size changes.
    weights = (tmp_path / "run" / "model" / "unet" / SAFETENSORS_WEIGHTS_NAME).read_bytes()
    shutil.rmtree(checkpoints(tmp_path / "run" / "checkpoints" / "unet")[-1])
    sides.clear()
    finetune(recipe, tmp_path / "run")
    assert sides == [32, 32]
    assert (tmp_path / "run" / "model" / "unet" / SAFETENSORS_WEIGHTS_NAME).read_bytes() == weights


@pytest.mark.parametrize("able", [True, False])
def test_a_cpu_trains_in_what_it_is_fast_in(
    finetuned: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, able: bool
) -> None:
    if choose_device().name != "cpu":
        pytest.skip("a GPU is taken before the CPU")
    monkeypatch.setattr("didgen.augment.device.bf16_on_cpu", lambda: able)
    recipe = quick(source, model=str(finetuned / "model"), mixed_precision=None, steps=1)
    model = finetune(recipe, tmp_path / "run")
    told = read_json(tmp_path / "run" / "decisions.json")["device"]
    assert told.startswith("cpu, bfloat16" if able else "cpu, float32")
    assert ("with instructions for bf16" in told) == able
    precision = "bf16" if able else "'no'"
    assert f"mixed_precision: {precision}\n" in ModelCard.load(model / "README.md").text


@pytest.mark.slow
def test_batches_are_added_up_and_the_record_says_so(
    source: Path, finetuned: Path, tmp_path: Path
) -> None:
    recipe = quick(
        source, model=str(finetuned / "model"), steps=2, batch_size=1, gradient_accumulation=3
    )
    model = finetune(recipe, tmp_path / "run")
    told = read_json(tmp_path / "run" / "decisions.json")["batch"]
    assert told == "3 a step, because batches are of 1 and 3 batches are added up"
    assert read_json(tmp_path / "run" / "run.json")["recipe"]["gradient_accumulation"] == 3
    weights = load_pipeline(str(model)).unet.state_dict()
    before = load_pipeline(str(finetuned / "model")).unet.state_dict()
    assert any((weights[name] != before[name]).any() for name in weights)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_gpu_trains_in_every_format(
    source: Path, finetuned: Path, tmp_path: Path, precision: str, compiled: bool
) -> None:
    fields = {"mixed_precision": precision, "compile": compiled, "gradient_accumulation": 2}
    recipe = quick(source, model=str(finetuned / "model"), **fields)
    model = finetune(recipe, tmp_path / "run")
    weights = load_pipeline(str(model)).unet.state_dict()
    before = load_pipeline(str(finetuned / "model")).unet.state_dict()
    assert all(value.isfinite().all() for value in weights.values())
    assert any((weights[name] != before[name]).any() for name in weights)


@pytest.mark.slow
def test_a_thinned_checkpoint_is_gone_on_from(
    quick_recipe: FinetuneRecipe, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    steady = quick_recipe.model_copy(update={"steps": 2, "warmup_steps": 0})
    finetune(steady, out)
    (checkpoint,) = checkpoints(out / "checkpoints" / "unet")
    average = load_file(checkpoint / "average.safetensors")
    for path in checkpoint.iterdir():
        path.unlink()
    save_file({name: v.half() for name, v in average.items()}, checkpoint / "weights.safetensors")
    longer = steady.model_copy(update={"steps": 3})
    finetune(longer, out)
    said = " ".join(capfd.readouterr().err.split())
    assert "moments begin anew, because it holds none" in said
    before, after = (load_file(p / "weights.safetensors") for p in checkpoints(checkpoint.parent))
    # One step of AdamW without moments moves each weight by the learning rate at most, and decay.
    moved = [(after[name] - value).abs().max().item() for name, value in before.items()]
    assert 0 < max(moved) < 1.2 * quick_recipe.learning_rate
    restored = (out / "autoencoder.safetensors").read_bytes()
    (out / "autoencoder.safetensors").unlink()
    finetune(longer, out)
    assert (out / "autoencoder.safetensors").read_bytes() == restored
    (out / "autoencoder.safetensors").unlink()
    shutil.rmtree(out / "checkpoints" / "autoencoder")
    with pytest.raises(DidgenError, match=r"autoencoder.safetensors is gone, and the UNet in"):
        finetune(longer, out)


def changed_source(manifest: SourceManifest, folder: Path, **changes: None) -> Path:
    """A copy of the tiny source's manifest with fields of all records changed."""
    records = tuple(record.model_copy(update=changes) for record in manifest.records)
    SourceManifest(manifest.header, records).write(folder)
    return folder


def test_sources_without_masks_or_captions_are_refused(
    manifest: SourceManifest, shape: Build, tmp_path: Path
) -> None:
    for field, sentence in {
        "mask": "no training image with a mask; import masks too, or .*didgen annotate",
        "caption": "has no captions; run `didgen caption` on it first",
    }.items():
        source = changed_source(manifest, tmp_path / field, **{field: None})
        with pytest.raises(DidgenError, match=sentence):
            finetune(quick(source, build=shape), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def adapted(finetuned: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a LoRA run in bf16 with everything that saves memory."""
    AcceleratorState._reset_state(reset_partial_state=True)
    out = tmp_path_factory.mktemp("lora") / "run"
    recipe = quick(
        source,
        model=str(finetuned / "model"),
        lora={"rank": 2, "alpha": 4},
        learning_rate=1e-2,
        gradient_checkpointing=True,
        mixed_precision="bf16",
    )
    finetune(recipe, out)
    return out


def test_a_lora_run_ends_in_adapters_and_a_merged_model(finetuned: Path, adapted: Path) -> None:
    before, merged = load_pipeline(str(finetuned / "model")), load_pipeline(str(adapted / "model"))
    old, new = before.unet.state_dict(), merged.unet.state_dict()
    ends = tuple(f"{layer}.weight" for layer in Lora().layers)
    moved = {name for name in old if not torch.equal(old[name], new[name])}
    # The adapters' base was rounded to bf16 in training; what is merged is the model's own.
    assert moved == {name for name in old if name.endswith(ends)}
    merge_adapters(before, adapted / "lora")
    for name, value in before.unet.state_dict().items():
        torch.testing.assert_close(new[name], value)
    (checkpoint,) = adapted.glob("checkpoints/unet/*")
    weights = load_file(checkpoint / "weights.safetensors")
    assert all("lora_" in name for name in weights)
    assert weights.keys() == load_file(checkpoint / "average.safetensors").keys()
    with Image.open(adapted / "sheets" / "step-0000004.png") as sheet:
        assert np.asarray(sheet).std() > 0
    # Nine images in four orientations; nine captions that name no place, the prefix alone and the
    # empty prompt.
    decided = json.loads((adapted / "decisions.json").read_text())
    assert "because latents of 9 images and embeddings of 11 prompts stay" in decided["cache"]
    assert Table(adapted / "cache", "images-fp16", 9).read(8, "latents").shape == (4, 4, 32, 32)
    (texts,) = (adapted / "cache").glob("texts-*.safetensors")
    assert load_file(texts)["context"].dtype == torch.bfloat16
    assert len(load_file(texts)["context"]) == 11


def test_an_adapter_for_a_layer_that_is_not_there_is_refused(
    finetuned: Path, source: Path, tmp_path: Path
) -> None:
    recipe = quick(source, model=str(finetuned / "model"), lora={"layers": ["to_kk"]})
    with pytest.raises(DidgenError, match=r"names to_kk, .* the nearest name is to_k\."):
        finetune(recipe, tmp_path / "run")
    # Nothing is claimed: the recipe can be mended and the command given again.
    assert not (tmp_path / "run").exists()


def test_what_only_saves_memory_may_change_between_two_sittings(
    finetuned: Path, quick_recipe: FinetuneRecipe
) -> None:
    weights = {p: p.read_bytes() for p in (finetuned / "model").rglob("*.safetensors")}
    finetune(quick_recipe.model_copy(update={"gradient_checkpointing": True}), finetuned)
    assert {p: p.read_bytes() for p in (finetuned / "model").rglob("*.safetensors")} == weights


def test_a_size_without_the_maps_is_refused_before_training(
    finetuned: Path, source: Path, tmp_path: Path
) -> None:
    recipe = quick(source, model=str(finetuned / "model"), image_size=128)
    with pytest.raises(DidgenError, match="no 32x32 self-attention layer at 16x16 latents"):
        finetune(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_belongs_to_its_masks_and_its_number_of_processes(
    manifest: SourceManifest, quick_recipe: FinetuneRecipe, tmp_path: Path
) -> None:
    copied = shutil.copytree(manifest.header.root, tmp_path / "source")
    header = manifest.header.model_copy(update={"root": str(copied)})
    moved = SourceManifest(header, manifest.records)
    records = moved.select(split="train", masked=True)
    claim(quick_recipe, moved, records, tmp_path / "run", 1)
    claim(quick_recipe, moved, records, tmp_path / "run", 1)
    with pytest.raises(DidgenError, match=r"differs in processes \(1, now 2\)"):
        claim(quick_recipe, moved, records, tmp_path / "run", 2)
    shutil.copy(moved.mask_path(records[1]), moved.mask_path(records[0]))
    with pytest.raises(DidgenError, match="the same recipe over other inputs"):
        claim(quick_recipe, moved, records, tmp_path / "run", 1)


@pytest.mark.parametrize(
    ("schedule", "extends"),
    [
        ({"schedule": "constant"}, True),
        ({"schedule": "cosine", "restart_every": 2}, True),
        ({"schedule": "cosine"}, False),
    ],
)
def test_steps_may_be_added_where_no_rate_depends_on_their_number(
    manifest: SourceManifest,
    source: Path,
    shape: Build,
    tmp_path: Path,
    schedule: dict[str, Any],
    extends: bool,
) -> None:
    records = manifest.select(split="train", masked=True)
    short, long = (quick(source, build=shape, steps=n, **schedule) for n in (4, 6))
    claim(short, manifest, records, tmp_path / "run", 1)
    refused = pytest.raises(DidgenError, match=r"differs in steps \(4, now 6\)")
    with nullcontext() if extends else refused:
        claim(long, manifest, records, tmp_path / "run", 1)


@pytest.mark.parametrize("part", ["autoencoder", "unet"])
def test_a_perceptual_loss_trains_along_and_its_weights_belong_to_the_run(
    source: Path, shape: Build, perceptual: Perceptual, tmp_path: Path, part: str
) -> None:
    weights, network = tmp_path / "small.safetensors", perceptual.network
    asked = perceptual.model_copy(update={"weights": weights})
    changes: dict[str, Any] = {"build": shape, "perceptual": asked}
    if part == "autoencoder":
        stage = shape.autoencoder.model_copy(update={"perceptual": asked})
        changes = {"build": shape.model_copy(update={"autoencoder": stage})}
    recipe, out = quick(source, steps=1, class_balance=0.5, **changes), tmp_path / "run"
    with pytest.raises(
        DidgenError, match=r"small\.safetensors is no safetensors file that is there"
    ):
        finetune(recipe, out)
    assert not out.exists()
    save_file(timm.create_model(network, pretrained=False).state_dict(), weights)
    finetune(recipe, out)
    tags = EventAccumulator(str(out / "logs")).Reload().Tags()["scalars"]
    assert f"{part}/perceptual" in tags
    save_file(timm.create_model(network, pretrained=False).state_dict(), weights)
    with pytest.raises(DidgenError, match="the same recipe over other inputs"):
        finetune(recipe, out)


def curves(out: Path) -> dict[str, list[float]]:
    """The scalars of a run's last stage by name, from its TensorBoard log."""
    events = EventAccumulator(str(out / "logs")).Reload()
    return {
        name: [event.value for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
        if name.startswith("unet/")
    }


def write(recipe: FinetuneRecipe, path: Path) -> Path:
    """A recipe as a file."""
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    return path


def start(folder: Path, *command: str | Path) -> subprocess.Popen[bytes]:
    """A Python process of one thread in a group of its own; its words go to `folder/stderr`."""
    with open(folder / "stderr", "wb") as words:
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=REPOSITORY,
            # Byte equality is a promise of the CPU.
            env=os.environ
            | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""},
            stdout=subprocess.DEVNULL,
            stderr=words,
            start_new_session=True,
        )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_cached_and_uncached_runs_have_one_loss_curve(
    finetuned: Path, source: Path, tmp_path: Path
) -> None:
    recipe = quick(source, model=str(finetuned / "model"), steps=8, leak_weight=0.1)
    for cached in (True, False):
        AcceleratorState._reset_state(reset_partial_state=True)
        finetune(recipe.model_copy(update={"cache": cached}), tmp_path / str(cached))
    plain, cached_curves = curves(tmp_path / "False"), curves(tmp_path / "True")
    assert len(plain["unet/loss"]) == 8
    for name, values in plain.items():
        np.testing.assert_allclose(cached_curves[name], values, rtol=2e-3, err_msg=name)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_train_like_one_with_the_doubled_batch(
    finetuned: Path, source: Path, tmp_path: Path
) -> None:
    """Equal up to the order of sums: losses to 1e-5, weights to 1 % of the way they went."""
    recipe = quick(
        source,
        model=str(finetuned / "model"),
        steps=8,
        batch_size=4,
        leak_weight=0.1,
        ema_decay=None,
    )
    finetune(recipe, tmp_path / "one")
    halved = write(recipe.model_copy(update={"batch_size": 2}), tmp_path / "recipe.yaml")
    launcher = ("-m", "accelerate.commands.accelerate_cli", "launch")
    command = ("--multi_gpu", "--num_processes", "2", "cli.py", "finetune", halved)
    process = start(tmp_path, *launcher, *command, "--out", tmp_path / "two")
    assert process.wait() == 0, (tmp_path / "stderr").read_text()
    one, two = curves(tmp_path / "one"), curves(tmp_path / "two")
    assert len(one["unet/loss"]) == 8
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=1e-5, err_msg=name)
    before, alone, together = (
        torch.cat([value.flatten() for value in load_pipeline(str(folder)).unet.parameters()])
        for folder in (finetuned / "model", tmp_path / "one" / "model", tmp_path / "two" / "model")
    )
    assert (together - alone).norm() < 0.01 * (alone - before).norm()
    decided = json.loads((tmp_path / "two" / "decisions.json").read_text())
    assert decided["batch"] == "4 a step, because 2 processes take 2 each"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_run_killed_at_any_moment_ends_in_the_same_bytes(
    quick_recipe: FinetuneRecipe, tmp_path: Path
) -> None:
    assert quick_recipe.build is not None
    stage = quick_recipe.build.autoencoder.model_copy(update={"steps": 8})
    build = quick_recipe.build.model_copy(update={"autoencoder": stage})
    changes = {"build": build, "steps": 10, "checkpoint_every": 2}
    file = write(quick_recipe.model_copy(update=changes), tmp_path / "recipe.yaml")

    def go(name: str) -> subprocess.Popen[bytes]:
        return start(tmp_path, "cli.py", "finetune", file, "--out", tmp_path / name)

    assert go("straight").wait() == 0, (tmp_path / "stderr").read_text()
    out, rng = tmp_path / "killed", np.random.default_rng(0)
    unet = out / "checkpoints" / "unet"
    moments: dict[str, Callable[[], bool]] = {
        "the autoencoder trains": lambda: bool(checkpoints(unet.with_name("autoencoder"))),
        "the cache is written": lambda: (out / "cache").exists(),
        "the first checkpoint is written": lambda: any(unet.glob("*.tmp")),
        "the UNet trains": lambda: len(checkpoints(unet)) > 1,
        "another checkpoint is written": lambda: any(unet.glob("*.tmp")),
        "the model is written": lambda: (out / "model.tmp" / "unet").exists(),
    }
    for moment, reached in moments.items():
        process = go("killed")
        while not reached():
            assert process.poll() is None, f"ended before {moment}"
            time.sleep(0.0005)
        if moment.endswith("trains"):
            time.sleep(rng.random())
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert go("killed").wait() == 0, (tmp_path / "stderr").read_text()
    assert not list(out.rglob("*.tmp"))
    for part in ("unet", "vae", "text_encoder"):
        (one,), (other,) = (
            list((tmp_path / name / "model" / part).glob("*.safetensors"))
            for name in ("straight", "killed")
        )
        assert one.read_bytes() == other.read_bytes(), part


@pytest.mark.slow
def test_sdxl_is_trained_gone_on_with_and_drawn_from_to_the_bit(
    xl_model: Path, source: Path, tmp_path: Path
) -> None:
    whole = finetune(xl_recipe(source, xl_model, 4), tmp_path / "whole")
    finetune(xl_recipe(source, xl_model, 2), tmp_path / "stopped")
    again = finetune(xl_recipe(source, xl_model, 4), tmp_path / "stopped")
    for part in ("unet/diffusion_pytorch_model", "text_encoder_2/model", "text_encoder/model"):
        name = f"{part}.safetensors"
        assert (again / name).read_bytes() == (whole / name).read_bytes()
    start = (xl_model / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    assert (whole / "unet" / "diffusion_pytorch_model.safetensors").read_bytes() != start
    out = tmp_path / "run"
    job = prepare_generation(tiny_recipe(whole, sampling=QUICK | {"maps": XL_MAPS}))
    augment(job, out)
    assert {verdict.status for verdict in verify(out)} == {"ok"}
    pairs = out / "pairs" / "pairs-000001.tar"
    before = pairs.read_bytes()
    pairs.unlink()
    augment(job, out)
    assert pairs.read_bytes() == before and len(tars(out)) == 4


def test_texts_of_two_encoders_that_are_not_cached_are_refused(
    xl_model: Path, source: Path, tmp_path: Path
) -> None:
    recipe = xl_recipe(source, xl_model, 1).model_copy(update={"cache": False})
    with pytest.raises(DidgenError, match="two text encoders, whose texts are cached; set"):
        finetune(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()
