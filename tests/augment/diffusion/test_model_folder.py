"""Tests of the model room: saved models load as plain Stable Diffusion, bad ones are refused."""

import json
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from didgen.augment.conditioning.p_tokens import p_token_positions, tokenize
from didgen.augment.diffusion.model_folder import load_pipeline, save_pipeline
from didgen.augment.diffusion.pipeline import LesionPairPipeline, draw
from didgen.augment.finetuning.lora import add_adapters, save_adapters
from didgen.augment.prompts.prompt import LESION, SKIN, compose
from didgen.manifests.errors import DidgenError
from didgen.manifests.provenance.model_files import FIRST_RELEASE
from didgen.manifests.provenance.models import MINI, model_hashes
from didgen.manifests.recipes.finetune import Lora
from didgen.manifests.recipes.sampling import Sampling
from tests.fixtures.single_file import small_autoencoder, write_configs, write_single_file

PROMPT = compose("melanoma, dark corners.")


@pytest.fixture(scope="module")
def folder(built: StableDiffusionPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model on disk; tests do not change it."""
    path = tmp_path_factory.mktemp("saved") / "model"
    save_pipeline(built, path, [])
    return path


def test_a_saved_model_is_plain_stable_diffusion(
    built: StableDiffusionPipeline, folder: Path
) -> None:
    plain = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    for part in ("unet", "vae", "text_encoder"):
        expected, found = (getattr(model, part).state_dict() for model in (built, plain))
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[name], found[name]) for name in expected)
    for token in (LESION, SKIN):
        row = plain.tokenizer.convert_tokens_to_ids(token)
        assert row == built.tokenizer.convert_tokens_to_ids(token)
        assert plain.tokenizer(token, add_special_tokens=False).input_ids == [row]
        assert torch.equal(
            plain.text_encoder.get_input_embeddings().weight[row],
            built.text_encoder.get_input_embeddings().weight[row],
        )
    ids = tokenize(plain.tokenizer, [PROMPT])
    assert torch.equal(ids, tokenize(built.tokenizer, [PROMPT]))
    assert p_token_positions(plain.tokenizer, ids).shape == (1, 2)
    assert plain.scheduler.config.prediction_type == "v_prediction"
    plain.set_progress_bar_config(disable=True)
    image = plain(PROMPT, num_inference_steps=2, output_type="np").images
    assert image.shape == (1, 256, 256, 3)
    assert np.isfinite(image).all()
    assert image.std() > 0


def test_a_loaded_model_draws_what_the_saved_one_draws(
    built: StableDiffusionPipeline, folder: Path
) -> None:
    loaded = load_pipeline(str(folder))
    assert isinstance(loaded, LesionPairPipeline)
    assert loaded.unet.dtype == torch.float32
    assert loaded.image_size == 256
    sampling = Sampling(scheduler="ddim", steps=2)
    before = LesionPairPipeline(**built.components, requires_safety_checker=False)
    one, other = (draw(model, [PROMPT], [1], sampling) for model in (before, loaded))
    np.testing.assert_array_equal(one.images, other.images)


def plain_image(folder: Path) -> np.ndarray:
    """What diffusers alone draws with a model, told nothing but where it lies."""
    plain = StableDiffusionPipeline.from_pretrained(folder)
    plain.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    return plain(PROMPT, num_inference_steps=1, generator=generator, output_type="np").images


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_saved_in_half_draws_in_plain_diffusers(
    built: StableDiffusionPipeline, tmp_path: Path, dtype: torch.dtype
) -> None:
    save_pipeline(LesionPairPipeline(**built.components), tmp_path / "half", [], dtype)
    stored = load_file(tmp_path / "half" / "text_encoder" / "model.safetensors")
    assert {weight.dtype for weight in stored.values()} == {dtype}
    image = plain_image(tmp_path / "half")
    assert np.isfinite(image).all() and image.std() > 0


def test_the_bundled_model_draws_in_plain_diffusers() -> None:
    image = plain_image(MINI)
    assert np.isfinite(image).all() and image.std() > 0.05


def test_only_safetensors_are_saved(folder: Path) -> None:
    weights = [p for p in folder.rglob("*") if p.suffix in (".bin", ".safetensors", ".pt", ".ckpt")]
    assert {path.suffix for path in weights} == {".safetensors"}
    assert {path.parent.name for path in weights} == {"unet", "vae", "text_encoder"}
    assert json.loads((folder / "model_index.json").read_text())["_class_name"] == (
        "StableDiffusionPipeline"
    )


def test_saving_a_loaded_model_names_no_path_of_this_machine(folder: Path, tmp_path: Path) -> None:
    save_pipeline(load_pipeline(str(folder)), tmp_path / "model", [])
    for path in (tmp_path / "model").rglob("*.json"):
        assert str(folder) not in path.read_text(), path


def test_saving_replaces_an_older_model_whole(
    built: StableDiffusionPipeline, tmp_path: Path
) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "stale.txt").touch()
    (tmp_path / "model.tmp").mkdir()
    (tmp_path / "model.tmp" / "torn.txt").touch()
    save_pipeline(built, target, [])
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert not {path.name for path in target.rglob("*.txt")} & {"stale.txt", "torn.txt"}


def refused(model: str) -> str:
    """The sentence with which a model is refused."""
    with pytest.raises(DidgenError) as caught:
        load_pipeline(model)
    sentence = str(caught.value)
    assert sentence.startswith(f"The model {model} could not be loaded: ")
    assert "\n" not in sentence
    assert caught.value.__suppress_context__
    return sentence


def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    assert "safetensors" in refused(str(tmp_path / "absent"))


def test_a_model_of_other_latents_is_one_sentence(
    built: StableDiffusionPipeline, folder: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(folder, tmp_path / "model")
    config = json.loads((copy / "vae" / "config.json").read_text())
    halved = {
        name: value[:-1]
        if name.endswith("block_out_channels") or name.startswith("num_")
        else value
        for name, value in config.items()
        if isinstance(value, list) or not name.startswith("num_")
    }
    vae = AutoencoderTiny.from_config(halved)
    vae.save_pretrained(copy / "vae")
    assert "an eighth of the side" in refused(str(copy))


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [("in_channels", 9, "inpainting"), ("class_embed_type", "timestep", "more than a prompt")],
)
def test_a_model_of_another_kind_is_one_sentence(
    built: StableDiffusionPipeline, tmp_path: Path, field: str, value: object, reason: str
) -> None:
    # Fields that begin so would bring the defaults back.
    config = {name: said for name, said in built.unet.config.items() if name[0] != "_"}
    unet = UNet2DConditionModel.from_config(config | {field: value})
    parts = built.components | {"unet": unet}
    model = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    model.save_pretrained(tmp_path / "other")
    assert reason in refused(str(tmp_path / "other"))


def test_a_hub_id_without_the_network_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    monkeypatch.setattr(socket.socket, "connect", lambda *args: tried.append(args))
    refused("nobody/no-such-model")
    assert not tried


def test_a_folder_that_is_no_model_is_one_sentence(tmp_path: Path) -> None:
    refused(str(tmp_path))
    (tmp_path / "model_index.json").write_text("{")
    refused(str(tmp_path))


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_pickled_weights_are_refused(folder: Path, tmp_path: Path, part: str) -> None:
    copy = shutil.copytree(folder, tmp_path / "model")
    (weights,) = (copy / part).glob("*.safetensors")
    name = "pytorch_model.bin" if part == "text_encoder" else "diffusion_pytorch_model.bin"
    model = load_pipeline(str(folder))
    torch.save(getattr(model, part).state_dict(), copy / part / name)
    weights.unlink()
    refused(str(copy))


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_weights_cut_off_are_one_sentence(folder: Path, tmp_path: Path, part: str) -> None:
    copy = shutil.copytree(folder, tmp_path / "model")
    (weights,) = (copy / part).glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1000])
    refused(str(copy))


def test_a_component_that_is_missing_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "model")
    shutil.rmtree(copy / "tokenizer")
    refused(str(copy))


Change = Callable[[Path], Any]
"""Does something to the copy of a model; gives what is to be loaded, the copy if nothing."""


def config(part: str, name: str = "config.json", **fields: object) -> Change:
    """Other values for fields of a config."""

    def change(folder: Path) -> None:
        path = folder / part / name
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return change


def weights(part: str, edit: Callable[[dict[str, torch.Tensor]], None]) -> Change:
    """Other weights of a part."""

    def change(folder: Path) -> None:
        (path,) = (folder / part).glob("*.safetensors")
        tensors = load_file(path)
        edit(tensors)
        save_file(tensors, path, metadata={"format": "pt"})

    return change


def both(*changes: Change) -> Change:
    """One change after another."""

    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change


def without_one(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[sorted(tensors)[len(tensors) // 2]]


def under_other_names(tensors: dict[str, torch.Tensor]) -> None:
    for name in list(tensors):
        tensors[f"module.{name}"] = tensors.pop(name)


def with_a_nan(tensors: dict[str, torch.Tensor]) -> None:
    tensors[min(tensors)].view(-1)[0] = float("nan")


def fewer_words(tensors: dict[str, torch.Tensor]) -> None:
    for name in [name for name in tensors if "token_embedding" in name]:
        tensors[name] = tensors[name][:300].clone()


def pointer(name: str) -> Change:
    """What Git LFS leaves in a file's place where it fetched nothing."""

    def change(folder: Path) -> None:
        text = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 9\n"
        (folder / name).write_text(text)

    return change


def index(**fields: object) -> Change:
    return config("", "model_index.json", **fields)


def scheduler(name: str, **fields: object) -> Change:
    return both(
        index(scheduler=["diffusers", name]),
        config("scheduler", "scheduler_config.json", _class_name=name, **fields),
    )


def as_a_finished_run(folder: Path) -> Path:
    run = folder.parent / "run"
    run.mkdir()
    folder.rename(run / "model")
    return run


def as_an_unfinished_run(folder: Path) -> Path:
    run = folder.parent / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    return run


def as_adapters(folder: Path) -> Path:
    pipeline = load_pipeline(str(folder))
    add_adapters(pipeline.unet, Lora(), torch.float32, 0)
    save_adapters(pipeline.unet, folder.parent / "lora")
    return folder.parent / "lora"


def one_of(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


DIFFUSION_WEIGHTS = "diffusion_pytorch_model.safetensors"

ODD: dict[str, tuple[Change, str]] = {
    "a run": (as_a_finished_run, "its model lies in .*run/model: give that"),
    "an unfinished run": (as_an_unfinished_run, "let `didgen finetune` finish it"),
    "adapters": (as_adapters, "LoRA adapters alone: give the model they are merged into, .*model"),
    "a file of adapters": (
        lambda f: one_of(as_adapters(f), "*.safetensors"),
        "LoRA adapters alone: merge them",
    ),
    "a part": (lambda f: f / "unet", "UNet2DConditionModel of a model alone: give the folder"),
    "a part's file": (lambda f: f / "unet" / DIFFUSION_WEIGHTS, "the unet of a model alone"),
    "a pickle": (
        lambda f: Path(shutil.copy(f / "model_index.json", f.parent / "model.ckpt")),
        "pickled ones never",
    ),
    "no file": (lambda f: f / "model.safetensors", "there is no such folder"),
    "pointer of weights": (pointer(f"unet/{DIFFUSION_WEIGHTS}"), "`git lfs pull`"),
    "pointer of a tokenizer": (pointer("tokenizer/tokenizer.json"), "`git lfs pull`"),
    "pointer of the index": (pointer("model_index.json"), "`git lfs pull`"),
    "half an SDXL": (index(_class_name="StableDiffusionXLPipeline"), "text_encoder_2 is a nothing"),
    "SD3": (index(_class_name="StableDiffusion3Pipeline"), "StableDiffusion3Pipeline; didgen"),
    "FLUX": (index(_class_name="FluxPipeline"), "FluxPipeline; didgen"),
    "another's code": (index(_class_name=["pipeline", "Mine"]), "Mine.*; didgen takes"),
    "LCM": (index(_class_name="LatentConsistencyModelPipeline"), "LatentConsistencyModelPipeline"),
    "LCM's scheduler": (scheduler("LCMScheduler"), "give the model it was distilled from"),
    "LCM's UNet": (
        both(
            config("unet", time_cond_proj_dim=8),
            weights(
                "unet", lambda t: t.update({"time_embedding.cond_proj.weight": torch.zeros(16, 8)})
            ),
        ),
        "give the model it was distilled from",
    ),
    "flow": (scheduler("DDIMScheduler", prediction_type="flow_prediction"), "flow matching"),
    "projection": (
        index(text_encoder=["transformers", "CLIPTextModelWithProjection"]),
        "text_encoder is a CLIPTextModelWithProjection",
    ),
    "no square": (config("unet", sample_size=[32, 48]), "`sample_size` is .32, 48."),
    "no size": (config("unet", sample_size=None), "`sample_size` is None"),
    "more words": (config("text_encoder", vocab_size=700), "config says .700, 32."),
    "fewer words": (
        both(weights("text_encoder", fewer_words), config("text_encoder", vocab_size=300)),
        "tokenizer knows 5.. words, and its text encoder 300",
    ),
    "no length": (
        config("tokenizer", "tokenizer_config.json", model_max_length=10**9),
        "takes 77 tokens",
    ),
    "another width": (config("unet", cross_attention_dim=48), "expected shape"),
    "a nan": (weights("unet", with_a_nan), "no numbers, first"),
    "other names": (weights("text_encoder", under_other_names), "text_encoder lacks weights"),
} | {
    f"a weight less in {part}": (weights(part, without_one), f"{part} lacks weights")
    for part in ("unet", "vae", "text_encoder")
}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_such_model_is_refused_by_its_cause(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    change, reason = ODD[kind]
    copy = shutil.copytree(folder, tmp_path / "model")
    given = change(copy)
    assert re.search(reason, refused(str(given if isinstance(given, Path) else copy)))


@pytest.mark.parametrize("parts", [("unet",), ("unet", "vae", "text_encoder")])
def test_weights_of_the_variant_fp16_are_loaded(
    folder: Path, tmp_path: Path, parts: tuple[str, ...]
) -> None:
    copy = shutil.copytree(folder, tmp_path / "model")
    for part in parts:
        path = one_of(copy / part, "*.safetensors")
        path.rename(path.with_suffix(".fp16.safetensors"))
    before, after = (load_pipeline(str(path)) for path in (folder, copy))
    for part in parts:
        found = getattr(after, part).state_dict()
        for name, weight in getattr(before, part).state_dict().items():
            assert torch.equal(found[name], weight)


def test_the_names_of_an_image_to_image_model_change_nothing(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "model")
    index(_class_name="StableDiffusionImg2ImgPipeline")(copy)
    assert isinstance(load_pipeline(str(copy)), LesionPairPipeline)


@pytest.fixture(scope="module")
def whole(folder: Path) -> StableDiffusionPipeline:
    """The tiny model in float16's numbers, with an autoencoder as single files hold them."""
    pipeline = load_pipeline(str(folder))
    torch.manual_seed(0)
    pipeline.register_modules(vae=small_autoencoder())
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        part.half().float()
    return pipeline


@pytest.fixture
def single(whole: StableDiffusionPipeline, tmp_path: Path) -> Path:
    """A model in one file, its configs beside it."""
    write_configs(whole, tmp_path)
    write_single_file(whole, tmp_path / "whole.safetensors")
    return tmp_path / "whole.safetensors"


def test_a_model_in_one_file_draws_as_its_folder_does(
    whole: StableDiffusionPipeline, single: Path
) -> None:
    loaded = load_pipeline(str(single))
    sampling = Sampling(scheduler="ddim", steps=1)
    before = LesionPairPipeline(**whole.components, requires_safety_checker=False)
    one, other = (draw(model, [PROMPT], [1], sampling) for model in (before, loaded))
    np.testing.assert_array_equal(one.images, other.images)


def test_a_model_in_one_file_is_that_file_and_its_configs(single: Path) -> None:
    before = model_hashes(str(single), None)
    assert {"whole.safetensors", "model_index.json", "unet/config.json"} <= before.keys()
    (single.parent / "notes.txt").write_text("mine")
    assert model_hashes(str(single), None) == before
    config("scheduler", "scheduler_config.json", prediction_type="epsilon")(single.parent)
    assert model_hashes(str(single), None) != before


def test_one_file_without_configs_says_whose_it_needs(single: Path) -> None:
    (single.parent / "model_index.json").unlink()
    sentence = refused(str(single))
    assert FIRST_RELEASE in sentence and "model_index.json" in sentence


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A cache of the hub without the network: from an id to the folder that is cached of it."""
    cache = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))

    def folder_of(name: str) -> Path:
        cached = cache / f"models--{name.replace('/', '--')}"
        (cached / "refs").mkdir(parents=True)
        (cached / "refs" / "main").write_text("c0ffee")
        return cached / "snapshots" / "c0ffee"

    return folder_of


def test_a_model_of_the_hub_may_have_the_variant_fp16_alone(
    folder: Path, hub: Callable[[str], Path]
) -> None:
    cached = shutil.copytree(folder, hub("someone/a-model"))
    for path in cached.rglob("*.safetensors"):
        path.rename(path.with_suffix(".fp16.safetensors"))
    assert load_pipeline("someone/a-model").image_size == 256


def test_one_file_takes_the_configs_of_the_first_release_from_the_hubs_cache(
    single: Path, hub: Callable[[str], Path]
) -> None:
    ignore = shutil.ignore_patterns("*.safetensors", "hub")
    shutil.copytree(single.parent, hub(FIRST_RELEASE), ignore=ignore)
    (single.parent / "model_index.json").unlink()
    assert load_pipeline(str(single)).image_size == 256
    assert "unet/config.json" in model_hashes(str(single), None)


def test_one_file_of_stable_diffusion_2_needs_its_own_configs(single: Path) -> None:
    (single.parent / "model_index.json").unlink()
    tensors = load_file(single)
    tensors["cond_stage_model.model.token_embedding.weight"] = torch.zeros(1)
    save_file(tensors, single)
    assert "no one repository fits every Stable Diffusion 2" in refused(str(single))


FOREIGN: dict[str, tuple[str, str]] = {
    "conditioner.embedders.0.transformer.x": ("cond_stage_model.", "Stable Diffusion XL or 3"),
    "text_encoders.clip_l.transformer.x": ("cond_stage_model.", "Stable Diffusion XL or 3"),
    "unet.x": ("cond_stage_model.", "no text encoder"),
    "vae.x": ("first_stage_model.", "no autoencoder"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_one_file_of_another_kind_is_refused_by_its_cause(single: Path, name: str) -> None:
    prefix, reason = FOREIGN[name]
    kept = {key: value for key, value in load_file(single).items() if not key.startswith(prefix)}
    save_file(kept | {name: torch.zeros(1)}, single)
    assert reason in refused(str(single))


@pytest.mark.parametrize("prefix", ["model.diffusion_model.mid", "cond_stage_model.transformer.te"])
def test_one_file_that_lacks_weights_is_refused(single: Path, prefix: str) -> None:
    tensors = load_file(single)
    del tensors[next(key for key in sorted(tensors) if key.startswith(prefix))]
    save_file(tensors, single)
    assert "lacks" in refused(str(single))


@pytest.mark.parametrize("keep", [0, 100, 20_000])
def test_one_file_cut_off_is_one_sentence(single: Path, keep: int) -> None:
    single.write_bytes(single.read_bytes()[:keep])
    assert "damaged" in refused(str(single))


def test_one_file_beside_another_models_configs_is_refused(folder: Path, single: Path) -> None:
    shutil.copy(folder / "model_index.json", single.parent)
    assert "configs of another model, whose autoencoder is a AutoencoderTiny" in (
        refused(str(single))
    )
