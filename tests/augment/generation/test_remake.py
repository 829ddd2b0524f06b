"""Tests of remaking: any sample comes back to the bit, whatever batch and try it was of."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from didgen.augment.device import choose_device
from didgen.augment.generation.prepare import GenerationJob, prepare_generation
from didgen.augment.generation.remake import recipe_of, remake, write_members
from didgen.augment.generation.run import augment
from didgen.augment.generation.samples import draw_batch
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.augment import AugmentRecipe
from didgen.manifests.runs.claim import start_run
from didgen.manifests.shards.shard import iterate, read_sidecars
from tests.fixtures.recipes import QUICK, tiny_recipe


@pytest.fixture(scope="module")
def job(model: Path) -> GenerationJob:
    """Images and pairs in uneven batches, with a gate that stops some of them."""
    asked: dict[str, Any] = {
        "model": str(model),
        "images": {"per_class": {"MEL": 4, "BCC": 3}},
        "pairs": {"count": 5, "layouts": "drawn"},
        "sampling": QUICK | {"batch_size": 3},
        "gates": {"mask_area": (0, 1), "components": None, "layout_iou": 0, "redraws": 1},
    }
    first = prepare_generation(AugmentRecipe.model_validate(asked))
    first_try, second_try = (
        np.array(
            [
                drawn.scores["contrast"]
                for plan in first.plan.values()
                for drawn in draw_batch(first, plan.shard(0), redraws, choose_device())
            ]
        )
        for redraws in (0, 1)
    )
    levels = np.unique([first_try, second_try])
    # The widest gap between two levels where one sample passes at once, one later and one never:
    # the last bits of a sample hang on its batch, which a gate changes.
    _, bound = max(
        (high - low, (low + high) / 2)
        for low, high in pairwise(levels)
        if {*zip(first_try > low, second_try > low, strict=True)} >= {(False, True), (False, False)}
        and (first_try > low).any()
    )
    return prepare_generation(
        AugmentRecipe.model_validate(asked | {"gates": asked["gates"] | {"contrast": bound.item()}})
    )


@pytest.fixture(scope="module")
def finished(job: GenerationJob, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    augment(job, out)
    return out


def test_every_sample_comes_back_to_the_bit(finished: Path, job: GenerationJob) -> None:
    # With the batch size of the run's own record, which the recipe in the directory lacks.
    again = prepare_generation(recipe_of(finished))
    assert again.recipe.sampling.batch_size != job.recipe.sampling.batch_size
    count = redrawn = 0
    for config in ("images", "pairs"):
        for sample in iterate(finished, config):
            assert remake(again, finished, sample.key).members == sample.members
            count += 1
            redrawn += sample.row["redraws"] > 0
    assert count
    assert 0 < redrawn < count


def test_a_recipe_may_ask_for_bf16_and_its_samples_come_back_to_the_bit(
    model: Path, tmp_path: Path
) -> None:
    plain = prepare_generation(tiny_recipe(model))
    asked = tiny_recipe(model, sampling=QUICK | {"mixed_precision": "bf16"})
    job = prepare_generation(asked)
    assert job.fingerprint != plain.fingerprint
    augment(job, tmp_path / "half")
    (sidecar, _) = read_sidecars(tmp_path / "half", "pairs")
    assert "bfloat16, because" in sidecar.versions["device"]
    assert "the recipe asks for bf16" in sidecar.versions["device"]
    wanted = next(iterate(tmp_path / "half", "pairs"))
    again = prepare_generation(recipe_of(tmp_path / "half"))
    assert remake(again, tmp_path / "half", wanted.key).members == wanted.members
    augment(plain, tmp_path / "whole")
    other = next(iterate(tmp_path / "whole", "pairs"))
    assert other.key == wanted.key and other.members["jpg"] != wanted.members["jpg"]


def test_it_needs_no_shard_and_writes_its_files(
    finished: Path, job: GenerationJob, tmp_path: Path
) -> None:
    wanted = next(iterate(finished, "pairs"))
    tar = finished / "pairs" / "pairs-000000.tar"
    whole = tar.read_bytes()
    tar.unlink()
    try:
        paths = write_members(remake(job, finished, wanted.key), tmp_path / "new")
    finally:
        tar.write_bytes(whole)
    assert {path.name: path.read_bytes() for path in paths} == {
        f"{wanted.key}.{extension}": data for extension, data in wanted.members.items()
    }
    assert sorted((tmp_path / "new").iterdir()) == sorted(paths)


def test_what_cannot_be_remade_is_one_sentence(
    finished: Path, job: GenerationJob, tmp_path: Path
) -> None:
    with pytest.raises(DidgenError, match="has no sample nobody"):
        remake(job, finished, "nobody")
    with pytest.raises(DidgenError, match="another recipe, model or data"):
        remake(replace(job, fingerprint="0" * 64), finished, "MEL-000000")
    with pytest.raises(DidgenError, match=r"run\.json does not exist"):
        remake(job, tmp_path, "MEL-000000")
    failed = [
        row["key"]
        for config in ("images", "pairs")
        for sidecar in read_sidecars(finished, config)
        for row in sidecar.rows
        if row["status"] == "failed"
    ]
    assert failed
    with pytest.raises(DidgenError, match=r"is in no shard .* drawn 2 times, at last near-blank"):
        remake(job, finished, failed[0])
    start_run(tmp_path, fingerprint="f00d", recipe={"kind": "mix"})
    with pytest.raises(DidgenError, match="holds no recipe of `didgen augment`"):
        recipe_of(tmp_path)
    start_run(tmp_path / "far", fingerprint="f00d", recipe={"model": "/elsewhere/model"})
    with pytest.raises(DidgenError, match="does not record where its inputs lie; name the recipe"):
        recipe_of(tmp_path / "far")
