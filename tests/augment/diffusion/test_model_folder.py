"""Tests of the model room: saved models load as plain Stable Diffusion, bad ones are refused."""

import json
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny, StableDiffusionPipeline, UNet2DConditionModel

from didgen.augment.diffusion.model_folder import load_pipeline, save_pipeline
from didgen.augment.diffusion.p_tokens import p_token_positions, tokenize
from didgen.augment.diffusion.pipeline import LesionPairPipeline, draw
from didgen.augment.prompts.prompt import LESION, SKIN, compose
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.sampling import Sampling

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
