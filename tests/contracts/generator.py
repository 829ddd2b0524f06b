"""Contract of generators: what holds for every method that draws the samples of a run.

A test module inherits from it and gives the generator as a fixture:

    class TestRival(GeneratorContract):
        @pytest.fixture
        def generator(self) -> Generator:
            return Rival(...)
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from didgen.augment.device import Device, choose_device
from didgen.augment.generation.prepare import GenerationJob
from didgen.augment.generation.run import augment
from didgen.augment.methods.generator import Drawing, Generator, Planned
from didgen.augment.prompts.prompt import compose
from didgen.manifests.choices import Config
from didgen.manifests.recipes.fields import DRAWN
from didgen.manifests.runs.verify import verify
from didgen.manifests.shards.shard import iterate
from didgen.manifests.views.layouts import draw_layout
from tests.fixtures.lesions import SIZE
from tests.fixtures.pictures import decoded


class GeneratorContract:
    """What holds for every generator."""

    side: ClassVar[int] = SIZE
    """Side of its images in pixels."""
    draws: ClassVar[tuple[Config, ...]] = ("images", "pairs")
    """What it draws: images of a class, pairs with their masks, or both."""
    attentive: ClassVar[bool] = False
    """Whether it keeps attention maps."""

    @pytest.fixture
    def generator(self) -> Generator:
        """The generator, with its model loaded."""
        raise NotImplementedError

    @pytest.fixture
    def device(self, generator: Generator) -> Device:
        """The device of this machine, to which the generator was brought."""
        device = choose_device("no")
        generator.to(device)
        return device

    @pytest.fixture
    def its_job(self, job: GenerationJob, generator: Generator) -> GenerationJob:
        """A job of a few samples, carried out by the generator."""
        return replace(job, generator=generator)

    def planned(self, config: Config, count: int = 3) -> list[Planned]:
        """Samples of a plan."""
        layout = DRAWN if config == "pairs" else ""
        return [
            Planned(config, f"{config}-{n}", label, n, 2**40 + n, compose(f"{label}."), layout)
            for n, label in enumerate(("MEL", "BCC", "MEL", "DF")[:count])
        ]

    def layouts(self, count: int = 3) -> NDArray[np.bool_]:
        """Shapes that pairs are guided by."""
        return np.stack([draw_layout(np.random.default_rng(n), self.side) for n in range(count)])

    def draw(
        self,
        generator: Generator,
        device: Device,
        planned: Sequence[Planned],
        layouts: NDArray[np.bool_] | None = None,
        watched: int = 0,
    ) -> Drawing:
        """Draw samples, each at its first try."""
        seeds = [(one.seed, 0) for one in planned]
        return generator.draw(planned, seeds, layouts, device, watched)

    def batch(self, config: Config) -> tuple[list[Planned], NDArray[np.bool_] | None]:
        """Samples of a plan with their layouts; a config that it does not draw is skipped."""
        if config not in self.draws:
            pytest.skip(f"it draws no {config}")
        return self.planned(config), self.layouts() if config == "pairs" else None

    def test_images_are_pictures_without_masks(self, generator: Generator, device: Device) -> None:
        drawing = self.draw(generator, device, *self.batch("images"))
        assert drawing.images.dtype == np.uint8
        assert drawing.images.shape == (3, self.side, self.side, 3)
        assert drawing.masks is None and drawing.attention == ()
        assert all(image.std() > 0 for image in drawing.images)

    def test_pairs_have_masks_of_their_size(self, generator: Generator, device: Device) -> None:
        drawing = self.draw(generator, device, *self.batch("pairs"))
        assert drawing.images.dtype == np.uint8
        assert drawing.images.shape == (3, self.side, self.side, 3)
        assert drawing.masks is not None and drawing.masks.dtype == bool
        assert drawing.masks.shape == (3, self.side, self.side)
        assert all(image.std() > 0 for image in drawing.images)

    @pytest.mark.parametrize("config", ["images", "pairs"])
    def test_the_same_samples_and_seeds_give_the_same_bits(
        self, generator: Generator, device: Device, config: Config
    ) -> None:
        if device.name != "cpu":
            pytest.skip("the same bits are a promise of the CPU")
        batch = self.batch(config)
        one, same = (self.draw(generator, device, *batch) for _ in range(2))
        np.testing.assert_array_equal(one.images, same.images)
        if one.masks is not None and same.masks is not None:
            np.testing.assert_array_equal(one.masks, same.masks)

    def test_it_draws_in_half_precision_too(self, generator: Generator) -> None:
        half = Device("cpu", "bf16", "the test says so")
        generator.to(half)
        batch = self.batch(self.draws[0])
        rough, exact = (
            self.draw(generator, device, *batch).images.astype(int)
            for device in (half, Device("cpu", "no", "the test says so"))
        )
        assert rough.shape == exact.shape
        # A thumbnail of either is the same picture.
        assert np.abs(rough.mean((1, 2)) - exact.mean((1, 2))).max() < 16

    @pytest.mark.parametrize("number", ["seed", "try"])
    def test_another_seed_or_try_gives_another_image(
        self, generator: Generator, device: Device, number: str
    ) -> None:
        (one, *_), layouts = self.batch(self.draws[0])
        seeds = [(one.seed, 0), (one.seed + 1, 0) if number == "seed" else (one.seed, 1)]
        guide = None if layouts is None else layouts[:1]
        first, second = (generator.draw([one], [seed], guide, device).images[0] for seed in seeds)
        assert (first != second).mean() > 0.1

    @pytest.mark.parametrize("config", ["images", "pairs"])
    def test_its_own_scores_are_numbers_of_each_sample_or_there_are_none(
        self, generator: Generator, device: Device, config: Config
    ) -> None:
        drawing = self.draw(generator, device, *self.batch(config))
        assert len(drawing.scores) in (0, 3)
        for scores in drawing.scores:
            assert all(np.isfinite(value) for value in scores.values())

    def test_a_sample_is_its_own_in_any_batch(self, generator: Generator, device: Device) -> None:
        planned, layouts = self.batch(self.draws[0])
        together = self.draw(generator, device, planned, layouts).images.astype(int)
        for place, one in enumerate(planned):
            guide = None if layouts is None else layouts[place : place + 1]
            (alone,) = self.draw(generator, device, [one], guide).images.astype(int)
            # Sums differ in their order by batch.
            assert np.abs(together[place] - alone).mean() < 0.1

    @pytest.mark.parametrize("watched", [0, 2])
    def test_attention_is_kept_of_the_first_that_are_watched(
        self, generator: Generator, device: Device, watched: int
    ) -> None:
        batch = self.batch("pairs")
        drawing = self.draw(generator, device, *batch, watched)
        assert len(drawing.attention) == (watched if self.attentive else 0)
        plain = self.draw(generator, device, *batch)
        np.testing.assert_array_equal(drawing.images, plain.images)

    def test_a_run_of_it_verifies_and_holds_what_it_drew(
        self, its_job: GenerationJob, tmp_path: Path
    ) -> None:
        augment(its_job, tmp_path / "run")
        assert {verdict.status for verdict in verify(tmp_path / "run")} == {"ok"}
        for config, plan in its_job.plan.items():
            keys = [one.key for one in plan]
            samples = list(iterate(tmp_path / "run", config))
            assert [sample.key for sample in samples] == keys
            for sample in samples:
                picture = decoded(sample.members["jpg"])
                assert picture.shape == (self.side, self.side, 3)
