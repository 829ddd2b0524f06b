"""Tests of the first recipes: they fit what was found and the machine, and overwrite nothing."""

import shlex
from pathlib import Path

import pytest

from didgen.augment.starting.first_recipes import first_recipes
from didgen.augment.starting.machine import Machine, this_machine
from didgen.augment.starting.survey import Survey
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.augment import AugmentRecipe
from didgen.manifests.recipes.finetune import FinetuneRecipe
from didgen.manifests.recipes.reading import read_recipe
from tests.fixtures.commands import Command
from tests.fixtures.pictures import noise, write_picture
from tests.fixtures.sources import manifest_of, record

LAPTOP = Machine(2, 8, 0)
IMPORT = ("didgen", "import", "folder", "photos")


def found(count: int, **fields: object) -> Survey:
    records = (record(f"a{number}", **fields) for number in range(count))
    return Survey(Path("photos"), manifest_of(Path(), *records), (), IMPORT)


@pytest.mark.parametrize(
    ("machine", "base", "size"),
    [
        (LAPTOP, "mini-own", 256),
        (Machine(16, 64, 8), "mini-own", 256),
        (Machine(16, 64, 15.9), "isic2018-sd21-lora", 512),
        (Machine(16, 64, 80), "isic2018-sd21", 512),
    ],
)
def test_the_recipe_fits_the_machine(
    machine: Machine, base: str, size: int, tmp_path: Path
) -> None:
    recipes = first_recipes(found(48), machine, "mine", tmp_path)
    assert recipes.base == base and all(recipes.write().values())
    finetune = read_recipe(tmp_path / "mine.yaml", FinetuneRecipe)
    samples = read_recipe(tmp_path / "mine-samples.yaml", AugmentRecipe)
    assert finetune.image_size == size and finetune.source == samples.source == Path("runs/mine")
    assert samples.model == "runs/mine-model/model"
    assert 90 <= finetune.steps * finetune.batch_size / 48 <= 110
    assert finetune.warmup_steps == finetune.steps // 10


def test_mini_own_is_what_sixty_photographs_get(tmp_path: Path) -> None:
    first_recipes(found(48), LAPTOP, "own", tmp_path).write()
    own = read_recipe(tmp_path / "own.yaml", FinetuneRecipe)
    assert own == read_recipe("mini-own", FinetuneRecipe)


def test_steps_have_bounds_and_few_images_are_refused(tmp_path: Path) -> None:
    few, many = (first_recipes(found(n), LAPTOP, f"n{n}", tmp_path) for n in (10, 5000))
    few.write()
    many.write()
    assert read_recipe(tmp_path / "n10.yaml", FinetuneRecipe).steps == 200
    assert read_recipe(tmp_path / "n5000.yaml", FinetuneRecipe).steps == 20_000
    with pytest.raises(DidgenError, match="has 9 training images; a model needs 10 or more"):
        first_recipes(found(9), LAPTOP, "n9", tmp_path)


def test_the_commands_are_those_that_are_missing() -> None:
    def verbs(survey: Survey) -> list[str]:
        recipes = first_recipes(survey, LAPTOP, "mine", Path())
        return [command[1] for command in recipes.commands]

    rest = ["finetune", "augment", "verify", "report"]
    assert verbs(found(20)) == ["import", "annotate", "caption", *rest]
    assert verbs(found(20, mask="m.png", caption="a lesion")) == ["import", *rest]


def test_init_writes_them_and_keeps_what_is_there(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(15):
        write_picture(tmp_path / "my photos" / f"{number}.png", noise(number, 64, 64))
    code, out, err = command("init", "my photos")
    assert code == 0, err
    assert "my photos holds 15 images (without classes), 0 with a mask" in out
    step = "import folder 'my photos' --licence 'private, not to be shared' --out runs/my-photos"
    assert f"Next: didgen {step}\n" in err
    ways = [line.split() for line in out.splitlines() if line.startswith("  didgen ")]
    assert [words[1] for words in ways][-2:] == ["verify", "report"]
    recipe = tmp_path / "my-photos.yaml"
    recipe.write_text("mine")
    code, out, _ = command("init", "my photos")
    assert code == 0 and "my-photos.yaml is there already, and is kept." in out
    assert recipe.read_text() == "mine"
    assert {file.name for file in tmp_path.iterdir()} == {
        "my photos",
        "my-photos.yaml",
        "my-photos-samples.yaml",
    }
    assert shlex.split(err.partition("Next: ")[2])[0] == "didgen"


def test_this_machine_has_cores_and_memory() -> None:
    machine = this_machine()
    assert machine.cores >= 1 and machine.memory > 0.5
    assert f"{machine.cores} cores" in str(machine)
