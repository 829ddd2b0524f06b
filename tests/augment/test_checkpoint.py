"""Tests of checkpoints: what is loaded is what was saved, and half of one is none."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from augment.checkpoint import checkpoints, load_checkpoint, save_checkpoint

Parts = tuple[nn.Module, AveragedModel, torch.optim.AdamW]


def parts(seed: int) -> Parts:
    """A small net with its average and optimizer."""
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(3, 4), nn.GroupNorm(2, 4), nn.Linear(4, 1))
    average = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    return module, average, torch.optim.AdamW(module.parameters(), lr=0.1)


def step(module: nn.Module, average: AveragedModel, optimizer: torch.optim.AdamW, at: int) -> None:
    """One optimisation step on data that the step's number decides."""
    data = torch.randn(5, 3, generator=torch.Generator().manual_seed(at))
    loss = module(data).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    average.update_parameters(module)


def equal(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules hold the same state, bit by bit."""
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][name], states[1][name]) for name in states[0]
    )


def test_a_run_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    straight = parts(0)
    for number in range(6):
        step(*straight, number)
    first = parts(0)
    for number in range(3):
        step(*first, number)
    save_checkpoint(tmp_path, 3, *first)
    second = parts(1)
    assert load_checkpoint(tmp_path, *second) == 3
    for number in range(3, 6):
        step(*second, number)
    assert equal(second[0], straight[0])
    assert equal(second[1], straight[1])
    assert not equal(second[1].module, second[0])


def test_without_a_checkpoint_nothing_is_changed(tmp_path: Path) -> None:
    module, average, optimizer = parts(0)
    assert load_checkpoint(tmp_path / "absent", module, average, optimizer) == 0
    assert equal(module, parts(0)[0])


def test_the_two_newest_are_kept_and_the_newest_is_loaded(tmp_path: Path) -> None:
    module, average, optimizer = parts(0)
    for number in (9, 10, 100):
        step(module, average, optimizer, number)
        save_checkpoint(tmp_path, number, module, average, optimizer)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-0000010", "step-0000100"]
    fresh = parts(1)
    assert load_checkpoint(tmp_path, *fresh) == 100
    assert equal(fresh[0], module)


def test_one_that_was_cut_off_does_not_count(tmp_path: Path) -> None:
    module, average, optimizer = parts(0)
    step(module, average, optimizer, 0)
    save_checkpoint(tmp_path, 1, module, average, optimizer)
    torn = tmp_path / "step-0000002.tmp"
    torn.mkdir()
    (torn / "weights.safetensors").write_bytes(b"\0" * 10)
    assert load_checkpoint(tmp_path, *parts(1)) == 1
    save_checkpoint(tmp_path, 2, module, average, optimizer)
    assert not torn.exists()
    assert load_checkpoint(tmp_path, *parts(1)) == 2


def test_the_average_is_optional(tmp_path: Path) -> None:
    module, _, optimizer = parts(0)
    save_checkpoint(tmp_path, 5, module, None, optimizer)
    fresh = parts(1)
    assert load_checkpoint(tmp_path, fresh[0], None, fresh[2]) == 5
    assert equal(fresh[0], module)


def test_nothing_is_pickled(tmp_path: Path) -> None:
    module, average, optimizer = parts(0)
    step(module, average, optimizer, 0)
    folder = save_checkpoint(tmp_path, 1, module, average, optimizer)
    assert sorted(path.name for path in folder.iterdir()) == [
        "average.safetensors",
        "optimizer.safetensors",
        "weights.safetensors",
    ]
    assert not list(tmp_path.glob("*.tmp"))


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    module, average, optimizer = parts(0)
    save_checkpoint(tmp_path, 1, module, average, optimizer)
    other = nn.Linear(2, 2)
    with pytest.raises(RuntimeError):
        load_checkpoint(tmp_path, other, None, torch.optim.AdamW(other.parameters()))
