"""A small Stable Diffusion model built from a config: tokenizer, text encoder, UNet, scheduler."""

import json
from collections.abc import Iterable
from typing import Any

import torch
from diffusers import (
    AutoencoderTiny,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from didgen.augment.conditioning.p_tokens import add_p_tokens
from didgen.manifests.recipes.small_model import AutoencoderStage, Build

TOKENS = 77
"""Length of a prompt in tokens, CLIP's."""


def build_tokenizer(texts: Iterable[str], size: int) -> CLIPTokenizer:
    """A tokenizer in CLIP's format whose merges are learned from `texts`.

    Like CLIP's, the vocabulary is every byte, every byte at the end of a word, the merges, and the
    two special tokens, so any text can be written with it. `size` is an upper bound.
    """
    reference = CLIPTokenizer().backend_tokenizer
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer = reference.normalizer
    learner.pre_tokenizer = reference.pre_tokenizer
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=size - 2,
        initial_alphabet=symbols,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    merges = [tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"]]
    tokens = symbols + [f"{symbol}</w>" for symbol in symbols]
    room = size - len(tokens) - 2
    tokens += ["".join(merge) for merge in merges[:room]]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocabulary, merges=merges[:room], model_max_length=TOKENS)


def build_text_encoder(tokenizer: CLIPTokenizer, shape: Build) -> CLIPTextModel:
    """A CLIP text encoder with random weights for the tokenizer's vocabulary."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.text_width,
        intermediate_size=4 * shape.text_width,
        num_hidden_layers=shape.text_layers,
        num_attention_heads=shape.text_heads,
        max_position_embeddings=TOKENS,
        projection_dim=shape.text_width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def build_unet(shape: Build, latent_side: int) -> UNet2DConditionModel:
    """A UNet with random weights: cross-attention at every level, as wide as the shape says."""
    channels = shape.unet_channels
    levels = len(channels)
    return UNet2DConditionModel(
        sample_size=latent_side,
        in_channels=4,
        out_channels=4,
        block_out_channels=channels,
        layers_per_block=shape.unet_layers,
        down_block_types=("CrossAttnDownBlock2D",) * levels,
        up_block_types=("CrossAttnUpBlock2D",) * levels,
        cross_attention_dim=shape.text_width,
        # diffusers reads this field as the number of heads of each level.
        attention_head_dim=tuple(max(1, c // shape.head_channels) for c in channels),
        norm_num_groups=16,
        use_linear_projection=True,
    )


def build_autoencoder(stage: AutoencoderStage) -> AutoencoderTiny:
    """A factor-8 autoencoder with 4 latent channels and random weights."""
    return AutoencoderTiny(
        encoder_block_out_channels=(stage.channels,) * 4,
        decoder_block_out_channels=(stage.channels,) * 4,
        num_encoder_blocks=stage.encoder_blocks,
        num_decoder_blocks=stage.decoder_blocks,
    )


def build_scheduler(prediction_type: str) -> DDIMScheduler:
    """SD's noise schedule, rescaled to zero terminal SNR where the prediction type allows it.

    Lin et al., WACV 2024: a model with few steps of training then starts from the right brightness.
    """
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction_type,
        rescale_betas_zero_snr=prediction_type == "v_prediction",
        timestep_spacing="trailing",
    )


def build_pipeline(
    shape: Build, texts: Iterable[str], image_size: int, seed: int
) -> StableDiffusionPipeline:
    """A whole model with random weights, P-Tokens included; the same seed gives the same weights.

    texts: what the tokenizer is made for.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = build_tokenizer(texts, shape.vocabulary)
        text_encoder = build_text_encoder(tokenizer, shape)
        add_p_tokens(tokenizer, text_encoder)
        autoencoder = build_autoencoder(shape.autoencoder)
        unet = build_unet(shape, image_size // 8)
    return StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=build_scheduler(shape.prediction_type),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


UNSHAPED = {"_name_or_path", "_diffusers_version", "sample_size", "scaling_factor"}
"""Fields of diffusers' configs that say nothing of what the weights are."""


def shape_of(pipeline: StableDiffusionPipeline) -> dict[str, Any]:
    """What a `Build` decides of a model, by "part.field": the configs but for words and sizes."""
    text = pipeline.text_encoder.config
    fields = ("hidden_size", "num_hidden_layers", "num_attention_heads")
    shape = {f"text_encoder.{field}": getattr(text, field) for field in fields}
    for part in ("unet", "vae", "scheduler"):
        config = json.loads(getattr(pipeline, part).to_json_string())
        shape |= {f"{part}.{field}": config[field] for field in config.keys() - UNSHAPED}
    return shape
