"""Tests of texts: what a UNet of SDXL is conditioned on is what diffusers makes of a prompt."""

from copy import deepcopy

import torch
from diffusers import StableDiffusionXLPipeline
from torch import Tensor

from didgen.augment.conditioning.p_tokens import add_p_tokens
from didgen.augment.conditioning.texts import conditions, encoded
from tests.fixtures.tiny_xl import WIDTHS


def test_texts_are_both_encoders_and_the_pooled_text(xl: StableDiffusionXLPipeline) -> None:
    texts = encoded(xl, ["melanoma.", ""])
    states, _, pooled, _ = xl.encode_prompt("melanoma.", do_classifier_free_guidance=False)
    torch.testing.assert_close(texts[:1, :-1], states)
    torch.testing.assert_close(texts[:1, -1, : WIDTHS[1]], pooled)
    assert not texts[1].any() and not texts[0, -1, WIDTHS[1] :].any()
    latents: Tensor = torch.zeros(2, 4, 32, 16)
    on = conditions(xl.unet, texts, latents)
    assert on["added_cond_kwargs"]["time_ids"].tolist() == [[256.0, 128, 0, 0, 256, 128]] * 2
    assert on["encoder_hidden_states"].shape == (2, 77, sum(WIDTHS))


def test_the_pooled_text_is_of_the_caption_behind_the_p_tokens(
    xl: StableDiffusionXLPipeline,
) -> None:
    told = StableDiffusionXLPipeline(
        **{**xl.components, "text_encoder_2": deepcopy(xl.text_encoder_2)}
    )
    told.tokenizer_2 = deepcopy(xl.tokenizer_2)
    add_p_tokens(told.tokenizer_2, told.text_encoder_2)
    # The first encoder alone has no P-Tokens, which only its states would tell.
    one, other = encoded(told, ["An image of <lesion> on <skin>. " + c for c in ("brown.", "red.")])
    assert not torch.allclose(one[-1], other[-1])
