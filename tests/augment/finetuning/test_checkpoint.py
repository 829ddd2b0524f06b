"""Tests of checkpoints: what is loaded is what was saved, and half of one is none."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.amp import GradScaler

from didgen.augment.finetuning.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from didgen.manifests.errors import DidgenError


class Parts:
    """A small net with a second set of tensors, an optimizer and a scaler."""

    def __init__(self, seed: int, *, channels_last: bool = False) -> None:
        torch.manual_seed(seed)
        self.module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Conv2d(4, 1, 1))
        if channels_last:
            self.module.to(memory_format=torch.channels_last)
        self.weights: dict[str, Tensor] = dict(self.module.named_parameters())
        self.average = {name: value.detach().clone() for name, value in self.weights.items()}
        self.optimizer = torch.optim.AdamW(self.module.parameters(), lr=0.1)
        self.scaler = GradScaler("cpu", init_scale=2.0**60, growth_interval=2)

    def state(
        self,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], torch.optim.Optimizer, GradScaler]:
        """What a checkpoint takes."""
        return self.weights, self.average, self.optimizer, self.scaler

    def step(self, at: int) -> float:
        """One step on data that the step's number decides, its loss scaled; returns the scale."""
        data = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(at))
        self.optimizer.zero_grad()
        # A scale that overflows, like that of fp16, is halved and its step is left out.
        loss = self.module(data).square().mean() * 2.0**70
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        for name, value in self.weights.items():
            self.average[name].lerp_(value.detach(), 0.1)
        return float(self.scaler.get_scale())


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two sets of tensors are the same, bit by bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_run_goes_on_as_if_it_had_not_stopped(tmp_path: Path, channels_last: bool) -> None:
    straight = Parts(0, channels_last=channels_last)
    scales = [straight.step(number) for number in range(8)]
    first = Parts(0, channels_last=channels_last)
    for number in range(5):
        first.step(number)
    save_checkpoint(tmp_path, 5, *first.state())
    second = Parts(1, channels_last=channels_last)
    assert load_checkpoint(tmp_path, *second.state()) == 5
    assert [second.step(number) for number in range(5, 8)] == scales[5:]
    assert equal(second.weights, straight.weights)
    assert equal(second.average, straight.average)
    assert not equal(second.average, second.weights)
    # The scale both fell and grew, and weights moved: none of the above holds for nothing.
    assert len(set(scales)) > 1
    assert not equal(second.weights, Parts(0).weights)


def test_without_a_checkpoint_nothing_is_changed(tmp_path: Path) -> None:
    parts = Parts(0)
    assert load_checkpoint(tmp_path / "absent", *parts.state()) == 0
    assert equal(parts.weights, Parts(0).weights)


def test_the_two_newest_are_kept_and_the_newest_is_loaded(tmp_path: Path) -> None:
    parts = Parts(0)
    for number in (9, 10, 100):
        parts.step(number)
        save_checkpoint(tmp_path, number, *parts.state())
    assert [path.name for path in checkpoints(tmp_path)] == ["step-0000010", "step-0000100"]
    fresh = Parts(1)
    assert load_checkpoint(tmp_path, *fresh.state()) == 100
    assert equal(fresh.weights, parts.weights)


def test_one_that_was_cut_off_does_not_count(tmp_path: Path) -> None:
    parts = Parts(0)
    save_checkpoint(tmp_path, 1, *parts.state())
    torn = tmp_path / "step-0000002.tmp"
    torn.mkdir()
    (torn / "weights.safetensors").write_bytes(b"\0" * 10)
    assert load_checkpoint(tmp_path, *Parts(1).state()) == 1
    save_checkpoint(tmp_path, 2, *parts.state())
    assert not torn.exists()
    assert load_checkpoint(tmp_path, *Parts(1).state()) == 2


def test_weights_in_half_precision_are_enough_to_go_on_from(tmp_path: Path) -> None:
    parts, fresh = Parts(0), Parts(1)
    for number in range(3):
        parts.step(number)
    folder = save_checkpoint(tmp_path, 3, *parts.state())
    for path in folder.iterdir():
        path.unlink()
    half = {name: value.detach().half() for name, value in parts.average.items()}
    save_file(half, folder / "weights.safetensors")
    assert load_checkpoint(tmp_path, *fresh.state()) == 3
    assert equal(fresh.weights, {name: value.float() for name, value in half.items()})
    assert equal(fresh.weights, fresh.average)
    assert not fresh.optimizer.state_dict()["state"]
    assert fresh.scaler.state_dict() == Parts(1).scaler.state_dict()
    # The fresh scale overflows at first, and falls with each step that is left out.
    for number in range(3, 12):
        fresh.step(number)
    assert not equal(fresh.weights, fresh.average)


def test_a_run_may_go_on_where_losses_are_scaled(tmp_path: Path) -> None:
    parts, fresh = Parts(0), Parts(1)
    parts.step(0)
    save_checkpoint(tmp_path, 1, parts.weights, parts.average, parts.optimizer)
    assert load_checkpoint(tmp_path, *fresh.state()) == 1
    assert equal(fresh.weights, parts.weights)
    assert fresh.scaler.state_dict() == Parts(1).scaler.state_dict()


def test_average_and_scaler_are_optional(tmp_path: Path) -> None:
    parts, fresh = Parts(0), Parts(1)
    folder = save_checkpoint(tmp_path, 5, parts.weights, None, parts.optimizer)
    assert len(list(folder.iterdir())) == 2
    assert load_checkpoint(tmp_path, fresh.weights, None, fresh.optimizer) == 5
    assert equal(fresh.weights, parts.weights)


def test_only_what_is_given_is_kept_and_nothing_is_pickled(tmp_path: Path) -> None:
    parts = Parts(0)
    parts.step(0)
    folder = save_checkpoint(tmp_path, 1, *parts.state())
    assert sorted(path.name for path in folder.iterdir()) == [
        "average.safetensors",
        "optimizer.safetensors",
        "scaler.safetensors",
        "weights.safetensors",
    ]
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("change", ["shape", "name"])
def test_other_weights_are_refused(tmp_path: Path, change: str) -> None:
    parts = Parts(0)
    save_checkpoint(tmp_path, 1, *parts.state())
    other = {name if change == "shape" else f"x{name}": v for name, v in parts.weights.items()}
    if change == "shape":
        other["0.bias"] = torch.zeros(7)
    with pytest.raises(DidgenError, match=r"holds other tensors than the model trains.*; put back"):
        load_checkpoint(tmp_path, other, None, parts.optimizer)


@pytest.mark.parametrize("name", ["weights", "average", "optimizer"])
def test_one_that_was_cut_off_on_its_way_is_named(tmp_path: Path, name: str) -> None:
    parts = Parts(0)
    path = save_checkpoint(tmp_path, 1, *parts.state()) / f"{name}.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DidgenError, match=rf"{name}\.safetensors is damaged .*; copy it again"):
        load_checkpoint(tmp_path, *parts.state())
