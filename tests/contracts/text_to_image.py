"""Contract of pipelines: what diffusers' own text-to-image pipelines can be asked for.

The list is that of diffusers' fast tests of Stable Diffusion. A test module inherits from it and
gives the pipeline, and what it is called with besides the prompt, as fixtures:

    class TestMine(TextToImageContract):
        @pytest.fixture
        def pipeline(self) -> StableDiffusionPipeline:
            return MyPipeline(...)
"""

import copy
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    LMSDiscreteScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.callbacks import SDCFGCutoffCallback
from torch import Tensor

ASKED = {
    "prompt",
    "height",
    "width",
    "num_inference_steps",
    "timesteps",
    "sigmas",
    "guidance_scale",
    "guidance_rescale",
    "negative_prompt",
    "num_images_per_prompt",
    "eta",
    "generator",
    "latents",
    "prompt_embeds",
    "negative_prompt_embeds",
    "output_type",
    "return_dict",
    "cross_attention_kwargs",
    "callback_on_step_end",
    "callback_on_step_end_tensor_inputs",
}
"""Arguments that such a pipeline takes; each has a default."""

KEPT = ("latents", "prompt_embeds", "negative_prompt_embeds")


def plain_of(pipeline: StableDiffusionPipeline) -> StableDiffusionPipeline:
    """Stable Diffusion's own pipeline over the same parts, whatever its autoencoder is."""
    return StableDiffusionPipeline.from_pipe(pipeline, vae=pipeline.vae, safety_checker=None)


