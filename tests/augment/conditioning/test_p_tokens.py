"""Tests of the P-Tokens: where they stand, what they mean, and what happens without them."""

import pytest
import torch
from diffusers import StableDiffusionPipeline
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CLIPTextModel, CLIPTokenizer

from didgen.augment.conditioning.p_tokens import add_p_tokens, p_token_positions, tokenize
from didgen.augment.diffusion.small_model import build_text_encoder, build_tokenizer
from didgen.augment.prompts.prompt import LESION, P_TOKENS, PREFIX, SKIN
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.small_model import Build

TEXTS = ["a brown patch, dry and old"] * 4
"""Texts that hold neither word, so that both are made of several pieces."""


@pytest.fixture
def bare(shape: Build) -> tuple[CLIPTokenizer, CLIPTextModel]:
    """A tokenizer and text encoder without P-Tokens."""
    tokenizer = build_tokenizer(TEXTS, 600)
    return tokenizer, build_text_encoder(tokenizer, shape)


def test_embeddings_start_as_the_mean_of_the_words_pieces(
    bare: tuple[CLIPTokenizer, CLIPTextModel],
) -> None:
    tokenizer, text_encoder = bare
    before = text_encoder.get_input_embeddings().weight.detach().clone()
    add_p_tokens(tokenizer, text_encoder)
    after = text_encoder.get_input_embeddings().weight.detach()
    assert after.shape[0] == before.shape[0] + 2
    torch.testing.assert_close(after[:-2], before, rtol=0, atol=0)
    for token, word in {LESION: "lesion", SKIN: "skin"}.items():
        pieces = tokenizer(word, add_special_tokens=False).input_ids
        assert len(pieces) > 1
        mean = torch.stack([before[piece] for piece in pieces]).sum(0) / len(pieces)
        torch.testing.assert_close(after[tokenizer.convert_tokens_to_ids(token)], mean)


def test_adding_twice_changes_nothing(bare: tuple[CLIPTokenizer, CLIPTextModel]) -> None:
    tokenizer, text_encoder = bare
    add_p_tokens(tokenizer, text_encoder)
    table = text_encoder.get_input_embeddings().weight
    with torch.no_grad():
        table[tokenizer.convert_tokens_to_ids(LESION)] += 1
    before, size = table.detach().clone(), len(tokenizer)
    add_p_tokens(tokenizer, text_encoder)
    assert len(tokenizer) == size
    torch.testing.assert_close(
        text_encoder.get_input_embeddings().weight.detach(), before, rtol=0, atol=0
    )


def test_the_encoder_reads_prompts_with_the_new_tokens(
    bare: tuple[CLIPTokenizer, CLIPTextModel],
) -> None:
    tokenizer, text_encoder = bare
    add_p_tokens(tokenizer, text_encoder)
    text_encoder.eval()
    with torch.no_grad():
        one, other = (
            text_encoder(tokenize(tokenizer, [prompt]))[0]
            for prompt in (f"{LESION} on {SKIN}", f"{SKIN} on {LESION}")
        )
    assert (one - other).abs().max() > 1e-3


@given(
    before=st.lists(st.sampled_from(["an", "image", "of", "melanoma", "x-ray"]), max_size=12),
    between=st.lists(st.sampled_from(["on", "pale", "keratosis"]), max_size=12),
    swapped=st.booleans(),
)
@settings(deadline=None, max_examples=25)
def test_positions_are_looked_up(
    built: StableDiffusionPipeline, before: list[str], between: list[str], swapped: bool
) -> None:
    tokenizer = built.tokenizer
    first, second = (SKIN, LESION) if swapped else (LESION, SKIN)
    prompt = " ".join([*before, first, *between, second, "at the end"])
    ids = tokenize(tokenizer, [prompt, PREFIX])
    assert ids.shape == (2, tokenizer.model_max_length)
    count = len(tokenizer(prompt, add_special_tokens=False).input_ids)
    if count > tokenizer.model_max_length - 6:
        return
    positions = p_token_positions(tokenizer, ids)
    assert positions.shape == (2, 2)
    for row in range(2):
        for column, token in enumerate(P_TOKENS):
            assert ids[row, positions[row, column]] == tokenizer.convert_tokens_to_ids(token)
    assert bool(positions[0, 0] > positions[0, 1]) == swapped


@pytest.mark.parametrize(
    ("prompt", "token"),
    [
        (f"a {LESION}", SKIN),
        (f"on {SKIN}", LESION),
        (f"{LESION} beside {LESION} on {SKIN}", LESION),
        ("", LESION),
        (f"{LESION} " + "very " * 100 + SKIN, SKIN),
    ],
)
def test_a_token_missing_doubled_or_cut_off_is_an_error(
    built: StableDiffusionPipeline, prompt: str, token: str
) -> None:
    ids = tokenize(built.tokenizer, [PREFIX, prompt])
    with pytest.raises(DidgenError, match=f"{token} exactly once within 77 tokens"):
        p_token_positions(built.tokenizer, ids)


def test_no_rows_have_no_positions(built: StableDiffusionPipeline) -> None:
    ids = tokenize(built.tokenizer, [PREFIX])[:0]
    assert p_token_positions(built.tokenizer, ids).shape == (0, 2)
