"""Tests of the builder: a tokenizer that loses nothing, and weights that a seed decides."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from didgen.augment.diffusion.attention import layers_at
from didgen.augment.diffusion.small_model import TOKENS, build_pipeline, build_tokenizer
from didgen.augment.prompts.prompt import LESION, PREFIX, SKIN
from didgen.manifests.recipes.sampling import AttentionMaps
from didgen.manifests.recipes.small_model import Build

TEXTS = ["An image of lesion on skin. melanoma, a dark brown lesion, light skin, some hair."] * 8


@pytest.fixture(scope="session")
def tokenizer() -> CLIPTokenizer:
    """A tokenizer learned from a few captions."""
    return build_tokenizer(TEXTS, 600)


def unspaced(text: str) -> str:
    """Without whitespace, whose amount CLIP does not keep."""
    return "".join(text.split())


@given(text=st.text(max_size=40))
@example(text="melanoma 🩺 naïve Ünïcode 皮膚 it's 42%")
@example(text="👩🏽\u200d⚕️")
@settings(deadline=None, max_examples=100)
def test_any_text_can_be_read_back(tokenizer: CLIPTokenizer, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert not set(ids) & set(tokenizer.all_special_ids)
    normalised = tokenizer.backend_tokenizer.normalizer.normalize_str(text)
    decoded = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    assert unspaced(decoded) == unspaced(normalised)


def test_words_of_the_captions_take_fewer_tokens(tokenizer: CLIPTokenizer) -> None:
    assert len(tokenizer("melanoma lesion", add_special_tokens=False).input_ids) == 2
    assert len(tokenizer("xylophone", add_special_tokens=False).input_ids) > 4


@pytest.mark.parametrize("size", [514, 520, 600, 5000])
def test_the_size_is_an_upper_bound(size: int) -> None:
    made = build_tokenizer(TEXTS, size)
    assert 514 <= len(made) <= size
    assert sorted(made.get_vocab().values()) == list(range(len(made)))


def test_a_prompt_is_framed_like_clips(tokenizer: CLIPTokenizer) -> None:
    ids = tokenizer("melanoma").input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.convert_ids_to_tokens(ids[:1] + ids[-1:]) == [
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    assert tokenizer.model_max_length == TOKENS == 77


def test_saved_in_clips_format_it_loads_as_the_same(
    built: StableDiffusionPipeline, tmp_path: Path
) -> None:
    built.tokenizer.save_pretrained(tmp_path)
    kind = json.loads((tmp_path / "tokenizer_config.json").read_text())["tokenizer_class"]
    assert kind.startswith("CLIPTokenizer")
    again = CLIPTokenizer.from_pretrained(tmp_path)
    text = PREFIX + "melanoma, it's 50% 🩺 brown."
    assert again(text).input_ids == built.tokenizer(text).input_ids
    assert again.get_vocab() == built.tokenizer.get_vocab()


def weights(pipeline: StableDiffusionPipeline) -> dict[str, torch.Tensor]:
    """All weights of a model by name."""
    return {
        f"{part}.{name}": value
        for part in ("unet", "vae", "text_encoder")
        for name, value in getattr(pipeline, part).state_dict().items()
    }


def test_the_seed_decides_the_weights(built: StableDiffusionPipeline, shape: Build) -> None:
    texts = built.tokenizer.get_vocab()
    torch.manual_seed(99)
    state = torch.get_rng_state()
    one, same, other = (build_pipeline(shape, texts, 256, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in weights(one).items():
        assert torch.equal(value, weights(same)[name]), name
    different = [n for n, v in weights(one).items() if not torch.equal(v, weights(other)[n])]
    assert any(name.startswith("unet.") for name in different)
    assert any(name.startswith("vae.") for name in different)
    assert any(name.startswith("text_encoder.") for name in different)


def test_the_model_is_made_for_the_method(built: StableDiffusionPipeline) -> None:
    side = built.unet.config.sample_size
    assert side == 32
    assert layers_at(built.unet, "attn2", AttentionMaps(), side)
    assert layers_at(built.unet, "attn1", AttentionMaps(), side)
    assert {LESION, SKIN} <= built.tokenizer.get_vocab().keys()
    assert built.text_encoder.get_input_embeddings().num_embeddings == len(built.tokenizer)


def test_the_last_timestep_holds_no_image(shape: Build, built: StableDiffusionPipeline) -> None:
    assert built.scheduler.alphas_cumprod[-1] == pytest.approx(0, abs=1e-7)
    epsilon = shape.model_copy(update={"prediction_type": "epsilon"})
    plain = build_pipeline(epsilon, TEXTS, 256, 0)
    assert plain.scheduler.config.prediction_type == "epsilon"
    assert plain.scheduler.alphas_cumprod[-1] > 1e-3
