"""Tests of the training loop: schedule, resuming, averaging, and what is left fixed."""

import math
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor, nn

from didgen.augment.finetuning.checkpoint import checkpoints
from didgen.augment.finetuning.dataset import ImageDataset
from didgen.augment.finetuning.loop import Average, Schedule, Stage, averaged, train
from didgen.manifests.errors import DidgenError
from didgen.manifests.sources.records import SourceManifest

SCHEDULE = Schedule(
    steps=6,
    batch_size=2,
    learning_rate=0.05,
    schedule="cosine",
    warmup_steps=2,
    weight_decay=0.1,
    max_grad_norm=1.0,
    ema_decay=None,
    checkpoint_every=3,
    seed=4,
)


class Brightness(nn.Module):
    """Predicts mean colours from a coarse picture; a net with an embedding that is not used."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trained = nn.ModuleDict({"net": nn.Linear(3 * 16, 3), "table": nn.Embedding(4, 2)})
        self.frozen = nn.Linear(3, 3).requires_grad_(False)
        self.seen: list[Tensor] = []
        self.steps: list[int] = []

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        pixels = batch["pixels"]
        self.seen.append(pixels)
        self.steps.append(batch["step"])
        coarse = nn.functional.avg_pool2d(pixels, 8).flatten(1)
        target = self.frozen(pixels.mean((2, 3)))
        row = self.trained["table"](torch.tensor([1]))
        loss = (self.trained["net"](coarse) - target).square().mean() + row.square().mean()
        return {"loss": loss, "other": loss.detach() * 2}


def run(
    manifest: SourceManifest,
    folder: Path,
    schedule: Schedule,
    saved: list[tuple[int, dict[str, Tensor]]] | None = None,
    then: Callable[[Brightness], None] = lambda module: None,
    scaler: torch.amp.GradScaler | None = None,
) -> Brightness:
    """Train a fresh module in a folder, like a process of its own; `then` ends a checkpoint."""
    accelerator = Accelerator(cpu=True)
    accelerator.scaler = scaler
    module = Brightness()
    dataset = ImageDataset(manifest, manifest.select(split="train"), 64, 32, "flips", seed=0)

    def keep(step: int) -> None:
        if saved is not None:
            weights = module.trained.state_dict()
            saved.append((step, {name: value.clone() for name, value in weights.items()}))
        then(module)

    stage = Stage("net", module, dataset, np.ones(len(dataset)), schedule)
    train(accelerator, stage, folder, keep)
    return module


class Killed(Exception):
    """Stands for a process that ends in the middle of a run."""


def test_a_killed_run_goes_on_to_the_same_weights(manifest: SourceManifest, tmp_path: Path) -> None:
    schedule = replace(SCHEDULE, ema_decay=0.8)
    straight = run(manifest, tmp_path / "straight", schedule)

    def kill(module: Brightness) -> None:
        raise Killed

    folder = tmp_path / "killed"
    with pytest.raises(Killed):
        run(manifest, folder, schedule, then=kill)
    resumed = run(manifest, folder, schedule)
    assert straight.steps == [0, 1, 2, 3, 4, 5] and resumed.steps == [3, 4, 5]
    for name, value in straight.trained.state_dict().items():
        assert torch.equal(value, resumed.trained.state_dict()[name]), name
    for expected, found in zip(straight.seen[3:], resumed.seen, strict=True):
        assert torch.equal(expected, found)

    again = run(manifest, folder, schedule)
    assert not again.seen
    for name, value in straight.trained.state_dict().items():
        assert torch.equal(value, again.trained.state_dict()[name]), name


@pytest.mark.parametrize(
    "schedule",
    [replace(SCHEDULE, schedule="constant"), replace(SCHEDULE, restart_every=3)],
    ids=["constant", "cycles"],
)
def test_a_training_made_longer_is_the_one_that_was_longer_at_once(
    manifest: SourceManifest, tmp_path: Path, schedule: Schedule
) -> None:
    schedule = replace(schedule, ema_decay=0.8)
    straight = run(manifest, tmp_path / "straight", schedule)
    run(manifest, tmp_path / "longer", replace(schedule, steps=4))
    longer = run(manifest, tmp_path / "longer", schedule)
    assert len(longer.seen) == 2
    for name, value in straight.trained.state_dict().items():
        assert torch.equal(value, longer.trained.state_dict()[name]), name


@pytest.mark.parametrize(
    ("circle", "told"),
    [(False, r"^{path} does not exist; [^\n]*$"), (True, r"^\[Errno \d+\] [^\n]*: '{path}'$")],
    ids=["gone", "unreadable"],
)
def test_an_image_that_went_after_import_is_named(
    manifest: SourceManifest, tmp_path: Path, circle: bool, told: str
) -> None:
    root = shutil.copytree(manifest.header.root, tmp_path / "source")
    header = manifest.header.model_copy(update={"root": str(root)})
    moved = SourceManifest(header, manifest.records)
    (gone, *_) = moved.select(split="train")
    path = moved.image_path(gone)
    path.unlink()
    if circle:
        path.symlink_to(path)
    error, said = OSError if circle else DidgenError, told.format(path=re.escape(str(path)))
    with pytest.raises(error, match=said):
        run(moved, tmp_path / "run", replace(SCHEDULE, steps=9))


@pytest.mark.parametrize("scaled", [False, True])
def test_weights_that_are_no_numbers_reach_no_checkpoint(
    manifest: SourceManifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scaled: bool
) -> None:
    # A scaler passes over steps whose loss is no number, and would do so to the end.
    scaler = torch.amp.GradScaler("cpu") if scaled else None
    monkeypatch.setattr("didgen.augment.finetuning.loop.PASSED_OVER", 1)

    def spoil(module: Brightness) -> None:
        with torch.no_grad():
            next(module.trained["net"].parameters())[0, 0] = torch.nan

    step = 5 if scaled else 4
    with pytest.raises(DidgenError, match=f"At step {step} the training of the net came to values"):
        run(manifest, tmp_path, SCHEDULE, then=spoil, scaler=scaler)
    (kept,) = checkpoints(tmp_path / "checkpoints" / "net")
    assert kept.name == "step-0000003"
    assert all(value.isfinite().all() for value in load_file(kept / "weights.safetensors").values())


def test_fewer_steps_than_were_trained_are_refused(
    manifest: SourceManifest, tmp_path: Path
) -> None:
    run(manifest, tmp_path, SCHEDULE)
    newest = checkpoints(tmp_path / "checkpoints" / "net")
    with pytest.raises(DidgenError, match="has 6 steps already, more than the 5 asked for"):
        run(manifest, tmp_path, replace(SCHEDULE, steps=5))
    assert checkpoints(tmp_path / "checkpoints" / "net") == newest


def test_the_steps_are_those_of_plain_adamw(manifest: SourceManifest, tmp_path: Path) -> None:
    saved: list[tuple[int, dict[str, Tensor]]] = []
    module = run(manifest, tmp_path, SCHEDULE, saved)
    assert [step for step, _ in saved] == [3, 6]

    plain = Brightness()
    net, table = plain.trained["net"], plain.trained["table"]
    optimizer = torch.optim.AdamW(
        [
            {"params": net.parameters(), "weight_decay": 0.1},
            {"params": table.parameters(), "weight_decay": 0.0},
        ]
    )
    average = {name: value.clone() for name, value in plain.trained.state_dict().items()}
    for step, pixels in enumerate(module.seen):
        for group in optimizer.param_groups:
            group["lr"] = SCHEDULE.rate(step)
        optimizer.zero_grad()
        plain({"pixels": pixels, "step": step})["loss"].backward()
        nn.utils.clip_grad_norm_(plain.trained.parameters(), 1.0)
        optimizer.step()
        for name, value in plain.trained.state_dict().items():
            decay = 0.0 if step == 0 else min(0.3, (1 + step) / (10 + step))
            average[name] = decay * average[name] + (1 - decay) * value
    for name, value in plain.trained.state_dict().items():
        torch.testing.assert_close(module.trained.state_dict()[name], value)

    averaged = run(manifest, tmp_path / "averaged", replace(SCHEDULE, ema_decay=0.3), saved)
    for name, value in average.items():
        torch.testing.assert_close(averaged.trained.state_dict()[name], value)
        # The sample sheets show the average too.
        torch.testing.assert_close(saved[-1][1][name], value)
    before = Brightness().state_dict()
    unused = torch.tensor([0, 2, 3])
    after = plain.state_dict()
    assert torch.equal(
        after["trained.table.weight"][unused], before["trained.table.weight"][unused]
    )
    assert torch.equal(module.frozen.weight, before["frozen.weight"])


def test_batches_that_are_added_up_are_one_large_batch(
    manifest: SourceManifest, tmp_path: Path
) -> None:
    schedule = replace(SCHEDULE, batch_size=4, ema_decay=0.8)
    whole = run(manifest, tmp_path / "whole", schedule)
    parts = run(manifest, tmp_path / "added", replace(schedule, batch_size=2, accumulation=2))
    assert parts.steps == [step for step in range(6) for _ in range(2)]
    for step, pixels in enumerate(whole.seen):
        assert torch.equal(torch.cat(parts.seen[2 * step : 2 * step + 2]), pixels)
    for name, value in whole.trained.state_dict().items():
        torch.testing.assert_close(parts.trained.state_dict()[name], value)


def test_a_killed_run_of_added_batches_goes_on_with_whole_steps(
    manifest: SourceManifest, tmp_path: Path
) -> None:
    added = replace(SCHEDULE, accumulation=3)
    straight = run(manifest, tmp_path / "straight", added)

    def kill(module: Brightness) -> None:
        raise Killed

    with pytest.raises(Killed):
        run(manifest, tmp_path / "killed", added, then=kill)
    resumed = run(manifest, tmp_path / "killed", added)
    assert resumed.steps == [3, 3, 3, 4, 4, 4, 5, 5, 5]
    for name, value in straight.trained.state_dict().items():
        assert torch.equal(value, resumed.trained.state_dict()[name]), name


def test_checkpoints_hold_what_trains_and_no_more(manifest: SourceManifest, tmp_path: Path) -> None:
    run(manifest, tmp_path, replace(SCHEDULE, ema_decay=0.8))
    newest = tmp_path / "checkpoints" / "net" / "step-0000006"
    trained = {"trained.net.weight", "trained.net.bias", "trained.table.weight"}
    for name in ("weights", "average"):
        assert load_file(newest / f"{name}.safetensors").keys() == trained


def test_the_average_is_there_for_a_while_and_takes_no_weight_along() -> None:
    module = nn.Linear(2, 2)
    average = Average(dict(module.named_parameters()), 0.5)
    first = module.weight.detach().clone()
    average.update(0)
    with torch.no_grad():
        module.weight += 1
    average.update(100)
    pointers = {module.weight.data_ptr(), average.values["weight"].data_ptr()}
    with averaged(average):
        torch.testing.assert_close(module.weight.detach(), first + 0.5)
    torch.testing.assert_close(module.weight.detach(), first + 1)
    assert pointers == {module.weight.data_ptr(), average.values["weight"].data_ptr()}
    with averaged(None):
        torch.testing.assert_close(module.weight.detach(), first + 1)


def test_a_short_training_forgets_its_first_weights_whatever_the_decay() -> None:
    module = nn.Linear(2, 2)
    average = Average(dict(module.named_parameters()), 0.9999)
    average.update(0)
    with torch.no_grad():
        module.weight += 1
    for step in range(1, 100):
        average.update(step)
    left = module.weight.detach() - average.values["weight"]
    assert left.abs().max() < 1e-6


def test_the_rate_warms_up_and_ends_as_the_schedule_says() -> None:
    constant = replace(SCHEDULE, schedule="constant", warmup_steps=4, steps=20, learning_rate=1.0)
    assert [constant.rate(step) for step in (0, 1, 2, 3, 4, 19)] == [0.25, 0.5, 0.75, 1, 1, 1]
    cosine = replace(constant, schedule="cosine", warmup_steps=0)
    rates = [cosine.rate(step) for step in range(20)]
    assert rates[0] == 1
    assert rates[10] == pytest.approx(0.5)
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 0.01
    assert cosine.rate(5) == pytest.approx(0.5 + 0.5 * math.cos(math.pi / 4))


def test_a_restarted_cosine_is_one_cycle_again_and_again() -> None:
    once = replace(SCHEDULE, steps=10, warmup_steps=3)
    cycles = replace(once, steps=25, restart_every=10)
    assert [cycles.rate(step) for step in range(25)] == [once.rate(step % 10) for step in range(25)]


class Rivals(nn.Module):
    """Two players: `critic` moves to the pictures' mean, `painter` to what the critic is at."""

    def __init__(self) -> None:
        super().__init__()
        self.critic = nn.Linear(3, 1, bias=False)
        self.painter = nn.Linear(1, 1, bias=False)
        with torch.no_grad():
            self.critic.weight.fill_(1.0)
            self.painter.weight.fill_(2.0)
        self.told: list[tuple[int, str, bool, bool]] = []

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        learning = (self.critic.weight.requires_grad, self.painter.weight.requires_grad)
        self.told.append((batch["step"], batch["turn"], *learning))
        output = self.critic(batch["pixels"].mean((2, 3))).mean()
        if batch["turn"] == "critic":
            return {"loss": (output - 5).square() + self.painter.weight.square().sum()}
        return {"loss": (self.painter.weight - output.detach()).square().sum()}


