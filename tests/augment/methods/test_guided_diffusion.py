"""Tests of the generator of the method: guided diffusion."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from didgen.augment.device import Device, choose_device
from didgen.augment.diffusion.pipeline import LesionPairPipeline, draw
from didgen.augment.generation.prepare import GenerationJob, prepare_generation
from didgen.augment.generation.samples import draw_batch, make
from didgen.augment.methods.generator import Generator
from didgen.augment.methods.guided_diffusion import GuidedDiffusion, load_diffusion
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json, write_bytes, write_json
from didgen.manifests.provenance.trained_on import TRAINED_ON_NAME, TrainedOn, TrainingImage
from didgen.manifests.recipes.sampling import Annotation, Sampling
from didgen.manifests.shards.shard import Failure
from tests.contracts.generator import GeneratorContract
from tests.fixtures.recipes import QUICK, UNGATED, tiny_recipe

SAMPLING = Sampling(steps=2, annotation=Annotation(flat=0))


class TestGuidedDiffusion(GeneratorContract):
    attentive = True

    @pytest.fixture
    def generator(self, sampler: LesionPairPipeline) -> Generator:
        return GuidedDiffusion(sampler, SAMPLING)

    def test_it_draws_what_its_pipeline_draws(
        self, generator: Generator, device: Device, sampler: LesionPairPipeline
    ) -> None:
        planned = self.planned("images")
        prompts, seeds = [one.prompt for one in planned], [one.seed for one in planned]
        wanted = draw(sampler, prompts, seeds, SAMPLING)
        found = self.draw(generator, device, planned)
        np.testing.assert_array_equal(found.images, np.asarray(wanted.images))

    def test_attention_has_a_map_of_each_step_that_is_shown(
        self, generator: Generator, device: Device
    ) -> None:
        planned = self.planned("pairs")
        (history,) = self.draw(generator, device, planned, self.layouts(), 1).attention
        assert (history.steps, history.of) == ((1, 2), 2)
        assert history.maps.shape == (2, 16, 16) and history.propagated.shape == (32, 32)


def test_pairs_are_scored_by_their_attention_and_images_are_not(job: GenerationJob) -> None:
    device = choose_device()
    (pairs,) = (shard for n in range(2) if len(shard := job.plan["pairs"].shard(n)) == 2)
    layouts = np.stack([job.layouts.mask(one.layout, one.seed) for one in pairs])
    seeds = [one.seed for one in pairs]
    drawing = job.generator.draw(pairs, seeds, layouts, device, 1)
    assert len(drawing.scores) == 2 and len(drawing.attention) == 1
    for scores in drawing.scores:
        assert scores.keys() == {"attention_contrast", "separability"}
        assert all(0 <= value <= 1 for value in scores.values())
    assert not job.generator.draw(job.plan["images"].shard(0), seeds, None, device).scores
    recorded = [one.scores for one in draw_batch(job, pairs, 0, device)]
    for scores, own in zip(recorded, drawing.scores, strict=True):
        assert scores | dict(own) == scores


def test_a_try_draws_other_noise_and_the_first_is_the_seed_alone(job: GenerationJob) -> None:
    planned = job.plan["images"].shard(0)
    first, alone, second = (
        job.generator.draw(planned, seeds, None, choose_device()).images
        for seeds in (
            [(one.seed, 0) for one in planned],
            [one.seed for one in planned],
            [(one.seed, 1) for one in planned],
        )
    )
    np.testing.assert_array_equal(first, alone)
    assert (first != second).any((1, 2, 3)).all()


def test_flat_attention_stops_a_pair_and_says_so(model: Path) -> None:
    unsure = QUICK | {"annotation": Annotation(flat=1), "steps": 1}
    recipe = tiny_recipe(model, images=None, sampling=unsure, gates=UNGATED | {"redraws": 1})
    job = prepare_generation(recipe)
    plan = job.plan["pairs"]
    for index in range(len(plan)):
        for result in make(job, plan.shard(index), choose_device(), lambda _: None):
            assert isinstance(result, Failure)
            assert "at last flat attention: its relative span is" in result.reason
            assert len(result.row["rejected"]) == 2


def test_weights_are_rounded_once_to_the_number_format_of_the_device(model: Path) -> None:
    recipe = tiny_recipe(model, sampling=QUICK | {"mixed_precision": "bf16"})
    generator = load_diffusion(recipe)
    generator.to(choose_device("bf16"))
    parts = ("unet", "vae", "text_encoder")
    assert {getattr(generator.pipeline, part).dtype for part in parts} == {torch.bfloat16}
    casts: list[torch.dtype] = []
    watch = generator.pipeline.unet.conv_in.register_forward_pre_hook(
        lambda _, given: casts.append(given[0].dtype)
    )
    planned = prepare_generation(recipe).plan["images"].shard(0)[:1]
    drawing = generator.draw(planned, [5], None, choose_device("bf16"))
    watch.remove()
    assert set(casts) == {torch.bfloat16} and drawing.images.std() > 0


def copied(model: Path, to: Path, seen: str) -> Path:
    """A copy of a model that says it was trained on one image."""
    shutil.copytree(model, to)
    image = TrainingImage(image=None, lesion=None, sha256=seen * 64)
    write_bytes(to / TRAINED_ON_NAME, TrainedOn(frozenset({image})).text())
    return to


def test_a_weaker_model_is_led_away_from_and_belongs_to_the_run(
    model: Path, tmp_path: Path
) -> None:
    own, weaker = copied(model, tmp_path / "own", "a"), copied(model, tmp_path / "weaker", "b")
    plain = prepare_generation(tiny_recipe(own, sampling=QUICK | {"cfg": 1}))
    job = prepare_generation(tiny_recipe(own, sampling=QUICK | {"autoguidance": weaker}))
    assert len(job.trained_on) == 2
    first, device = job.fingerprint, choose_device()
    planned = job.plan["images"].shard(0)[:1]
    images = []
    for one in (plain, job):
        one.generator.to(device)
        images.append(one.generator.draw(planned, [5], None, device).images.astype(int))
    # It is the same model, from which nothing leads away.
    assert np.abs(images[0] - images[1]).max() <= 1
    unet = next((weaker / "unet").glob("*.safetensors"))
    weights = {name: 0.9 * weight for name, weight in load_file(unet).items()}
    save_file(weights, unet)
    job = prepare_generation(tiny_recipe(own, sampling=QUICK | {"autoguidance": weaker}))
    assert job.fingerprint != first
    job.generator.to(device)
    assert np.abs(job.generator.draw(planned, [5], None, device).images - images[0]).max() > 1


def test_a_weaker_model_of_another_kind_is_refused(model: Path, tmp_path: Path) -> None:
    other = copied(model, tmp_path / "other", "a")
    config = other / "scheduler" / "scheduler_config.json"
    write_json(config, read_json(config) | {"prediction_type": "epsilon"})
    recipe = tiny_recipe(model, sampling=QUICK | {"autoguidance": other})
    with pytest.raises(DidgenError, match="whose kind of prediction is not that of"):
        prepare_generation(recipe)
    recipe = tiny_recipe(model, sampling=QUICK | {"autoguidance": model, "cfg": 1})
    with pytest.raises(DidgenError, match="which leads nowhere"):
        prepare_generation(recipe)


@pytest.mark.slow
def test_a_recipe_may_have_its_unet_compiled(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []

    def traced(graph: torch.fx.GraphModule, _: object) -> object:
        calls.append(graph)
        return graph.forward

    plain = prepare_generation(tiny_recipe(model))
    recipe = tiny_recipe(model, sampling=QUICK | {"compile": True})
    job = prepare_generation(recipe)
    assert job.fingerprint != plain.fingerprint
    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self: compile_module(self, backend=traced)
    )
    device = choose_device()
    for one in (plain, job):
        one.generator.to(device)
    pairs = job.plan["pairs"].shard(0)[:1]
    layouts = np.stack([job.layouts.mask(one.layout, one.seed) for one in pairs])
    expected, found = (one.generator.draw(pairs, [3], layouts, device) for one in (plain, job))
    assert calls
    assert np.abs(found.images.astype(int) - expected.images).max() <= 1
