"""Tests of preparing: what a recipe and its model cannot do is refused before there is a folder."""

import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest

from didgen.augment.generation.prepare import prepare_generation
from didgen.manifests.errors import DidgenError
from didgen.manifests.provenance.models import CAPTIONS_NAME, ingredients
from didgen.manifests.recipes.small_model import Build
from tests.fixtures.recipes import tiny_recipe


def test_a_model_of_the_hub_brings_its_captions(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached, (old, new) = tmp_path / "models--me--derm", ("a" * 40, "b" * 40)
    shutil.copytree(model, cached / "snapshots" / old)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(old)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    near, far = (
        prepare_generation(tiny_recipe(model)),
        prepare_generation(tiny_recipe(Path("me/derm"))),
    )
    assert [*map(list, far.plan.values())] == [*map(list, near.plan.values())]
    # The branch moves on to a commit of other weights: that is another run.
    shutil.copytree(cached / "snapshots" / old, cached / "snapshots" / new)
    (cached / "refs" / "main").write_text(new)
    moved = prepare_generation(tiny_recipe(Path("me/derm")))
    assert moved.fingerprint != far.fingerprint
    assert ingredients(moved.recipe, [])[0].name == f"me/derm at {new}"
    (cached / "refs" / "main").write_text(old)
    assert prepare_generation(tiny_recipe(Path("me/derm"))).fingerprint == far.fingerprint
    (cached / "snapshots" / old / CAPTIONS_NAME).unlink()
    with pytest.raises(DidgenError, match=r"me/derm has no captions\.jsonl; give the recipe a"):
        prepare_generation(tiny_recipe(Path("me/derm")))


def test_a_recipe_that_asks_for_nothing_is_refused(model: Path) -> None:
    nothing = tiny_recipe(
        model, images={"per_class": {"MEL": 0}}, pairs={"count": 0, "layouts": "drawn"}
    )
    with pytest.raises(DidgenError, match="asks for no sample at all"):
        prepare_generation(nothing)


@pytest.mark.parametrize(
    ("sampling", "sentence"),
    [
        ({"scheduler": "pndm"}, "PNDM cannot sample a model trained to zero terminal SNR"),
        ({"steps": 1001}, "`sampling.steps` is 1001, but the model mini knows 1000 timesteps"),
        (
            {"annotation": {"timestep": 1000}},
            "`sampling.annotation.timestep` is 1000, but the model",
        ),
        ({"maps": {"cross_side": 7}}, "no 7x7 cross-attention layer"),
    ],
)
def test_a_sampling_that_the_model_cannot_do_is_refused_before_there_is_a_folder(
    sampling: dict[str, object], sentence: str
) -> None:
    with pytest.raises(DidgenError, match=sentence):
        prepare_generation(tiny_recipe(Path("mini"), sampling=sampling))


def test_a_model_without_p_tokens_is_refused(model: Path, tmp_path: Path, shape: Build) -> None:
    from transformers import CLIPTokenizer

    plain = CLIPTokenizer.from_pretrained(model / "tokenizer")
    copy = tmp_path / "plain"
    copy.mkdir()
    for part in model.iterdir():
        if part.name != "tokenizer":
            (copy / part.name).symlink_to(part)
    kept = {t: i for t, i in plain.get_vocab().items() if not t.startswith(("<lesion", "<skin"))}
    CLIPTokenizer(vocab=kept, merges=[], model_max_length=77).save_pretrained(copy / "tokenizer")
    with pytest.raises(DidgenError, match="does not know <lesion> and <skin>"):
        prepare_generation(tiny_recipe(copy))


def test_only_the_first_pairs_of_the_plan_are_watched(model: Path) -> None:
    asked = {"images": None, "pairs": {"count": 9, "layouts": "drawn"}, "shard_size": 3}
    job = prepare_generation(tiny_recipe(model, **asked))
    assert [job.watched(job.plan["pairs"].shard(n)) for n in range(3)] == [3, 1, 0]
    assert job.watched(job.plan["pairs"].shard(0)[1:]) == 2
