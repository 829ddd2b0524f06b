"""Tests of LoRA: what trains, what is saved, and that the merged model is base and adapters."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from torch import Tensor

from didgen.augment.diffusion.model_folder import load_pipeline, save_pipeline
from didgen.augment.finetuning.lora import add_adapters, merge_adapters, save_adapters
from didgen.augment.prompts.prompt import compose
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.finetune import Lora


@pytest.fixture(scope="module")
def folder(built: StableDiffusionPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model on disk."""
    path = tmp_path_factory.mktemp("base") / "model"
    save_pipeline(built, path, [])
    return path


def predict(pipeline: StableDiffusionPipeline) -> Tensor:
    """The UNet's output on fixed inputs."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 4, 32, 32, generator=generator)
    context = torch.randn(2, 77, 32, generator=generator)
    with torch.no_grad():
        return pipeline.unet(latents, 500, context).sample


def trained(
    folder: Path, lora: Lora, dtype: torch.dtype = torch.float32
) -> StableDiffusionPipeline:
    """The tiny model with adapters that are not those they began as."""
    pipeline = load_pipeline(str(folder))
    add_adapters(pipeline.unet, lora, dtype, seed=3)
    torch.manual_seed(0)
    for parameter in pipeline.unet.parameters():
        if parameter.requires_grad:
            parameter.data += 0.2 * torch.randn(parameter.shape)
    return pipeline


def test_only_adapters_train_in_float32_and_at_first_they_change_nothing(folder: Path) -> None:
    pipeline = load_pipeline(str(folder))
    before = predict(pipeline)
    add_adapters(pipeline.unet, Lora(rank=2), torch.float32, seed=3)
    torch.testing.assert_close(predict(pipeline), before)
    learned = {n: p for n, p in pipeline.unet.named_parameters() if p.requires_grad}
    assert learned
    assert all("lora_" in name for name in learned)
    half = load_pipeline(str(folder)).unet
    add_adapters(half, Lora(rank=2), torch.bfloat16, seed=3)
    for name, parameter in half.named_parameters():
        assert parameter.dtype == (torch.float32 if parameter.requires_grad else torch.bfloat16)
        assert parameter.requires_grad == (name in learned)
        # Half precision does not touch what the seed decides.
        if name in learned:
            assert torch.equal(parameter, learned[name])


@pytest.mark.parametrize("lora", [Lora(rank=2, alpha=5.0), Lora(rank=3, layers=("to_q", "conv1"))])
def test_the_merged_model_draws_what_base_and_adapters_draw(
    folder: Path, tmp_path: Path, lora: Lora
) -> None:
    adapted = trained(folder, lora)
    expected = predict(adapted)
    assert (expected - predict(load_pipeline(str(folder)))).abs().max() > 1e-2
    save_adapters(adapted.unet, tmp_path / "lora")
    assert [path.name for path in (tmp_path / "lora").iterdir()] == [
        "pytorch_lora_weights.safetensors"
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["lora"]

    base = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    base.load_lora_weights(tmp_path / "lora")
    torch.testing.assert_close(predict(base), expected, rtol=1e-4, atol=1e-5)

    merged = load_pipeline(str(folder))
    merge_adapters(merged, tmp_path / "lora")
    save_pipeline(merged, tmp_path / "model", [])
    whole = StableDiffusionPipeline.from_pretrained(tmp_path / "model", safety_checker=None)
    assert whole.unet.state_dict().keys() == load_pipeline(str(folder)).unet.state_dict().keys()
    torch.testing.assert_close(predict(whole), expected, rtol=1e-4, atol=1e-5)
    images = []
    for pipeline in (base, whole):
        pipeline.set_progress_bar_config(disable=True)
        generator = torch.Generator().manual_seed(1)
        drawn = pipeline(
            compose("nevus."), num_inference_steps=2, generator=generator, output_type="np"
        )
        images.append(drawn.images)
    np.testing.assert_allclose(images[0], images[1], atol=1e-3)


def test_adapters_of_a_half_precision_base_are_saved_whole(folder: Path, tmp_path: Path) -> None:
    adapted = trained(folder, Lora(rank=2), torch.bfloat16)
    save_adapters(adapted.unet, tmp_path / "lora")
    saved = load_file(tmp_path / "lora" / "pytorch_lora_weights.safetensors")
    learned = [p for p in adapted.unet.parameters() if p.requires_grad]
    assert {value.dtype for value in saved.values()} == {torch.float32}
    assert sum(v.numel() for v in saved.values()) == sum(p.numel() for p in learned)


@pytest.mark.parametrize(
    ("layer", "near"), [("to_qq", "to_q"), ("attn1", "attn1.to_"), ("to_out", "to_out.0")]
)
def test_a_layer_that_is_not_there_is_named_with_the_nearest(
    folder: Path, layer: str, near: str
) -> None:
    unet = load_pipeline(str(folder)).unet
    with pytest.raises(DidgenError) as caught:
        add_adapters(unet, Lora(layers=("to_k", layer)), torch.float32, 0)
    sentence = str(caught.value)
    assert f"`lora.layers` names {layer}, but no " in sentence
    assert f"the nearest name is {near}" in sentence
    assert not hasattr(unet, "peft_config")