class TextToImageContract:
    """What holds for every text-to-image pipeline of Stable Diffusion."""

    prompt = "a photograph of a lesion"

    @pytest.fixture
    def pipeline(self) -> StableDiffusionPipeline:
        """A tiny pipeline, which a test may change."""
        raise NotImplementedError

    @pytest.fixture
    def besides(self) -> dict[str, Any]:
        """What every call is given besides."""
        return {}

    def draw(self, pipeline: StableDiffusionPipeline, besides: dict[str, Any], **call: Any) -> Any:
        """Images of two steps from a seed, as tensors unless a call says otherwise."""
        given: dict[str, Any] = {
            "num_inference_steps": 2,
            "guidance_scale": 6.0,
            "output_type": "pt",
            "generator": torch.Generator().manual_seed(0),
        }
        if "prompt_embeds" not in call:
            given["prompt"] = self.prompt
        pipeline.set_progress_bar_config(disable=True)
        return pipeline(**(given | besides | call))[0]

    def embeddings(self, pipeline: StableDiffusionPipeline, text: str, count: int = 1) -> Tensor:
        """What diffusers' own encoding makes of a text."""
        with torch.no_grad():
            embeds, _ = pipeline.encode_prompt([text] * count, "cpu", 1, False)
        return embeds

    def test_it_takes_what_others_take(self, pipeline: StableDiffusionPipeline) -> None:
        known = inspect.signature(type(pipeline).__call__).parameters
        assert known.keys() >= ASKED
        for name in ASKED:
            assert known[name].default is not inspect.Parameter.empty, name

    def test_outputs_of_every_type_are_the_same_image(
        self, pipeline: StableDiffusionPipeline, besides: dict[str, Any]
    ) -> None:
        tensors, arrays, pictures, latents = (
            self.draw(pipeline, besides, output_type=kind) for kind in ("pt", "np", "pil", "latent")
        )
        side = 8 * pipeline.unet.config.sample_size
        assert tensors.shape == (1, 3, side, side) and 0 <= tensors.min() < tensors.max() <= 1
        np.testing.assert_array_equal(tensors.movedim(1, -1).numpy(), arrays)
        np.testing.assert_array_equal(np.asarray(pictures[0]), np.rint(255 * arrays[0]))
        decoded = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample
        decoded = pipeline.image_processor.postprocess(decoded.detach(), output_type="pt")
        torch.testing.assert_close(decoded, tensors, rtol=0, atol=1e-4)
        with pytest.raises(ValueError, match="output_type is pil, np, pt or latent, not jpg"):
            self.draw(pipeline, besides, output_type="jpg")

    def test_a_tuple_holds_what_the_output_holds(
        self, pipeline: StableDiffusionPipeline, besides: dict[str, Any]
    ) -> None:
        named = self.draw(pipeline, besides)
        torch.testing.assert_close(self.draw(pipeline, besides, return_dict=False), named)

    def test_it_is_saved_and_loaded_without_its_optional_parts(
        self, pipeline: StableDiffusionPipeline, besides: dict[str, Any], tmp_path: Path
    ) -> None:
        pipeline.save_pretrained(tmp_path)
        loaded = type(pipeline).from_pretrained(tmp_path, safety_checker=None)
        assert loaded.components.keys() == pipeline.components.keys()
        assert loaded.safety_checker is loaded.feature_extractor is loaded.image_encoder is None
        torch.testing.assert_close(self.draw(loaded, besides), self.draw(pipeline, besides))

    def test_its_components_make_it_again(
        self, pipeline: StableDiffusionPipeline, besides: dict[str, Any]
    ) -> None:
        again = type(pipeline)(**pipeline.components, requires_safety_checker=False)
        torch.testing.assert_close(self.draw(again, besides), self.draw(pipeline, besides))

    def test_it_is_made_from_another_pipeline_and_makes_one(
        self, pipeline: StableDiffusionPipeline, besides: dict[str, Any]
    ) -> None:
        plain = plain_of(pipeline)
        mine = type(pipeline).from_pipe(plain)
        assert mine.unet is pipeline.unet and mine.config.keys() == plain.config.keys()
        torch.testing.assert_close(self.draw(mine, besides), self.draw(pipeline, besides))

    def test_without_more_it_draws_what_stable_diffusion_draws(
        self, pipeline: StableDiffusionPipeline
    ) -> None:
        plain = plain_of(pipeline)
        for scale in (6.0, 1.0, 0.5):
            wanted = self.draw(plain, {}, guidance_scale=scale)
            found = self.draw(pipeline, {}, guidance_scale=scale)
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)

    def test_a_sample_is_its_own_in_any_batch(
        self, pipeline: StableDiffusionPipeline, besides: dict[str, Any]
    ) -> None:
        prompts = [self.prompt, "very long " * 100, ""]
        generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
        together = self.draw(pipeline, {}, prompt=prompts, generator=generators)
        assert len(together) == 3
        alone = self.draw(pipeline, {})
        torch.testing.assert_close(together[:1], alone, rtol=0, atol=1e-3)

    @pytest.mark.parametrize("count", [1, 2])
    def test_images_of_a_prompt_lie_side_by_side(
        self, pipeline: StableDiffusionPipeline, count: int
    ) -> None:
        prompts = [self.prompt, "skin"][:count]
        generators = [torch.Generator().manual_seed(seed) for seed in range(2 * count)]
        call = {"num_images_per_prompt": 2, "generator": generators}
        drawn = self.draw(pipeline, {}, prompt=prompts, **call)
        assert len(drawn) == 2 * count
        generators = [torch.Generator().manual_seed(seed) for seed in range(2 * count)]
        repeated = [prompt for prompt in prompts for _ in range(2)]
        wanted = self.draw(pipeline, {}, prompt=repeated, generator=generators)
        torch.testing.assert_close(drawn, wanted, rtol=0, atol=1e-4)

    def test_without_guidance_the_batch_is_not_doubled(
        self, pipeline: StableDiffusionPipeline, besides: dict[str, Any]
    ) -> None:
        sizes: list[int] = []
        watch = pipeline.unet.conv_in.register_forward_hook(
            lambda _, given, __: sizes.append(len(given[0]))
        )
        shapes = {self.draw(pipeline, besides, guidance_scale=1.0).shape}
        assert set(sizes) == {1}
        shapes.add(self.draw(pipeline, besides, guidance_scale=7.5).shape)
        assert len(shapes) == 1 and max(sizes) <= 2
        watch.remove()

    def test_latents_stand_for_a_generator(
        self, pipeline: StableDiffusionPipeline, besides: dict[str, Any]
    ) -> None:
        side = pipeline.unet.config.sample_size
        noise = torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(0))
        found = self.draw(pipeline, besides, latents=noise, generator=None)
        torch.testing.assert_close(found, self.draw(pipeline, besides))

    def test_embeddings_stand_for_prompts(self, pipeline: StableDiffusionPipeline) -> None:
        prompts = {"prompt": [self.prompt] * 2, "negative_prompt": ["blurred"] * 2}
        wanted = self.draw(pipeline, {}, **prompts)
        embeds = self.embeddings(pipeline, self.prompt, 2)
        negative = self.embeddings(pipeline, "blurred", 2)
        for against in ({"negative_prompt_embeds": negative}, {"negative_prompt": "blurred"}):
            found = self.draw(pipeline, {}, prompt_embeds=embeds, **against)
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)

    def test_it_draws_without_a_text_encoder(self, pipeline: StableDiffusionPipeline) -> None:
        wanted = self.draw(pipeline, {})
        embeds, negative = (self.embeddings(pipeline, text) for text in (self.prompt, ""))
        parts = pipeline.components | {"text_encoder": None, "tokenizer": None}
        bare = type(pipeline)(**parts, requires_safety_checker=False)
        found = self.draw(bare, {}, prompt_embeds=embeds, negative_prompt_embeds=negative)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)

    def test_negative_prompts_are_one_for_all_or_one_each(
        self, pipeline: StableDiffusionPipeline
    ) -> None:
        def drawn(negative: Any, *seeds: int) -> Tensor:
            generators = [torch.Generator().manual_seed(seed) for seed in seeds]
            prompts = [self.prompt] * len(seeds)
            call = {"prompt": prompts, "negative_prompt": negative, "generator": generators}
            return self.draw(pipeline, {}, **call)

        torch.testing.assert_close(drawn("hair", 0, 1), drawn(["hair", "hair"], 0, 1))
        mixed = drawn(["hair", "ink"], 0, 1)
        torch.testing.assert_close(mixed[1:], drawn("ink", 1), rtol=0, atol=1e-4)
        assert (mixed[1:] - drawn("hair", 1)).abs().max() > 1e-3
        with pytest.raises(ValueError, match="negative_prompt has 1 prompts for 2 of prompt"):
            drawn(["hair"], 0, 1)

    @pytest.mark.parametrize("size", [(64, 64), (128, 160), (160, 96)])
    def test_images_have_the_size_that_is_asked_for(
        self, pipeline: StableDiffusionPipeline, size: tuple[int, int]
    ) -> None:
        height, width = size
        assert self.draw(pipeline, {}, height=height, width=width).shape == (1, 3, height, width)
        assert self.draw(pipeline, {}, width=width).shape[-1] == width

    def test_a_size_that_no_latents_have_is_refused(
        self, pipeline: StableDiffusionPipeline
    ) -> None:
        with pytest.raises(ValueError, match="divisible by 8"):
            self.draw(pipeline, {}, height=250)

    def test_a_model_of_another_shape_draws_its_own_size(
        self, pipeline: StableDiffusionPipeline
    ) -> None:
        config = {**pipeline.unet.config, "sample_size": (16, 20)}
        parts = pipeline.components | {"unet": UNet2DConditionModel.from_config(config)}
        wide = type(pipeline)(**parts, requires_safety_checker=False)
        assert self.draw(wide, {}).shape == (1, 3, 128, 160)

    @pytest.mark.parametrize("wanted", [("latents",), KEPT])
    def test_a_callback_sees_what_it_asks_for_and_may_change_it(
        self, pipeline: StableDiffusionPipeline, besides: dict[str, Any], wanted: tuple[str, ...]
    ) -> None:
        seen: list[tuple[int, set[str]]] = []

        def change(pipe: Any, number: int, _: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            seen.append((number, set(tensors)))
            if number == pipe.num_timesteps - 1:
                tensors["latents"] = torch.zeros_like(tensors["latents"])
            return tensors

        call = {"callback_on_step_end": change, "callback_on_step_end_tensor_inputs": wanted}
        latents = self.draw(pipeline, besides, output_type="latent", **call)
        assert seen == [(0, set(wanted)), (1, set(wanted))]
        assert not latents.any()
        with pytest.raises(ValueError, match="tensor_inputs"):
            self.draw(pipeline, besides, callback_on_step_end_tensor_inputs=["noise"])

    def test_a_callback_may_change_the_scale(
        self, pipeline: StableDiffusionPipeline, besides: dict[str, Any]
    ) -> None:
        def push(pipe: Any, *arguments: Any) -> dict[str, Any]:
            pipe._guidance_scale += 1.0
            return arguments[-1]

        plain = self.draw(pipeline, besides, guidance_scale=2.0)
        pushed = self.draw(pipeline, besides, guidance_scale=2.0, callback_on_step_end=push)
        assert pipeline.guidance_scale == 2.0 + pipeline.num_timesteps
        assert (plain - pushed).abs().max() > 1e-4

    def test_guidance_may_end_on_the_way(
        self, pipeline: StableDiffusionPipeline, besides: dict[str, Any]
    ) -> None:
        cut = SDCFGCutoffCallback(cutoff_step_ratio=None, cutoff_step_index=0)
        found = self.draw(pipeline, besides, callback_on_step_end=cut)
        assert pipeline.guidance_scale == 0
        assert (found - self.draw(pipeline, besides)).abs().max() > 1e-4

    def test_an_interrupted_call_gives_what_it_has(
        self, pipeline: StableDiffusionPipeline, besides: dict[str, Any]
    ) -> None:
        kept: list[Tensor] = []

        def keep(_: Any, __: int, ___: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            kept.append(tensors["latents"])
            return tensors

        def stop(pipe: Any, number: int, _: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            pipe._interrupt = number == 0
            return tensors

        self.draw(pipeline, besides, callback_on_step_end=keep)
        call = {"callback_on_step_end": stop, "output_type": "latent"}
        torch.testing.assert_close(self.draw(pipeline, besides, **call), kept[0])

    @pytest.mark.parametrize(
        "scheduler", [LMSDiscreteScheduler, EulerDiscreteScheduler, EulerAncestralDiscreteScheduler]
    )
    def test_schedulers_of_diffusers_draw(
        self, pipeline: StableDiffusionPipeline, besides: dict[str, Any], scheduler: Any
    ) -> None:
        pipeline.scheduler = scheduler(beta_schedule="scaled_linear", steps_offset=1)
        plain = plain_of(pipeline)
        torch.testing.assert_close(self.draw(pipeline, {}), self.draw(plain, {}), rtol=0, atol=1e-3)
        assert torch.isfinite(self.draw(pipeline, besides)).all()

    def test_steps_may_be_given_one_by_one(
        self, pipeline: StableDiffusionPipeline, besides: dict[str, Any]
    ) -> None:
        pipeline.scheduler = EulerDiscreteScheduler(beta_schedule="scaled_linear", steps_offset=1)
        given = {"num_inference_steps": None}
        few = self.draw(pipeline, besides | given, timesteps=[900, 500, 100])
        assert pipeline.num_timesteps == 3
        sigmas = pipeline.scheduler.sigmas[:-1].tolist()
        same = self.draw(pipeline, besides | given, sigmas=sigmas)
        torch.testing.assert_close(few, same, rtol=0, atol=1e-2)

    def test_a_model_that_is_given_its_scale_is_asked_once(
        self, pipeline: StableDiffusionPipeline, besides: dict[str, Any]
    ) -> None:
        torch.manual_seed(0)
        config = {**pipeline.unet.config, "time_cond_proj_dim": 32, "_use_default_values": []}
        unet = UNet2DConditionModel.from_config(config)
        torch.nn.init.normal_(unet.time_embedding.cond_proj.weight)
        pipeline.unet = unet.eval()
        pipeline.scheduler = LCMScheduler(beta_schedule="scaled_linear", steps_offset=1)
        found = self.draw(pipeline, besides)
        other = self.draw(pipeline, besides, guidance_scale=2.0)
        assert (found - other).abs().max() > 1e-4
        plain = plain_of(pipeline)
        torch.testing.assert_close(self.draw(pipeline, {}), self.draw(plain, {}), rtol=0, atol=1e-3)

    @pytest.mark.parametrize("how", ["slicing", "tiling"])
    def test_images_are_decoded_in_parts(self, pipeline: StableDiffusionPipeline, how: str) -> None:
        prompts = [self.prompt] * 2
        whole = self.draw(pipeline, {}, prompt=prompts)
        getattr(pipeline.vae, f"enable_{how}")()
        calls: list[int] = []
        watch = pipeline.vae.decoder.register_forward_hook(
            lambda _, given, __: calls.append(len(given[0]))
        )
        parts = self.draw(pipeline, {}, prompt=prompts)
        watch.remove()
        assert calls if how == "tiling" else calls == [1, 1]
        torch.testing.assert_close(parts, whole, rtol=0, atol=3e-3 if how == "slicing" else 0.5)

    @pytest.mark.parametrize("how", ["attention slicing", "fused projections", "freeu"])
    def test_what_diffusers_turns_on_works_and_turns_off(
        self, pipeline: StableDiffusionPipeline, besides: dict[str, Any], how: str
    ) -> None:
        before = self.draw(pipeline, besides)
        if how == "attention slicing":
            pipeline.enable_attention_slicing(slice_size=1)
        elif how == "fused projections":
            pipeline.unet.fuse_qkv_projections()
        else:
            pipeline.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4)
        turned_on = self.draw(pipeline, besides)
        if how == "attention slicing":
            pipeline.disable_attention_slicing()
        elif how == "fused projections":
            pipeline.unet.unfuse_qkv_projections()
        else:
            pipeline.disable_freeu()
        torch.testing.assert_close(self.draw(pipeline, besides), before, rtol=0, atol=1e-3)
        if how != "freeu":
            torch.testing.assert_close(turned_on, before, rtol=0, atol=1e-2)

    def test_models_take_turns_on_the_device(
        self, pipeline: StableDiffusionPipeline, besides: dict[str, Any]
    ) -> None:
        expected = self.draw(pipeline, besides)
        moves: list[str] = []
        for name in ("text_encoder", "unet", "vae"):
            module = getattr(pipeline, name)
            to = module.to

            def moved(*arguments: Any, _to: Any = to, _name: str = name, **given: Any) -> Any:
                moves.append(_name)
                return _to(*arguments, **given)

            module.to = moved
        pipeline.enable_model_cpu_offload(device="cpu")
        moves.clear()
        torch.testing.assert_close(self.draw(pipeline, besides), expected)
        assert list(dict.fromkeys(moves)) == ["text_encoder", "unet", "vae"]

    @pytest.mark.gpu
    @pytest.mark.parametrize("how", ["model", "sequential"])
    def test_models_wait_off_the_gpu(
        self, pipeline: StableDiffusionPipeline, besides: dict[str, Any], how: str
    ) -> None:
        expected = self.draw(copy.deepcopy(pipeline).to("cuda"), besides).cpu()
        getattr(pipeline, f"enable_{how}_cpu_offload")()
        for _ in range(2):
            found = self.draw(pipeline, besides).cpu()
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
        assert next(pipeline.unet.parameters()).device.type != "cuda"
