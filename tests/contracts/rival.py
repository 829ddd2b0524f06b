"""Contract of rivals: a generator of a model directory that `didgen finetune` trained.

A test module inherits from it and gives a tiny recipe:

    class TestRival(RivalContract):
        draws = ("images",)

        @classmethod
        def recipe(cls, source: Path) -> TrainingRecipe:
            return RivalRecipe(source=source, ...)
"""

import shutil
from pathlib import Path
from typing import Any, ClassVar

import pytest
from accelerate.state import AcceleratorState
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from didgen.augment.finetuning import loop
from didgen.augment.finetuning.checkpoint import save_checkpoint
from didgen.augment.finetuning.training_images import read_training_images
from didgen.augment.generation.prepare import GenerationJob, prepare_generation
from didgen.augment.methods.generator import Generator
from didgen.augment.methods.registry import open_model, train_model
from didgen.manifests.errors import DidgenError
from didgen.manifests.provenance.model_method import method_of
from didgen.manifests.provenance.trained_on import TRAINED_ON_NAME, TrainedOn
from didgen.manifests.recipes.augment import AugmentRecipe
from didgen.manifests.recipes.training import TrainingRecipe
from tests.contracts.generator import GeneratorContract
from tests.fixtures.recipes import tiny_recipe

NONE: dict[str, Any] = {"images": None, "pairs": None}


class Killed(Exception):
    """Stands for a process that ends in the middle of a training."""


class RivalContract(GeneratorContract):
    """What holds for every rival."""

    kept: ClassVar[int] = 2
    """After how many checkpoints the training is killed that goes on."""

    @classmethod
    def recipe(cls, source: Path) -> TrainingRecipe:
        """A training of seconds, with a checkpoint after each step."""
        raise NotImplementedError

    def asked(self, model: Path, **changes: Any) -> AugmentRecipe:
        """A recipe of a few samples of what this rival draws, by such a model."""
        plans: dict[str, Any] = {
            "images": {"per_class": {"MEL": 2, "BCC": 2}},
            "pairs": {"count": 3, "layouts": "drawn"},
        }
        chosen = {config: plans[config] for config in self.draws}
        return tiny_recipe(model, **NONE | {"prompt": "class"} | chosen | changes)

    @pytest.fixture(scope="class")
    @classmethod
    def trained(cls, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """The model directory of a training without a break."""
        AcceleratorState._reset_state(reset_partial_state=True)
        out = tmp_path_factory.mktemp("rival") / "run"
        assert train_model(cls.recipe(source), out) == out / "model"
        return out / "model"

    @pytest.fixture
    def generator(self, trained: Path) -> Generator:
        return open_model(self.asked(trained)).generator

    @pytest.fixture
    def its_job(self, trained: Path) -> GenerationJob:
        return prepare_generation(self.asked(trained))

    def test_a_killed_training_goes_on_to_the_same_weights(
        self, trained: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        saved = []

        def save_and_die(*arguments: Any) -> Any:
            saved.append(save_checkpoint(*arguments))
            if len(saved) == self.kept:
                raise Killed
            return saved[-1]

        monkeypatch.setattr(loop, "save_checkpoint", save_and_die)
        with pytest.raises(Killed):
            train_model(self.recipe(source), tmp_path / "run")
        monkeypatch.setattr(loop, "save_checkpoint", save_checkpoint)
        AcceleratorState._reset_state(reset_partial_state=True)
        again = train_model(self.recipe(source), tmp_path / "run")
        files = sorted(path.relative_to(trained) for path in trained.rglob("*.safetensors"))
        assert files
        for name in files:
            whole, resumed = load_file(trained / name), load_file(again / name)
            assert whole.keys() == resumed.keys()
            assert all(whole[key].equal(resumed[key]) for key in whole), name

    def test_its_directory_says_what_it_is_and_what_it_saw(
        self, trained: Path, source: Path
    ) -> None:
        recipe = self.recipe(source)
        assert method_of(str(trained)).method == recipe.method
        card = ModelCard.load(trained / "README.md")
        assert "# A port of " in card.text and " steps" in card.text
        assert card.data.license == "cc0-1.0"
        _, records = read_training_images(recipe)
        seen = TrainedOn.of(records)
        assert TrainedOn.read(trained / TRAINED_ON_NAME) == seen
        assert not list(trained.parent.rglob("*.tmp"))

    def test_a_recipe_of_another_training_is_refused(
        self, trained: Path, source: Path, tmp_path: Path
    ) -> None:
        shutil.copytree(trained.parent, tmp_path / "run")
        other = self.recipe(source).model_copy(update={"learning_rate": 0.5})
        with pytest.raises(DidgenError, match="learning_rate"):
            train_model(other, tmp_path / "run")

    def test_its_plan_is_of_its_size_and_its_run_records_the_method(
        self, its_job: GenerationJob, source: Path
    ) -> None:
        assert {*its_job.plan} == {*self.draws}
        assert its_job.layouts.size == self.side
        assert self.recipe(source).method in its_job.decided["method"]

    def test_what_it_does_not_draw_is_refused(self, trained: Path) -> None:
        everything = {"images": {"per_class": 1}, "pairs": {"count": 1, "layouts": "drawn"}}
        if len(self.draws) == 2:
            pytest.skip("it draws images and pairs")
        with pytest.raises(DidgenError, match=r"draws (images|pairs) alone; set `(pairs|images):"):
            prepare_generation(self.asked(trained, **everything))
