"""Texts: prompts as the one tensor that a UNet is conditioned on, by one text encoder or two.

Notable choices:
- For Stable Diffusion 1 and 2 it is what the text encoder gives last, (B, T, C).
- For SDXL (Podell et al., ICLR 2024, Section 2.1) the states before the last layer of both encoders
  stand side by side, and the second one's pooled text is one more row, filled up with zeros. So
  texts are cut, joined, cached and annealed alike, whatever the model.
- The sizes that SDXL is told are those of the latents: images are neither enlarged nor cropped.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from didgen.augment.conditioning.p_tokens import tokenize

TextEncoder: TypeAlias = CLIPTextModel | CLIPTextModelWithProjection

LATENT_SCALE = 8
"""Pixels of an image's side for one of its latents'."""


def text_parts(pipeline: DiffusionPipeline) -> list[tuple[CLIPTokenizer, TextEncoder]]:
    """The tokenizers of a pipeline, each with its text encoder."""
    parts, ends = pipeline.components, ("", "_2")
    return [
        (parts[f"tokenizer{end}"], parts[f"text_encoder{end}"])
        for end in ends
        if f"text_encoder{end}" in parts
    ]


def encoded(pipeline: DiffusionPipeline, prompts: Sequence[str]) -> Tensor:
    """Prompts as a pipeline's UNet is conditioned on them, (B, T, C), of SDXL (B, T + 1, C).

    An empty prompt is zeros where the pipeline's config says so, as that of SDXL does.
    """
    states, pooled = [], []
    parts = text_parts(pipeline)
    for tokenizer, encoder in parts:
        # Weights that are brought in layer by layer are on no device of their own.
        offloaded = encoder.device.type == "meta"
        device = pipeline._execution_device if offloaded else encoder.device
        ids = tokenize(tokenizer, list(prompts)).to(device)
        if len(parts) == 1:
            return encoder(ids)[0]
        read = encoder(ids, output_hidden_states=True)
        states.append(read.hidden_states[-2])
        pooled.append(read[0])
    row = F.pad(pooled[-1], (0, sum(s.shape[-1] for s in states) - pooled[-1].shape[-1]))
    texts = torch.cat([torch.cat(states, -1), row[:, None]], 1)
    if pipeline.config.get("force_zeros_for_empty_prompt"):
        told = torch.tensor([bool(prompt) for prompt in prompts], device=texts.device)
        texts = texts * told[:, None, None]
    return texts


def conditions(unet: UNet2DConditionModel, texts: Tensor, latents: Tensor) -> dict[str, Any]:
    """What a UNet is called with beside latents (B, 4, h, w) and timestep, by `encoded` texts."""
    config = unet.config
    if config.addition_embed_type != "text_time":
        return {"encoder_hidden_states": texts}
    height, width = (LATENT_SCALE * extent for extent in latents.shape[-2:])
    # The size before any cropping, the place of the crop, and the size that is drawn.
    sizes = torch.tensor([height, width, 0, 0, height, width]).to(texts)
    count = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    added = {"text_embeds": texts[:, -1, :count], "time_ids": sizes.expand(len(texts), -1)}
    return {"encoder_hidden_states": texts[:, :-1], "added_cond_kwargs": added}
