"""Tests of the sampler: seeds, batches, guidance and annotation on a tiny model."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionPipeline
from PIL import Image
from torch import Tensor

from didgen.augment.diffusion.attention import captured
from didgen.augment.diffusion.noise import initial_noise
from didgen.augment.diffusion.pipeline import (
    LesionPairPipeline,
    LesionPairs,
    as_layouts,
    draw,
)
from didgen.augment.diffusion.schedulers import SCHEDULERS, scheduler_of
from didgen.augment.diffusion.small_model import build_pipeline
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.sampling import Annotation, AttentionMaps, Guidance, Sampling
from didgen.manifests.recipes.small_model import Build
from tests.contracts.text_to_image import TextToImageContract
from tests.fixtures.tiny_model import PROMPTS, SEEDS, sharpen, start

QUICK = Sampling(steps=2, annotation=Annotation(flat=0))
MAPS = AttentionMaps()


@pytest.fixture(scope="module")
def layouts(disc: Tensor) -> Tensor:
    """Three layouts: a disc, its mirror image, and a lesion that fills the lower half."""
    half = torch.zeros_like(disc)
    half[..., 128:, :] = 1
    return torch.cat([disc, disc.flip(-1), half])


class TestLesionPairPipeline(TextToImageContract):
    prompt = PROMPTS[0]

    @pytest.fixture
    def pipeline(self, sampler: LesionPairPipeline) -> StableDiffusionPipeline:
        parts = {
            name: copy.deepcopy(sampler.components[name])
            for name in ("unet", "vae", "text_encoder", "scheduler")
        }
        # A quarter of the pixels, in which the maps have half the sides.
        parts["unet"].register_to_config(sample_size=16)
        return LesionPairPipeline(**sampler.components | parts, requires_safety_checker=False)

    @pytest.fixture(params=["images", "pairs"])
    def besides(self, disc: Tensor, request: pytest.FixtureRequest) -> dict[str, Any]:
        if request.param == "images":
            return {}
        return {"masks": disc, "maps": MAPS.halved()}


def test_the_same_seed_gives_the_same_pair(sampler: LesionPairPipeline, layouts: Tensor) -> None:
    one, same = (draw(sampler, PROMPTS[:1], SEEDS[:1], QUICK, layouts[:1]) for _ in range(2))
    other = draw(sampler, PROMPTS[:1], [12], QUICK, layouts[:1])
    np.testing.assert_array_equal(one.images, same.images)
    np.testing.assert_array_equal(one.masks, same.masks)
    np.testing.assert_array_equal(one.attention, same.attention)
    assert (one.images != other.images).any()


def test_what_is_drawn_has_the_shapes_it_says(sampler: LesionPairPipeline, layouts: Tensor) -> None:
    pairs = draw(sampler, PROMPTS[:2], SEEDS[:2], Sampling(steps=2), layouts[:2])
    assert pairs.images.shape == (2, 256, 256, 3)
    assert pairs.images.dtype == np.uint8
    assert pairs.masks is not None
    assert pairs.masks.shape == (2, 256, 256)
    assert pairs.masks.dtype == bool
    assert pairs.attention is not None
    assert pairs.attention.shape == (2, MAPS.self_side, MAPS.self_side)
    assert pairs.attention.min() == 0
    assert pairs.attention.max() == 1
    images = draw(sampler, PROMPTS[:1], SEEDS[:1], Sampling(steps=2))
    assert images.masks is None
    assert images.attention is None


def test_a_batch_is_its_samples_one_by_one(sampler: LesionPairPipeline, layouts: Tensor) -> None:
    together = draw(sampler, PROMPTS, SEEDS, QUICK, layouts)
    assert together.attention is not None
    for number in range(3):
        one = slice(number, number + 1)
        alone = draw(sampler, PROMPTS[one], SEEDS[one], QUICK, layouts[one])
        difference = np.abs(together.images[one].astype(int) - alone.images)
        # Sums of floats in another order: 2 of 256 levels.
        assert difference.max() <= 2
        assert alone.attention is not None
        np.testing.assert_allclose(together.attention[one], alone.attention, atol=1e-2)


def test_prompt_layout_and_each_loss_change_the_image(
    sampler: LesionPairPipeline, layouts: Tensor
) -> None:
    def drawn(prompt: str, layout: Tensor | None, **guidance: bool | float) -> np.ndarray:
        sampling = Sampling(steps=2, guidance=Guidance(**guidance))
        return draw(sampler, [prompt], [5], sampling, layout).images

    plain = drawn(PROMPTS[0], None)
    assert (drawn(PROMPTS[1], None) != plain).any()
    results = [
        drawn(PROMPTS[0], layouts[:1]),
        drawn(PROMPTS[0], layouts[1:2]),
        drawn(PROMPTS[0], layouts[:1], self_attention=False),
        drawn(PROMPTS[0], layouts[:1], cross_attention=False),
        plain,
    ]
    for number, one in enumerate(results):
        assert all((one != other).any() for other in results[:number])


def test_the_recipes_rescaling_reaches_what_is_drawn(sampler: LesionPairPipeline) -> None:
    pushed, rescaled = (
        draw(sampler, PROMPTS[:1], SEEDS[:1], Sampling(steps=2, cfg_rescale=share)).images
        for share in (0, 0.7)
    )
    assert (pushed != rescaled).any()


@pytest.mark.parametrize(
    "guidance",
    [
        Guidance(eta=0),
        Guidance(until=0),
        Guidance(cross_attention=False, self_attention=False),
    ],
)
def test_guidance_switched_off_draws_the_plain_image(
    sampler: LesionPairPipeline, layouts: Tensor, guidance: Guidance
) -> None:
    sampling = Sampling(steps=2, guidance=guidance)
    plain = draw(sampler, PROMPTS[:1], SEEDS[:1], sampling)
    pairs = draw(sampler, PROMPTS[:1], SEEDS[:1], sampling, layouts[:1])
    # The last pass forms its softmax in another way.
    assert np.abs(plain.images.astype(int) - pairs.images).max() <= 1


@pytest.mark.parametrize("name", ["dpm++", "ddim", "pndm"])
def test_every_scheduler_draws_with_the_models_noise_schedule(
    shape: Build, name: str, layouts: Tensor
) -> None:
    epsilon = shape.model_copy(update={"prediction_type": "epsilon"})
    plain = build_pipeline(epsilon, PROMPTS, 256, 0)
    model = LesionPairPipeline(**plain.components, requires_safety_checker=False)
    scheduler = scheduler_of(model, name)
    assert isinstance(scheduler, SCHEDULERS[name])
    torch.testing.assert_close(scheduler.alphas_cumprod, plain.scheduler.alphas_cumprod)
    sampling = Sampling.model_validate({"scheduler": name, "steps": 4})
    drawn = draw(model, PROMPTS[:1], SEEDS[:1], sampling, layouts[:1])
    assert drawn.images.std() > 0
    scheduler.set_timesteps(50)
    assert len(scheduler.timesteps) <= 51


def test_a_prompt_without_p_tokens_is_refused_where_it_is_to_be_guided(
    sampler: LesionPairPipeline, layouts: Tensor
) -> None:
    prompts = [PROMPTS[0], "a melanoma"]
    with pytest.raises(DidgenError, match=r"exactly once .* as `compose`"):
        draw(sampler, prompts, [1, 2], QUICK, layouts[:2])
    assert len(draw(sampler, prompts, [1, 2], QUICK).images) == 2


def test_a_model_too_small_for_the_maps_is_refused(shape: Build, layouts: Tensor) -> None:
    plain = build_pipeline(shape, PROMPTS, 128, 0)
    model = LesionPairPipeline(**plain.components, requires_safety_checker=False)
    assert model.image_size == 128
    with pytest.raises(DidgenError, match="no 32x32 self-attention layer at 16x16 latents"):
        draw(model, PROMPTS[:1], SEEDS[:1], QUICK, layouts[:1])


def test_called_as_a_diffusers_pipeline_it_draws_the_same_pair(
    sampler: LesionPairPipeline, layouts: Tensor
) -> None:
    expected = draw(sampler, PROMPTS, SEEDS, QUICK, layouts)
    pictures = [Image.fromarray((mask[0].numpy() * 255).astype(np.uint8)) for mask in layouts]
    for masks in (layouts, layouts[:, 0], layouts.numpy(), pictures, list(layouts[:, 0])):
        drawn = sampler(
            PROMPTS,
            masks,
            num_inference_steps=2,
            latents=initial_noise(SEEDS, (4, 32, 32)),
            annotation=QUICK.annotation,
        )
        assert isinstance(drawn, LesionPairs)
        assert [image.mode for image in drawn.images] == ["RGB"] * 3
        assert drawn.masks is not None
        for number in range(3):
            np.testing.assert_array_equal(drawn.images[number], expected.images[number])
            assert expected.masks is not None
            mask = np.asarray(drawn.masks[number])
            np.testing.assert_array_equal(mask, expected.masks[number] * np.uint8(255))


def test_it_is_saved_and_loaded_as_a_diffusers_pipeline(
    sampler: LesionPairPipeline, layouts: Tensor, tmp_path: Path
) -> None:
    sampler.save_pretrained(tmp_path)
    loaded = LesionPairPipeline.from_pretrained(tmp_path, safety_checker=None)
    loaded.set_progress_bar_config(disable=True)
    pairs: list[Any] = [
        pipeline(PROMPTS[0], layouts[:1], num_inference_steps=2, generator=seeded, output_type="np")
        for pipeline in (sampler, loaded)
        for seeded in [torch.Generator().manual_seed(4)]
    ]
    np.testing.assert_array_equal(pairs[0].images, pairs[1].images)
    np.testing.assert_array_equal(pairs[0].masks, pairs[1].masks)


@pytest.mark.parametrize(
    ("masks", "sentence"),
    [
        (torch.zeros(2, 1, 8, 8), r"masks of 1 prompts are \(1, 1, H, W\), not .*2, 1, 8, 8"),
        (torch.zeros(1, 1, 8, 9), r"masks are square, like the images, not \(8, 9\)"),
        (torch.full((1, 8, 8), 255), "divide levels"),
        (np.full((1, 8, 8), -1.0), r"\[0, 1\]"),
    ],
)
def test_layouts_of_another_number_shape_or_range_are_refused(
    masks: Tensor | np.ndarray, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        as_layouts(masks, 1)


def test_a_scheduler_that_draws_noise_draws_it_by_the_samples_seed(
    sampler: LesionPairPipeline,
) -> None:
    parts = {**sampler.components}
    parts["scheduler"] = EulerAncestralDiscreteScheduler(steps_offset=1)
    model = LesionPairPipeline(**parts, requires_safety_checker=False)
    model.set_progress_bar_config(disable=True)
    images = []
    for prompts in (PROMPTS[:1], PROMPTS[:2], PROMPTS[:1]):
        seeded = [torch.Generator().manual_seed(seed) for seed in SEEDS[: len(prompts)]]
        drawn = model(prompts, num_inference_steps=3, generator=seeded, output_type="np")
        assert isinstance(drawn, LesionPairs)
        images.append(np.rint(255 * drawn.images[0]).astype(int))
    assert images[0].std() > 1
    np.testing.assert_array_equal(images[0], images[2])
    assert np.abs(images[0] - images[1]).max() <= 2


def test_guidance_asks_for_no_weight_gradients_and_leaves_them_as_they_were(
    sampler: LesionPairPipeline, layouts: Tensor
) -> None:
    first, *others = sampler.unet.parameters()
    first.requires_grad_(False)
    try:
        draw(sampler, PROMPTS[:1], SEEDS[:1], QUICK, layouts[:1])
        assert not first.requires_grad
        assert all(parameter.requires_grad for parameter in others)
        assert all(parameter.grad is None for parameter in others)
    finally:
        first.requires_grad_(True)


@pytest.mark.parametrize("scheduler", ["dpm++", "ddim"])
def test_the_recipes_choices_of_maps_reach_guidance_and_annotation(
    sampler: LesionPairPipeline, layouts: Tensor, scheduler: str
) -> None:
    def attention(**sampling: object) -> np.ndarray:
        asked = {"scheduler": scheduler, "steps": 2, **sampling}
        drawn = draw(sampler, PROMPTS[:1], SEEDS[:1], Sampling.model_validate(asked), layouts[:1])
        assert drawn.attention is not None
        return drawn.attention

    choices: list[dict[str, object]] = [
        {},
        {"maps": {"sharpness": 100.0}},
        {"maps": {"parts": ["up"]}},
        {"maps": {"normalised": False}},
        {"maps": {"cross_side": 32}},
        {"guidance": {"decay": "sqrt", "until": 1.0}},
        {"guidance": {"smoothing_sigma": 2.0}},
        {"guidance": {"normaliser": "paper"}},
        {"annotation": {"tau": 0}},
        {"annotation": {"timestep": 700}},
    ]
    found = [attention(**choice) for choice in choices]
    for number, one in enumerate(found):
        assert all((one != other).any() for other in found[:number]), choices[number]
    assert attention(maps={"self_side": 16}).shape == (1, 16, 16)


@pytest.mark.parametrize("weights", [True, False], ids=["bf16 weights", "autocast"])
def test_in_bf16_it_draws_nearly_the_same_pair(
    sampler: LesionPairPipeline, layouts: Tensor, weights: bool
) -> None:
    exact = draw(sampler, PROMPTS[:2], SEEDS[:2], QUICK, layouts[:2])
    if weights:
        sampler = LesionPairPipeline(
            **copy.deepcopy(sampler.components), requires_safety_checker=False
        ).to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16, enabled=not weights):
        half = draw(sampler, PROMPTS[:2], SEEDS[:2], QUICK, layouts[:2])
    assert exact.attention is not None
    assert half.attention is not None
    assert half.attention.dtype == np.float32
    assert np.abs(exact.attention - half.attention).mean() < 0.05
    assert np.abs(np.asarray(exact.images, int) - half.images).mean() < 4


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("update", ["before", "after"])
def test_a_gpu_draws_nearly_the_same_pair(
    sampler: LesionPairPipeline, layouts: Tensor, dtype: torch.dtype, compiled: bool, update: str
) -> None:
    sampling = QUICK.model_copy(update={"guidance": Guidance.model_validate({"update": update})})
    exact = draw(sampler, PROMPTS[:2], SEEDS[:2], sampling, layouts[:2])
    parts = copy.deepcopy(sampler.components)
    there = LesionPairPipeline(**parts, requires_safety_checker=False).to("cuda", dtype)
    if compiled:
        there.unet.compile()
    found = draw(there, PROMPTS[:2], SEEDS[:2], sampling, layouts[:2])
    assert exact.attention is not None and found.attention is not None
    assert np.abs(exact.attention - found.attention).mean() < 0.05
    assert np.abs(np.asarray(exact.images, int) - found.images).mean() < 4


@pytest.mark.slow
def test_a_compiled_unet_serves_the_ordinary_passes(
    sampler: LesionPairPipeline, layouts: Tensor
) -> None:
    expected = draw(sampler, PROMPTS[:1], SEEDS[:1], QUICK, layouts[:1])
    parts = {**sampler.components, "unet": torch.compile(sampler.unet, backend="eager")}
    compiled = LesionPairPipeline(**parts, requires_safety_checker=False)
    drawn = draw(compiled, PROMPTS[:1], SEEDS[:1], QUICK, layouts[:1])
    assert np.abs(np.asarray(drawn.images, int) - expected.images).max() <= 1


# PNDM cannot sample the tiny model, which is trained to zero terminal SNR.
@pytest.mark.parametrize("scheduler", sorted({*SCHEDULERS} - {"pndm"}))
def test_watching_changes_no_bit_and_sees_the_maps(
    sampler: LesionPairPipeline, layouts: Tensor, scheduler: str
) -> None:
    sampling = Sampling(steps=8, scheduler=scheduler)
    asked = (sampler, PROMPTS[:3], SEEDS, sampling, layouts)
    blind, watched = draw(*asked), draw(*asked, watched=2)
    np.testing.assert_array_equal(watched.images, blind.images)
    np.testing.assert_array_equal(watched.masks, blind.masks)
    np.testing.assert_array_equal(watched.attention, blind.attention)
    assert blind.history is None and watched.history is not None
    assert watched.history.shape == (2, 6, 16, 16)
    # A map is the share of the lesion token among all tokens.
    assert (watched.history > 0).all() and (watched.history < 1).all()
    assert np.abs(np.diff(watched.history, axis=1)).max() > 0


def test_the_first_map_is_that_of_the_guided_noise(
    sampler: LesionPairPipeline, layouts: Tensor
) -> None:
    sampling = Sampling(steps=8, guidance=Guidance(eta=0))
    drawn = draw(sampler, PROMPTS[:2], SEEDS[:2], sampling, layouts[:2], watched=1)
    assert drawn.history is not None
    noise = initial_noise(SEEDS[:2], (4, 32, 32))
    with torch.no_grad():
        embeds, _ = sampler.texts(PROMPTS[:2])
    condition = sampler.condition(PROMPTS[:2], embeds, layouts[:2])
    scheduler = scheduler_of(sampler, sampling.scheduler)
    scheduler.set_timesteps(8)
    with torch.no_grad(), captured(sampler.unet, 32, MAPS) as maps:
        maps.positions = condition.positions
        start = noise * scheduler.init_noise_sigma
        sampler.unet(start, scheduler.timesteps[0], condition.context)
    wanted = maps.cross_maps()[0, 0].numpy()
    np.testing.assert_allclose(drawn.history[0, 0], wanted, rtol=1e-4, atol=1e-6)


def test_images_without_layouts_are_not_watched(sampler: LesionPairPipeline) -> None:
    drawn = draw(sampler, PROMPTS[:1], SEEDS[:1], QUICK, watched=1)
    assert drawn.history is None


@pytest.mark.parametrize("scheduler", ["dpm++", "ddim", "pndm"])
def test_maps_are_read_at_the_timestep_that_is_asked_for(
    shape: Build, layouts: Tensor, scheduler: str
) -> None:
    epsilon = shape.model_copy(update={"prediction_type": "epsilon"})
    plain = sharpen(build_pipeline(epsilon, PROMPTS, 256, 0))
    model = LesionPairPipeline(**plain.components, requires_safety_checker=False)

    def drawn(timestep: int | None, batch: slice = slice(2)) -> LesionPairs:
        asked = {"scheduler": scheduler, "steps": 2, "annotation": {"timestep": timestep}}
        sampling = Sampling.model_validate(asked)
        return draw(model, PROMPTS[batch], SEEDS[batch], sampling, layouts[batch], watched=1)

    last, early, late = (drawn(timestep) for timestep in (None, 900, 20))
    # Only the masks are others: the last pass forms its softmax in another way.
    assert np.abs(last.images.astype(int) - late.images).max() <= 1
    np.testing.assert_array_equal(early.images, late.images)
    maps = [np.asarray(one.attention) for one in (last, early, late)]
    assert (maps[0] != maps[1]).any() and (maps[1] != maps[2]).any()
    assert last.history is not None and early.history is not None
    np.testing.assert_array_equal(last.history[:, :-1], early.history[:, :-1])
    assert (last.history[:, -1] != early.history[:, -1]).any()
    # The noise is the sample's own first noise, so its batch does not matter.
    alone = drawn(900, slice(1, 2))
    assert alone.attention is not None and early.attention is not None
    np.testing.assert_allclose(early.attention[1:], alone.attention, atol=1e-2)


def test_a_timestep_that_was_not_trained_with_is_refused(
    sampler: LesionPairPipeline, layouts: Tensor
) -> None:
    sampling = Sampling(steps=2, annotation=Annotation(timestep=1000))
    with pytest.raises(DidgenError, match=r"timestep` is 1000, but the model's .* end at 999"):
        draw(sampler, PROMPTS[:1], SEEDS[:1], sampling, layouts[:1])


def test_a_pair_says_how_clearly_its_attention_parts(
    sampler: LesionPairPipeline, layouts: Tensor
) -> None:
    pairs = draw(sampler, PROMPTS[:2], SEEDS[:2], QUICK, layouts[:2])
    assert pairs.contrast is not None and pairs.separability is not None
    assert (pairs.contrast > 0).all() and (pairs.separability > 0.3).all()
    assert pairs.contrast.shape == pairs.separability.shape == (2,)
    unsure = Sampling(steps=2, annotation=Annotation(flat=1))
    flat = draw(sampler, PROMPTS[:2], SEEDS[:2], unsure, layouts[:2])
    assert flat.masks is not None and flat.separability is not None
    assert not flat.masks.any() and not flat.separability.any()
    np.testing.assert_array_equal(flat.contrast, pairs.contrast)
    np.testing.assert_array_equal(flat.attention, pairs.attention)


def test_tries_of_a_seed_are_other_samples(sampler: LesionPairPipeline) -> None:
    first, same, second = (
        draw(sampler, PROMPTS[:1], [seed], QUICK).images for seed in (5, (5, 0), (5, 1))
    )
    np.testing.assert_array_equal(first, same)
    assert (first != second).any()


def test_seeds_that_differ_above_32_bits_are_other_samples(sampler: LesionPairPipeline) -> None:
    one, other = (draw(sampler, PROMPTS[:1], [seed], QUICK).images for seed in (5, 5 + 2**32))
    assert (one != other).any()


def test_pairs_that_are_not_square_have_maps_and_masks_of_their_shape(
    sampler: LesionPairPipeline,
) -> None:
    layout = torch.zeros(1, 1, 64, 96)
    layout[..., :40, 60:] = 1
    call: dict[str, Any] = {
        "height": 256,
        "width": 384,
        "num_inference_steps": 2,
        "annotation": Annotation(flat=0),
        "latents": torch.randn(1, 4, 32, 48, generator=torch.Generator().manual_seed(0)),
        "output_type": "np",
        "watched": 1,
    }
    pair = sampler(PROMPTS[0], layout, **call)
    assert isinstance(pair, LesionPairs)
    assert pair.images.shape == (1, 256, 384, 3) and pair.masks.shape == (1, 256, 384)
    assert pair.attention is not None and pair.attention.shape == (1, 32, 48)
    assert pair.history is not None and pair.history.shape == (1, 2, 16, 24)
    other = sampler(PROMPTS[0], layout.flip(-1), **call)
    assert isinstance(other, LesionPairs)
    assert (other.images != pair.images).any()
    with pytest.raises(ValueError, match=r"in proportions of 256 to 384, .* not \(64, 64\)"):
        sampler(PROMPTS[0], layout[..., :64], **call)


def test_pairs_come_in_the_form_of_their_images(
    sampler: LesionPairPipeline, layouts: Tensor
) -> None:
    def pair(kind: str, **call: Any) -> Any:
        asked: dict[str, Any] = {
            "latents": start(1),
            "num_inference_steps": 2,
            "output_type": kind,
        } | call
        return sampler(PROMPTS[0], layouts[:1], annotation=QUICK.annotation, **asked)

    arrays = pair("np")
    assert arrays.images.dtype == np.float32 and arrays.masks.dtype == bool
    for kind in ("pt", "latent"):
        np.testing.assert_array_equal(pair(kind).masks, arrays.masks)
    images, masks = pair("pil", return_dict=False)
    assert images[0].mode == "RGB" and masks[0].mode == "L"
    np.testing.assert_array_equal(np.asarray(masks[0]) > 0, arrays.masks[0])


def test_images_of_a_prompt_share_its_layout(sampler: LesionPairPipeline, layouts: Tensor) -> None:
    call: dict[str, Any] = {"latents": start(4), "num_inference_steps": 2, "output_type": "np"}
    both = sampler(PROMPTS[:2], layouts[:2], num_images_per_prompt=2, **call)
    prompts = [prompt for prompt in PROMPTS[:2] for _ in range(2)]
    wanted = sampler(prompts, layouts[[0, 0, 1, 1]], **call)
    assert isinstance(both, LesionPairs) and isinstance(wanted, LesionPairs)
    np.testing.assert_allclose(both.images, wanted.images, atol=1e-4)
    np.testing.assert_array_equal(both.masks, wanted.masks)


def test_layouts_need_a_prompt_in_words(sampler: LesionPairPipeline, layouts: Tensor) -> None:
    with torch.no_grad():
        embeds, _ = sampler.texts(PROMPTS[0])
    with pytest.raises(ValueError, match="masks need `prompt` in words"):
        sampler(masks=layouts[:1], prompt_embeds=embeds)


def test_an_interrupted_pair_has_no_mask(sampler: LesionPairPipeline, layouts: Tensor) -> None:
    def stop(pipe: Any, *arguments: Any) -> Any:
        pipe._interrupt = True
        return arguments[-1]

    pair = sampler(PROMPTS[0], layouts[:1], num_inference_steps=3, callback_on_step_end=stop)
    assert isinstance(pair, LesionPairs)
    assert len(pair.images) == 1 and pair.masks is None and pair.attention is None


@pytest.mark.parametrize("fields", [{"update": "after"}, {"every": 2}])
def test_cheaper_guidance_still_guides(
    sampler: LesionPairPipeline, layouts: Tensor, fields: dict[str, Any]
) -> None:
    def images(**guidance: Any) -> np.ndarray:
        sampling = Sampling(steps=4, guidance=Guidance(**guidance))
        return draw(sampler, PROMPTS[:1], SEEDS[:1], sampling, layouts[:1]).images

    found = images(**fields)
    assert (found != images()).any() and (found != images(eta=0)).any()
