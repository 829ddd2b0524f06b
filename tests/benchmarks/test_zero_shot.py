"""Tests of the model as a classifier: its errors by a naive loop, its prompts by their words."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks import zero_shot
from benchmarks.zero_shot import accuracy, balanced, encoded, errors, prompts_of
from didgen.augment.conditioning.p_tokens import tokenize
from didgen.augment.diffusion.autoencoder import encode
from didgen.augment.diffusion.images import load_pixels
from didgen.augment.diffusion.model_folder import load_pipeline
from didgen.augment.diffusion.pipeline import LesionPairPipeline
from didgen.augment.prompts.prompt import compose, diagnosis
from didgen.augment.prompts.schema import Attributes
from didgen.augment.prompts.sentence import parse, render
from didgen.manifests.sources.records import SourceManifest, SourceRecord

CAPTION = "melanoma, a medium oval dark brown lesion at the center, some hair."


@pytest.fixture(scope="module")
def pipeline() -> LesionPairPipeline:
    return load_pipeline("mini")


@pytest.fixture(scope="module")
def latents() -> Tensor:
    return torch.randn(2, 4, 32, 32, generator=torch.Generator().manual_seed(5))


@torch.no_grad()
def test_errors_are_those_of_one_pass_an_image_and_class(
    pipeline: LesionPairPipeline, latents: Tensor
) -> None:
    prompts = [["one.", "another."], ["a third.", "one."]]
    found = errors(pipeline, latents, prompts, 3, (200, 700))
    kept = pipeline.scheduler.alphas_cumprod
    generator = torch.Generator().manual_seed(3)
    expected = torch.zeros(2, 2)
    for timestep in (200, 700):
        noise = torch.randn(latents.shape, generator=generator)
        signal, share = kept[timestep].sqrt(), (1 - kept[timestep]).sqrt()
        for image in range(2):
            noisy = signal * latents[image] + share * noise[image]
            velocity = signal * noise[image] - share * latents[image]
            for place, prompt in enumerate(prompts[image]):
                context = pipeline.text_encoder(tokenize(pipeline.tokenizer, [prompt]))[0]
                output = pipeline.unet(noisy[None], torch.tensor([timestep]), context).sample[0]
                expected[image, place] += (output - velocity).square().mean() / 2
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_same_prompt_has_the_same_error(pipeline: LesionPairPipeline, latents: Tensor) -> None:
    found = errors(pipeline, latents, [["one."] * 3] * 2, 0, (500,))
    torch.testing.assert_close(found, found[:, :1].expand(2, 3), rtol=1e-4, atol=1e-6)


def test_prompts_of_an_image_differ_in_the_name_alone() -> None:
    classes = ["MEL", "NV"]
    same, other = prompts_of(CAPTION, classes, named_only=False)
    assert same == compose(CAPTION)
    assert other == same.replace("melanoma", "melanocytic nevus")
    alone = [compose("melanoma."), compose("melanocytic nevus.")]
    assert prompts_of(CAPTION, classes, named_only=True) == alone
    with pytest.raises(ValueError, match="is no caption of"):
        prompts_of("something dark", classes, named_only=False)


@pytest.mark.slow
def test_an_accuracy_is_that_of_the_least_errors(
    pipeline: LesionPairPipeline, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = SourceManifest.read(source)
    captioned = tuple(
        record.model_copy(update={"caption": render(attributes_of(record))})
        for record in plain.records
    )
    manifest = SourceManifest(plain.header, captioned)
    classes = list(manifest.header.classes)
    assert not balanced(plain, classes, 2)
    records = balanced(manifest, classes, 2)
    assert all(record.split != "train" for record in records)
    assert [record.label for record in records] == [label for label in classes for _ in range(2)]
    # With one class there is nothing to be wrong about.
    own = [record for record in records if record.label == classes[0]]
    latents = encoded(pipeline, manifest, own)
    assert accuracy(pipeline, latents, own, classes[:1], named_only=False) == 1
    found = {
        record.key: errors(
            pipeline,
            encode(pipeline.vae, load_pixels(manifest, record, 256)[None]).detach(),
            [prompts_of(record.caption or "", classes, named_only=True)],
            place,
        )
        for place, record in enumerate(records)
    }
    right = [found[r.key].argmin().item() == classes.index(r.label or "") for r in records]
    monkeypatch.setattr(zero_shot, "BATCH", 1)
    latents = encoded(pipeline, manifest, records)
    measured = accuracy(pipeline, latents, records, classes, named_only=True)
    assert measured == pytest.approx(sum(right) / len(right))


def attributes_of(record: SourceRecord) -> Attributes:
    read = parse(CAPTION)
    assert isinstance(read, Attributes)
    return read.model_copy(update={"diagnosis": diagnosis(record.label)})
