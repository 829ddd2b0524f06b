"""What a signal stops goes on by `didgen resume DIR`, a command that is printed whole."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import growth
from benchmarks.growth import STAGES, Place, Watch
from didgen import cli
from didgen.augment import commands as augmenting
from didgen.downstream import commands as judging
from didgen.downstream.benchmark.recipe import ClassifyRecipe, SegmentRecipe
from didgen.downstream.quality.recipe import QualityRecipe
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.augment import AugmentRecipe
from didgen.manifests.recipes.fields import Section
from didgen.manifests.recipes.reading import RECIPES, TRAINING, read_recipe, recipe_text
from didgen.manifests.recipes.yaml12 import read_yaml
from didgen.manifests.runs.order import ORDER_NAME, keep_order, read_order
from didgen.manifests.shards.shard import write_shard
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.commands import Command
from tests.fixtures.recipes import tiny_recipe, written

KINDS: dict[str, type[Section]] = {
    "augment": AugmentRecipe,
    "classify": ClassifyRecipe,
    "segment": SegmentRecipe,
    "quality": QualityRecipe,
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A source, and a finished run of four shards."""
    monkeypatch.setattr(growth, "SHARD_SIZE", 8)
    found = Place(tmp_path / "samples", 32)
    growth.write_source(found.source)
    STAGES["write"](found, Watch(0))
    STAGES["finish"](found, Watch(0))
    return found


def stopping(call: Callable[..., Any], after: int) -> Callable[..., Any]:
    """A function that Ctrl-C stops when it is called once more than `after` times."""
    calls: list[None] = []

    def stopped(*arguments: Any, **named: Any) -> Any:
        calls.append(None)
        if len(calls) > after:
            raise KeyboardInterrupt
        return call(*arguments, **named)

    return stopped


def test_a_stopped_mix_goes_on(place: Place, command: Command) -> None:
    from didgen.manifests.runs import mix as module

    out = place.folder / "mix"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{module.__name__}.write_shard", stopping(write_shard, 2))
        asked = ["--ratio", "0.3", "--shard-size", "8", "--out", out]
        code, _, told = command("mix", place.source, place.run, *asked)
    advice = f"To go on: didgen resume {out}"
    assert code == 130
    assert told.splitlines()[-1] == f"Stopped: what is finished is kept in {out}. {advice}"

    state = f"{out}: a run of `mix`, not finished: images 16/"
    for code, name in ((0, "inspect"), (1, "verify")):
        stopped, printed, _ = command(name, out)
        assert (stopped, printed.splitlines()[-1]) == (code, advice)
        assert state in printed and "pairs 0/" in printed

    code, listed, _ = command("inspect", place.folder)
    assert code == 0
    assert f"{place.run}: a run of `augment`, finished." in listed and f"  {advice}" in listed
    # A run that an older didgen began has no order.
    (out / ORDER_NAME).unlink()
    assert command("resume", out).code == 0
    assert command("verify", out).code == 0
    assert command("resume", out).code == 0


def test_a_stopped_run_goes_on_from_its_shards(
    model: Path, tmp_path: Path, command: Command
) -> None:
    from didgen.augment.generation import worker as module

    recipe, out = written(tmp_path, recipe_text(tiny_recipe(model))), tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{module.__name__}.write_shard", stopping(write_shard, 2))
        code, _, told = command("augment", recipe, "--out", out)
    assert code == 130
    assert told.splitlines()[-1].endswith(f"To go on: didgen resume {out}")
    assert "not finished: images 4/4, pairs 0/3." in command("inspect", out).out
    kept = {path.name: path.stat().st_mtime_ns for path in (out / "images").glob("*.tar")}
    recipe.unlink()
    code, printed, _ = command("resume", out)
    assert code in (0, 1) and "samples in 4 shards" in printed
    assert {path.name: path.stat().st_mtime_ns for path in (out / "images").glob("*.tar")} == kept
    assert command("verify", out).code == 0


