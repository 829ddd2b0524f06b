"""Tests of what decides a stage: digests of what lies at a path, whatever the path."""

import shutil
from pathlib import Path

from didgen.downstream.study.inputs import decided_by, digest_of, missing
from didgen.manifests.recipes.augment import AugmentRecipe
from tests.fixtures.studies import HUB


def test_a_folder_is_known_by_what_it_holds(source: Path, run: Path, tmp_path: Path) -> None:
    for place in (source, run):
        copy = Path(shutil.copytree(place, tmp_path / place.name))
        assert digest_of(copy) == digest_of(place)
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"1")
    before = digest_of(model)
    (model / "README.md").write_text("a card")
    assert digest_of(model) == before
    (model / "model.safetensors").write_bytes(b"2")
    assert digest_of(model) != before
    assert digest_of(tmp_path / "nothing") == str(tmp_path / "nothing")


def test_a_product_counts_by_its_stage_and_need_not_be_there(source: Path) -> None:
    recipe = AugmentRecipe.model_validate(
        {
            "model": "state/a/out/model",
            "source": source,
            "pairs": {"layouts": {"run": "state/b/out"}},
            "sampling": {"batch_size": 3},
        }
    )
    products = {"state/a/out/model": "digest of a", "state/b/out": "digest of b"}
    decided = decided_by(recipe, products)
    assert decided["model"] == "digest of a"
    assert decided["pairs"]["layouts"] == {"run": "digest of b"}
    assert decided["source"] == digest_of(source)
    assert "batch_size" not in decided["sampling"]
    assert missing(recipe, products) == []
    assert missing(recipe, {}) == ["state/b/out"]
    assert decided_by(AugmentRecipe(model=HUB, source=source), {})["model"] == HUB
