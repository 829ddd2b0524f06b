"""Tests of restored images: those of the autoencoder, in the order that was asked for."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.restoration import restore, restored
from didgen.augment.diffusion.model_folder import load_pipeline
from didgen.augment.diffusion.pipeline import LesionPairPipeline
from didgen.downstream.quality.embed import Collection
from tests.fixtures.pictures import encoded


@pytest.fixture(scope="module")
def mini() -> LesionPairPipeline:
    return load_pipeline("mini")


def pictures() -> list[np.ndarray]:
    """Three plain colours with a brighter quarter, (256, 256, 3) uint8 each."""
    shades = ([200, 150, 140], [120, 80, 70], [180, 120, 150])
    images = [np.full((256, 256, 3), shade, np.uint8) for shade in shades]
    for image in images:
        image[:128, :128] += 40
    return images


def collection() -> Collection:
    files = [encoded(image, "PNG") for image in pictures()]
    keys = ("a", "b", "c")
    return Collection(
        keys, ("", "", ""), keys, lambda places: ((files[p], Path(keys[p])) for p in places)
    )


def test_an_image_is_what_its_latents_decode_to(mini: LesionPairPipeline) -> None:
    images = torch.from_numpy(np.stack(pictures())).movedim(-1, 1)
    with torch.no_grad():
        latents = mini.vae.encode(images / 127.5 - 1).latents
        pixels = mini.vae.decode(latents).sample.clamp(-1, 1)
    again = restore(images, mini)
    assert again.dtype == torch.uint8
    assert torch.allclose(again / 127.5 - 1, pixels, atol=1 / 127)
    # An autoencoder that is any good keeps a plain colour.
    assert (again.float() - images.float()).abs().mean() < 5


def test_a_restored_collection_is_the_same_but_for_its_pixels(mini: LesionPairPipeline) -> None:
    before = collection()
    after = restored(before, mini)
    assert (after.keys, after.labels, after.units) == (before.keys, before.labels, before.units)
    first, last = after.squares([0, 2], 256)
    assert [path.name for _, path in after.files([0, 2])] == ["a", "c"]
    expected = restore(torch.from_numpy(np.stack(pictures())).movedim(-1, 1), mini)
    np.testing.assert_allclose(first, expected[0].numpy(), atol=1)
    np.testing.assert_allclose(last, expected[2].numpy(), atol=1)
