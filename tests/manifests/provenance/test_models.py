"""Tests of provenance: what a run is made from is named, hashed and licensed."""

import shutil
from pathlib import Path

from didgen.manifests.provenance.licence import strictest
from didgen.manifests.provenance.models import MINI, ingredients, trained_on
from didgen.manifests.provenance.trained_on import TRAINED_ON_NAME
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.recipes import drawn_recipe


def test_the_bundled_model_stays_non_commercial() -> None:
    (model,) = ingredients(drawn_recipe(model="mini"), [])
    assert (model.kind, model.name, model.licence) == ("model", "mini", "cc-by-nc-4.0")
    assert len(model.sha256) == 64
    assert strictest([model]).name == "CC-BY-NC-4.0"


def test_the_hash_is_that_of_the_weights_and_not_of_the_card(tmp_path: Path) -> None:
    copy = shutil.copytree(MINI, tmp_path / "model")
    (bundled,) = ingredients(drawn_recipe(model="mini"), [])
    (copied,) = ingredients(drawn_recipe(model=str(copy)), [])
    assert copied.sha256 == bundled.sha256
    (copy / "README.md").unlink()
    (copy / TRAINED_ON_NAME).unlink()
    (bare,) = ingredients(drawn_recipe(model=str(copy)), [])
    assert (bare.sha256, bare.licence) == (bundled.sha256, None)
    assert not strictest([bare]).commercial
    for name in ("README.md~", ".README.md.swp", ".git/index"):
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_text(name)
    (same,) = ingredients(drawn_recipe(model=str(copy)), [])
    assert same.sha256 == bundled.sha256
    (copy / "captions.jsonl").write_text("")
    (changed,) = ingredients(drawn_recipe(model=str(copy)), [])
    assert changed.sha256 != bundled.sha256


def test_a_model_of_the_hub_is_told_by_id_and_revision() -> None:
    (model,) = ingredients(drawn_recipe(model="some/model", revision="abc"), [])
    assert (model.name, model.sha256, model.licence) == ("some/model at abc", "", None)


def test_a_model_of_the_hub_that_is_not_at_hand_has_no_list() -> None:
    assert trained_on("mini")
    assert not trained_on("some/model", "abc")
    assert not trained_on(None)


def test_the_training_images_count_by_licence(source: Path) -> None:
    manifest = SourceManifest.read(source)
    _, *data = ingredients(drawn_recipe(model="mini"), manifest.select(split="train"))
    training = manifest.select(split="train")
    assert sum(int(one.name.split(", ")[1].split()[0]) for one in data) == len(training)
    assert {one.licence for one in data} == {record.licence for record in training}
