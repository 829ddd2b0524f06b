"""Tests of the training loop: what it learns, when it ends, which weights it leaves."""

import copy
import math
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from didgen.downstream.benchmark.checkpoint import Checkpoint
from didgen.downstream.benchmark.training import (
    Goal,
    Schedule,
    Trained,
    Watch,
    precision_here,
    start_accelerator,
    summary,
    train,
)
from didgen.manifests.errors import DidgenError


def schedule(**fields: Any) -> Schedule:
    given = {
        "steps": 40,
        "evaluate_every": 10,
        "patience": 10,
        "learning_rate": 0.05,
        "weight_decay": 0.0,
        "warmup": 0.1,
        "max_grad_norm": 1.0,
    }
    return Schedule(**given | fields)


def batches(steps: int, poison: int | None = None) -> Iterator[dict[str, Tensor]]:
    """Points labelled by the sign of their sum; batch number `poison` is not finite."""
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        points = torch.randn(16, 3, generator=generator)
        if step == poison:
            points = points * math.nan
        yield {"points": points, "label": (points.sum(1) > 0).long()}


def loss_of(network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return nn.functional.cross_entropy(network(batch["points"]), batch["label"])


def run(
    score_of: Callable[[nn.Module], float],
    network: nn.Module | None = None,
    poison: int | None = None,
    watch: Watch = Watch(),  # noqa: B008 - immutable
    **fields: Any,
) -> Trained:
    torch.manual_seed(0)
    planned = schedule(**fields)
    return train(
        Accelerator(cpu=True),
        network if network is not None else nn.Linear(3, 2),
        lambda done: islice(batches(planned.steps, poison), done, None),
        Goal(loss_of, score_of),
        planned,
        watch,
    )


def test_it_learns() -> None:
    network = nn.Linear(3, 2)
    points = torch.randn(200, 3, generator=torch.Generator().manual_seed(9))

    def accuracy(module: nn.Module) -> float:
        assert not module.training
        return float((module(points).argmax(1) == (points.sum(1) > 0)).float().mean())

    trained = run(accuracy, network, steps=120)
    assert trained.best.score > 0.95
    assert trained.history[-1].loss < trained.history[0].loss
    assert accuracy(network.eval()) == trained.best.score


def test_the_best_weights_are_restored_and_the_first_of_equals_is_kept() -> None:
    network, seen = nn.Linear(3, 2), []
    scores = iter([0.1, 0.7, 0.7, 0.3])

    def score(module: nn.Module) -> float:
        seen.append(copy.deepcopy(module.state_dict()))
        return next(scores)

    trained = run(score, network)
    assert trained.best.step == 20
    assert torch.equal(network.weight, seen[1]["weight"])
    assert not torch.equal(network.weight, seen[3]["weight"])
    assert [one.step for one in trained.history] == [10, 20, 30, 40]
    assert summary(trained)["history"][1]["score"] == 0.7


@pytest.mark.parametrize("patience", [1, 2, 5])
def test_it_ends_after_as_many_evaluations_without_a_better_one(patience: int) -> None:
    scores = iter([0.5, 0.9, *[0.1] * 20])
    trained = run(lambda _: next(scores), patience=patience, steps=200, evaluate_every=10)
    assert trained.steps == 10 * (2 + patience)
    assert trained.best.step == 20


def test_the_last_step_is_evaluated() -> None:
    trained = run(lambda _: 0.0, steps=25)
    assert [one.step for one in trained.history] == [10, 20, 25]


def test_the_rate_rises_and_falls_along_a_cosine(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = []
    monkeypatch.setattr(
        Accelerator, "log", lambda self, values, step: rates.append(values["learning_rate"])
    )
    run(lambda _: 0.0, steps=40, evaluate_every=1, patience=99, learning_rate=0.5)
    assert rates[:4] == pytest.approx([0.125, 0.21875, 0.3125, 0.40625])
    oracle = [0.25 * (1 + math.cos(math.pi * step / 36)) for step in range(36)]
    assert rates[4:] == pytest.approx(oracle)


def test_a_loss_that_is_not_finite_ends_it() -> None:
    with pytest.raises(DidgenError, match="not finite at step 20; lower `learning_rate`"):
        run(lambda _: 0.0, poison=12)


class Stopped(Exception):
    """A machine that goes away."""


def dropping() -> nn.Sequential:
    """A network whose training needs chance, and a moving mean."""
    return nn.Sequential(nn.Linear(3, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 2))


def agreement(module: nn.Module) -> float:
    points = torch.randn(64, 3, generator=torch.Generator().manual_seed(9))
    return float((module(points).argmax(1) == (points.sum(1) > 0)).float().mean())


@pytest.mark.parametrize("stop", [1, 13, 20, 39])
def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(
    stop: int, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    start = dropping().state_dict()

    def network() -> nn.Module:
        made = dropping()
        made.load_state_dict(start)
        return made

    def stopping(step: int) -> None:
        if step == stop + 1:
            raise Stopped

    whole, part, resumed = network(), network(), network()
    asked = run(agreement, whole)
    always = Checkpoint(tmp_path, "asked", every=0)
    with pytest.raises(Stopped):
        run(agreement, part, watch=Watch(stopping, always))
    steps: list[int] = []
    found = run(agreement, resumed, watch=Watch(steps.append, always))
    assert steps == list(range(stop + 1, 41))
    assert found.history == asked.history
    assert found.best == asked.best
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    always.remove()
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_another_training_or_a_torn_one_is_not_taken(tmp_path: Path) -> None:
    always = Checkpoint(tmp_path, "asked", every=0)
    run(agreement, watch=Watch(None, always))
    assert always.read() is not None
    assert Checkpoint(tmp_path, "another").read() is None
    always.path.write_bytes(always.path.read_bytes()[:-9])
    assert always.read() is None


def test_a_short_training_writes_no_checkpoint(tmp_path: Path) -> None:
    trained = run(agreement, watch=Watch(None, Checkpoint(tmp_path, "asked")))
    assert not list(tmp_path.iterdir())
    assert trained.peak_memory > 2**20


def test_what_the_machine_lacks_is_said(tmp_path: Path) -> None:
    with pytest.raises(DidgenError, match="The tracker aim is not installed"):
        start_accelerator("no", ["tensorboard", "aim"], tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(DidgenError, match="A CPU cannot train in fp16"):
            start_accelerator("fp16", [], tmp_path)


@pytest.mark.parametrize(
    ("gpu", "bf16", "fast"), [(True, True, "bf16"), (True, False, "fp16"), (False, True, "no")]
)
def test_unasked_a_benchmark_takes_what_its_device_is_fast_in(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, bf16: bool, fast: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    assert precision_here(None) == fast
    assert precision_here("no") == "no"


def test_curves_reach_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accelerator = start_accelerator("no", ["tensorboard"], tmp_path)
    accelerator.init_trackers("curves")
    goal = Goal(loss_of, lambda _: 0.5)
    train(accelerator, nn.Linear(3, 2), lambda done: batches(40), goal, schedule())
    accelerator.end_training()
    events = EventAccumulator(str(tmp_path / "curves"))
    events.Reload()
    assert [event.step for event in events.Scalars("score")] == [10, 20, 30, 40]
    assert {"loss", "score", "learning_rate"} <= set(events.Tags()["scalars"])
