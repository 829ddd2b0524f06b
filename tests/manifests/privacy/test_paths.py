"""Tests of recorded paths: no absolute one is published, and a run's own inputs are found again."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from didgen.manifests.files import located
from didgen.manifests.privacy.paths import (
    HERE,
    LEFT_OUT,
    LOCAL_MODEL,
    restored,
    restored_recipe,
    shareable,
    without_folders,
    without_model,
    without_path,
)

RUN = Path("/homes/anna/runs/mine")


@pytest.fixture(autouse=True)
def anna(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/homes/anna")


@pytest.mark.parametrize(
    ("given_path", "recorded"),
    [
        ("runs/isic2018", "runs/isic2018"),
        ("mini", "mini"),
        ("org/model", "org/model"),
        ("/homes/anna/runs/isic2018", f"{HERE}/../isic2018"),
        ("/homes/anna/runs/mine/model", f"{HERE}/model"),
        ("/homes/anna/data/photos", f"{HERE}/../../data/photos"),
        ("/homes/anna", f"{HERE}/../.."),
        ("/homes", LEFT_OUT),
        ("/", LEFT_OUT),
        ("/homes/bob/runs/src", LEFT_OUT),
        ("/data/photos", LEFT_OUT),
        (r"C:\Users\anna\src", LEFT_OUT),
        ("s3://bucket/run", "s3://bucket/run"),
        (3, 3),
        (None, None),
    ],
)
def test_absolute_paths_are_relative_to_the_run_or_left_out(given_path: Any, recorded: Any) -> None:
    assert shareable({"a": {"b": [given_path]}}, RUN) == {"a": {"b": [recorded]}}
    again = shareable(recorded, RUN)
    assert again == recorded, "what is recorded once stays"
    anywhere = shareable(given_path, None)
    assert anywhere == (given_path if recorded == given_path else LEFT_OUT)


@pytest.mark.parametrize(
    "run", ["/homes/run", "/run", "/homes/../homes/run", "/out/run", "memory://bucket/run"]
)
def test_what_lies_below_the_root_or_a_folder_of_homes_is_left_out(run: str) -> None:
    assert shareable("/homes/anna/src", located(run)) == LEFT_OUT
    assert shareable("/out/anna/src", located(run)) == LEFT_OUT


@pytest.mark.parametrize(
    ("run", "given_path", "recorded"),
    [
        ("/data/derm/runs/x", "/data/derm/src", f"{HERE}/../../src"),
        ("/gpfs/users/anna/x", "/gpfs/users/bob/src", LEFT_OUT),
        ("/gpfs/users/anna/x", "/gpfs/users/anna/src", f"{HERE}/../src"),
    ],
)
def test_a_project_need_not_lie_in_a_home(run: str, given_path: str, recorded: str) -> None:
    assert shareable(given_path, Path(run)) == recorded


def test_without_a_home_nothing_is_taken_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/")
    assert shareable("/homes/anna/src", Path("/homes/bob/run")) == LEFT_OUT
    assert shareable("/homes/anna/src", Path("/homes/anna/run")) == f"{HERE}/../src"


def test_a_recipe_has_its_paths_again() -> None:
    recipe: dict[str, Any] = {
        "source": "/homes/anna/runs/src",
        "build": {"weights": ["/homes/anna/runs/w"]},
    }
    recipe |= {"model": "mini", "captions": None}
    recorded = shareable(recipe, RUN)
    assert restored_recipe(recorded, RUN) == recipe
    assert restored(recorded["source"], RUN) == Path("/homes/anna/runs/src")
    # A folder that is moved with all beside it has its inputs where it lies now.
    moved = restored_recipe(recorded, Path("/mnt/x/mine"))
    assert moved is not None and moved["source"] == "/mnt/x/src"
    far = shareable({**recipe, "captions": "/elsewhere/captions.jsonl"}, RUN)
    assert restored_recipe(far, RUN) is None and restored(LEFT_OUT, RUN) is None
    assert restored("runs/src", RUN) == Path("runs/src")


@given(st.recursive(st.text() | st.none() | st.integers(), st.lists, max_leaves=5))
def test_no_text_that_begins_like_a_path_is_left(value: Any) -> None:
    def texts(value: Any) -> list[str]:
        if isinstance(value, list):
            return [text for inner in value for text in texts(inner)]
        return [value] if isinstance(value, str) else []

    assert not any(text.startswith("/") for text in texts(shareable(value, RUN)))


def test_names_of_models_are_without_their_folders() -> None:
    assert without_folders("/homes/anna/runs/ft/model") == "model"
    assert without_folders(r"C:\Users\anna\model at 3") == "model at 3"
    assert without_folders("org/model") == "org/model"
    said = "unknown, because no trained_on.jsonl was found for /homes/Anna M/model: see to it"
    assert without_path(said).endswith("was found for model: see to it")
    assert without_model(said).endswith(f"was found for {LOCAL_MODEL}: see to it")
    assert without_path("unknown (/homes/anna/model)") == "unknown (model)"
    assert without_path("CC-BY-4.0 AND mine") == "CC-BY-4.0 AND mine"
