"""The bundled model: it loads everywhere, and does on held-out data what its card says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from augment.annotation import binarise, propagate
from augment.attention import captured
from augment.caption import Measured, caption_manifest, token_counter
from augment.dataset import load_mask, load_pixels
from augment.model import MINI, encode, load_pipeline
from augment.plan import model_captions
from augment.prompt import compose
from augment.tokens import P_TOKENS, p_token_positions, tokenize
from manifests.isic2018 import import_isic2018
from manifests.recipe import Annotation, AttentionMaps
from manifests.records import CLASSES, SourceManifest


@pytest.fixture(scope="module")
def held_out(data_dir: Path) -> SourceManifest:
    """Sixty captioned images of the validation and test splits of the mini recipe's source."""
    whole = import_isic2018(data_dir / "isic2018").manifest
    records = [r for r in whole.records if r.split != "train" and r.mask][::28][:60]
    few = SourceManifest(whole.header, tuple(records))
    measured = Measured(token_counter("mini"))
    return SourceManifest(whole.header, tuple(caption_manifest(few, measured)))


def test_it_is_small_safe_and_documented() -> None:
    files = [path for path in MINI.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 60 * 2**20
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".jsonl", ".txt", ".md"}
    card = (MINI / "README.md").read_text()
    assert "CC BY-NC 4.0" in card
    assert "not for diagnosis" in card.lower()


def test_it_loads_in_plain_diffusers_with_its_p_tokens() -> None:
    plain = StableDiffusionPipeline.from_pretrained(MINI, safety_checker=None)
    assert set(P_TOKENS) <= set(plain.tokenizer.get_vocab())
    ours = load_pipeline("mini").unet.state_dict()
    for name, weight in plain.unet.state_dict().items():
        assert torch.equal(weight.float(), ours[name]), name


def test_it_knows_captions_of_every_class() -> None:
    assert set(model_captions(MINI)) == {"", *CLASSES}


@pytest.mark.slow
@pytest.mark.data
def test_its_autoencoder_restores_held_out_images(held_out: SourceManifest) -> None:
    pipeline = load_pipeline("mini")
    pixels = torch.stack([load_pixels(held_out, r, 256) for r in held_out.records])
    with torch.no_grad():
        latents = encode(pipeline.vae, pixels)
        output = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample
    error = (output.clamp(-1, 1) - pixels).square().mean((1, 2, 3))
    psnr = float((10 * torch.log10(4 / error)).mean())
    print(f"autoencoder: {psnr:.2f} dB on {len(pixels)} held-out images")
    assert psnr > 30


@pytest.mark.slow
@pytest.mark.data
def test_its_attention_finds_held_out_lesions(held_out: SourceManifest) -> None:
    """Eq. 7 on real images at a low noise level, against their real masks."""
    pipeline = load_pipeline("mini")
    pixels = torch.stack([load_pixels(held_out, r, 256) for r in held_out.records])
    real = np.stack([load_mask(held_out, r, 256)[0].numpy() > 0.5 for r in held_out.records])
    input_ids = tokenize(pipeline.tokenizer, [compose(r.caption) for r in held_out.records])
    timesteps = torch.full((len(pixels),), 50)
    noise = torch.randn(len(pixels), 4, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        noisy = pipeline.scheduler.add_noise(encode(pipeline.vae, pixels), noise, timesteps)
        context = pipeline.text_encoder(input_ids)[0]
        with captured(pipeline.unet, 32, AttentionMaps()) as maps:
            maps.positions = p_token_positions(pipeline.tokenizer, input_ids)
            maps.keep_self = True
            pipeline.unet(noisy, timesteps, context)
        attention = propagate(maps.cross_maps()[:, 0], maps.self_map(), Annotation().tau)
        masks = binarise(attention, 256, Annotation().closing)
    iou = [(m & r).sum() / (m | r).sum() for m, r in zip(masks, real, strict=True)]
    print(f"annotation: mean IoU {np.mean(iou):.3f} with the masks of {len(iou)} held-out images")
    assert np.mean(iou) > 0.65