TURNS = replace(SCHEDULE, turns=("critic", "painter"), weight_decay=0.0, max_grad_norm=math.inf)


def duel(
    manifest: SourceManifest, folder: Path, schedule: Schedule, at: Callable[[int], None] = print
) -> Rivals:
    """Train two players in a folder."""
    module, records = Rivals(), list(manifest.records)
    dataset = ImageDataset(manifest, records, 64, 32, "flips", seed=0)
    weights = np.ones(len(dataset))
    stage = Stage("duel", module, dataset, weights, schedule)
    train(Accelerator(cpu=True), stage, folder, at)
    return module


def test_nets_take_turns_and_move_in_their_own_alone(
    manifest: SourceManifest, tmp_path: Path
) -> None:
    """One optimiser for both is two of them: each net goes where its own Adam would bring it."""
    module = duel(manifest, tmp_path, replace(TURNS, steps=1, warmup_steps=0))
    assert module.told == [(0, "critic", True, False), (0, "painter", False, True)]
    # A first step of Adam is as long as the rate, whatever the gradient: it has its sign.
    torch.testing.assert_close(
        module.critic.weight.abs() - 1, torch.full((1, 3), 0.05).copysign(module.critic.weight - 1)
    )
    assert abs(module.painter.weight.item() - 2.0) == pytest.approx(0.05, abs=1e-6)
    kept = load_file(checkpoints(tmp_path / "checkpoints" / "duel")[-1] / "optimizer.safetensors")
    assert all(kept[f"{number}.step"].item() == 1 for number in (0, 1)), "a step of each, not two"


def test_a_killed_duel_goes_on_to_the_same_weights_and_averages_its_last_player(
    manifest: SourceManifest, tmp_path: Path
) -> None:
    def kill(step: int) -> None:
        raise Killed

    schedule = replace(TURNS, ema_decay=0.8)
    straight = duel(manifest, tmp_path / "straight", schedule)
    with pytest.raises(Killed):
        duel(manifest, tmp_path / "killed", schedule, kill)
    resumed = duel(manifest, tmp_path / "killed", schedule)
    assert resumed.told[0][0] == 3
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    newest = checkpoints(tmp_path / "straight" / "checkpoints" / "duel")[-1]
    assert {*load_file(newest / "average.safetensors")} == {"painter.weight"}


def test_a_linear_rate_is_constant_over_the_first_half_and_falls_to_zero() -> None:
    schedule = replace(SCHEDULE, schedule="linear", steps=10, warmup_steps=0, learning_rate=1.0)
    rates = [schedule.rate(step) for step in range(10)]
    assert rates == pytest.approx([1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])
    assert not schedule.extendable
