"""Tests of samples: what a gate stops is drawn again, to the same end in any batch."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from didgen.augment.device import choose_device
from didgen.augment.generation.gates import fault
from didgen.augment.generation.prepare import GenerationJob, prepare_generation
from didgen.augment.generation.samples import draw_batch, make
from didgen.manifests.recipes.augment import AugmentRecipe, Gates
from didgen.manifests.shards.shard import Failure, Sample

REDRAWS = 2


@pytest.fixture(scope="module")
def plain(model: Path) -> GenerationJob:
    """A job of one shard of images, which no gate stops."""
    asked = {
        "model": str(model),
        "images": {"per_class": {"MEL": 5, "BCC": 4}},
        "pairs": None,
        "sampling": {"steps": 1, "batch_size": 4},
        "seed": 3,
    }
    return prepare_generation(AugmentRecipe.model_validate(asked))


@pytest.fixture(scope="module")
def job(plain: GenerationJob) -> GenerationJob:
    """The same, with a gate that stops about every second image of this model."""
    shard = plain.plan["images"].shard(0)
    drawn = draw_batch(plain, shard, 0, choose_device())
    bound = float(np.median([one.scores["contrast"] for one in drawn])) + 0.0005
    gates = Gates(contrast=bound, redraws=REDRAWS)
    return replace(plain, recipe=plain.recipe.model_copy(update={"gates": gates}))


def results(job: GenerationJob) -> list[Sample | Failure]:
    return list(make(job, job.plan["images"].shard(0), choose_device(), lambda _: None))


def test_each_sample_is_its_first_try_that_meets_the_gates(job: GenerationJob) -> None:
    tries = set()
    for planned, result in zip(job.plan["images"].shard(0), results(job), strict=True):
        reasons: list[str] = []
        # The naive way: one sample alone, try after try.
        for redraws in range(REDRAWS + 1):
            (alone,) = draw_batch(job, [planned], redraws, choose_device())
            reason = fault(alone.scores, job.recipe.gates)
            if reason is None:
                break
            reasons.append(reason)
        assert result.key == planned.key
        assert isinstance(result, Sample) == (reason is None)
        assert len(result.row["rejected"]) == len(reasons)
        assert all("near-blank image" in reason for reason in result.row["rejected"])
        assert result.row["redraws"] == redraws
        if isinstance(result, Sample):
            record = json.loads(result.members["json"])
            assert (record["seed"], record["redraws"]) == (planned.seed, redraws)
            assert result.row["batch"].count(planned.key) == 1
        else:
            assert result.reason.startswith(f"drawn {REDRAWS + 1} times, at last near-blank")
        tries.add(redraws)
    assert {0, 1} <= tries


def test_what_is_stopped_is_drawn_again_in_full_batches(job: GenerationJob) -> None:
    rows = [result.row for result in results(job) if isinstance(result, Sample)]
    again = [row for row in rows if row["redraws"] == 1]
    assert again
    stopped = [result.key for result in results(job) if result.row["redraws"] >= 1]
    for row in again:
        first = stopped.index(row["key"]) // 4 * 4
        assert row["batch"] == stopped[first : first + 4]


def test_a_sample_that_no_try_makes_usable_is_a_failure_with_every_reason(
    plain: GenerationJob,
) -> None:
    gates = Gates(contrast=255, redraws=1)
    hopeless = replace(plain, recipe=plain.recipe.model_copy(update={"gates": gates}))
    for planned, result in zip(hopeless.plan["images"].shard(0), results(hopeless), strict=True):
        assert isinstance(result, Failure)
        assert result.reason.startswith("drawn 2 times, at last near-blank image")
        assert len(result.row["rejected"]) == 2
        assert result.row["prompt"] == planned.prompt


def test_without_redraws_a_sample_is_drawn_once(plain: GenerationJob) -> None:
    gates = Gates(contrast=255, redraws=0)
    hopeless = replace(plain, recipe=plain.recipe.model_copy(update={"gates": gates}))
    assert {result.reason.partition(",")[0] for result in results(hopeless)} == {"drawn once"}  # type: ignore[union-attr]