def test_stopped_captions_go_on(photographs: Path, command: Command) -> None:
    from didgen.augment.captions import measure as module

    source = photographs / "source"
    importing = ["import", "folder", photographs / "images", "--licence", "CC0-1.0"]
    assert command(*importing, "--out", source).code == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "measure_files", stopping(module.measure_files, 1))
        code, _, told = command("caption", source)
    advice = f"To go on: didgen resume {source}"
    assert code == 130 and told.splitlines()[-1].endswith(advice)
    assert command("inspect", source).out.splitlines()[-1] == advice
    assert command("resume", source).code == 0
    assert all(record.caption for record in SourceManifest.read(source).records)
    assert "To go on" not in command("inspect", source).out


@pytest.mark.parametrize(
    "file",
    # A study goes on by its own command, with its own state.
    sorted({*RECIPES.glob("*.yaml")} - {*RECIPES.glob("study-*.yaml")}),
    ids=lambda file: file.stem,
)
def test_an_order_gives_back_the_recipe(file: Path, tmp_path: Path) -> None:
    said = read_yaml(file.read_text())
    if said["kind"] == "finetune":
        kind: type[Section] = TRAINING[said.get("method", "didgen")]
    else:
        kind = KINDS[said["kind"]]
    recipe = read_recipe(file.stem, kind)
    keep_order(tmp_path, said["kind"], recipe.model_dump(mode="json"), engine="local")
    order = read_order(tmp_path)
    assert (order.command, order.options) == (said["kind"], {"engine": "local"})
    assert order.recipe_as(kind, tmp_path) == recipe


@pytest.mark.parametrize(
    ("door", "call", "name", "kind"),
    [
        (judging, "_benchmark", "isic2018-classify-cpu", ClassifyRecipe),
        (judging, "_benchmark", "isic2018-segment-cpu", SegmentRecipe),
        (augmenting, "_finetune", "mini", TRAINING["didgen"]),
    ],
)
def test_a_resumed_folder_is_asked_the_same(
    door: Any,
    call: str,
    name: str,
    kind: type[Section],
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe, asked = read_recipe(name, kind), []
    fields = recipe.model_dump(mode="json")
    keep_order(tmp_path, fields["kind"], fields)
    monkeypatch.setattr(door, call, lambda *given: asked.append(given))
    assert command("resume", tmp_path).code == 0
    assert asked == [(recipe, tmp_path)]
    assert f"To go on: didgen resume {tmp_path}" in command("inspect", tmp_path).out


def test_absolute_paths_of_others_are_not_kept(tmp_path: Path) -> None:
    keep_order(tmp_path / "run", "mix", {"source": str(tmp_path / "source"), "run": "/elsewhere/x"})
    assert "elsewhere" not in (tmp_path / "run" / ORDER_NAME).read_text()
    assert str(tmp_path) not in (tmp_path / "run" / ORDER_NAME).read_text()
    with pytest.raises(DidgenError, match="does not record where its inputs lie; run the command"):
        read_order(tmp_path / "run")


@pytest.mark.parametrize("said", ["[]", "{}", '{"command": "mix", "recipe": 3, "options": {}}'])
def test_a_broken_order_is_named(said: str, tmp_path: Path, command: Command) -> None:
    (tmp_path / ORDER_NAME).write_text(said)
    code, _, told = command("resume", tmp_path)
    assert code == 1 and "is no record of a command; delete it." in told


def test_a_folder_of_nothing_is_one_sentence(tmp_path: Path, command: Command) -> None:
    code, _, told = command("resume", tmp_path)
    assert code == 1 and "holds no work that didgen has begun and can go on with" in told


def test_what_keeps_nothing_names_its_own_command(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        cli._terminate()

    monkeypatch.setattr("didgen.manifests.runs.order._begun", [])
    monkeypatch.setattr("didgen.manifests.views.contents.inspect", stopped)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    code, _, told = command("inspect", tmp_path / "a b")
    assert code == 143
    again = f"To begin again: didgen inspect '{tmp_path / 'a b'}'"
    assert told.splitlines() == [f"Stopped: nothing is half-written. {again}"]
