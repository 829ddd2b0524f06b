"""Tests of SDXL as a base: its sampler against diffusers' own, and its folder."""

from pathlib import Path
from typing import Any

import numpy as np
from diffusers import StableDiffusionXLPipeline
from torch import Tensor

from didgen.augment.conditioning.p_tokens import add_p_tokens
from didgen.augment.conditioning.texts import text_parts
from didgen.augment.diffusion.kinds import LesionPairXLPipeline, is_xl, plain_of, sampler_of
from didgen.augment.diffusion.model_folder import load_pipeline, save_pipeline
from didgen.augment.diffusion.pipeline import LesionPairPipeline
from didgen.augment.prompts.prompt import P_TOKENS
from didgen.manifests.recipes.sampling import Annotation, AttentionMaps
from tests.fixtures.tiny_model import PROMPTS, start
from tests.fixtures.tiny_xl import XL_MAPS


def test_plain_images_are_those_of_diffusers(xl: StableDiffusionXLPipeline) -> None:
    prompts = ["melanoma.", "a brown lesion, light skin."]
    asked: dict[str, Any] = {"num_inference_steps": 3, "guidance_scale": 4, "output_type": "np"}
    xl.set_progress_bar_config(disable=True)
    theirs = xl(prompts, latents=start(2), **asked).images
    ours: Any = sampler_of(xl)(prompts, latents=start(2), return_dict=False, **asked)[0]
    np.testing.assert_allclose(ours, theirs, atol=2e-5)
    assert LesionPairXLPipeline.from_pipe(xl).text_encoder_2 is xl.text_encoder_2


def test_a_folder_is_loaded_guided_and_saved(xl_model: Path, disc: Tensor, tmp_path: Path) -> None:
    pipeline = load_pipeline(str(xl_model))
    assert isinstance(pipeline, LesionPairXLPipeline) and is_xl(pipeline)
    for tokenizer, encoder in text_parts(pipeline):
        add_p_tokens(tokenizer, encoder)
    pipeline.set_progress_bar_config(disable=True)

    asked: dict[str, Any] = {
        "latents": start(1),
        "num_inference_steps": 3,
        "output_type": "np",
    }

    def drawn(sampler: LesionPairPipeline) -> Any:
        # Attention of random weights is flat: a mask is cut of what there is.
        return sampler(
            PROMPTS[:1],
            disc,
            maps=AttentionMaps(**XL_MAPS),
            annotation=Annotation(flat=0),
            **asked,
        )

    pairs = drawn(pipeline)
    plain, _ = pipeline(PROMPTS[:1], return_dict=False, **asked)
    assert pairs.masks.shape == (1, 256, 256) and pairs.masks.any()
    # The layout moves the image.
    assert np.abs(pairs.images - plain).max() > 1e-3
    save_pipeline(pipeline, tmp_path / "saved", [("MEL", "melanoma.")])
    again = load_pipeline(str(tmp_path / "saved"))
    again.set_progress_bar_config(disable=True)
    np.testing.assert_array_equal(drawn(again).images, pairs.images)
    # It is diffusers' own too, without a word on how to load it.
    theirs = StableDiffusionXLPipeline.from_pretrained(tmp_path / "saved")
    assert {*P_TOKENS} <= theirs.tokenizer_2.get_vocab().keys()
    assert type(plain_of(again)) is StableDiffusionXLPipeline
