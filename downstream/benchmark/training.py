"""Training of a network: one loop for every benchmark, ended early and left at its best.

Notable choices:
- An evaluation comes after as many steps in every arm, so that patience means the same everywhere.
- The best weights are kept in memory and restored at the end; a training that is stopped begins
  again, since the unit that resumes is one training among many.
"""

import copy
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from timm.optim import param_groups_weight_decay
from timm.scheduler import CosineLRScheduler
from torch import Tensor, nn

from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.fields import Precision


@dataclass(frozen=True)
class Schedule:
    """How long a network trains and how fast it learns; `evaluate_every` and `steps` in steps."""

    steps: int
    evaluate_every: int
    patience: int
    learning_rate: float
    weight_decay: float
    warmup: float
    max_grad_norm: float


@dataclass(frozen=True)
class Evaluation:
    """One evaluation: the mean training loss since the last one, and the validation score."""

    step: int
    loss: float
    score: float


@dataclass(frozen=True)
class Trained:
    """What a training did; the network then holds the weights of `best`."""

    best: Evaluation
    steps: int
    seconds: float
    history: tuple[Evaluation, ...]


def precision_here(asked: Precision | None) -> Precision:
    """What a recipe asks for; unasked bf16 on a GPU, fp16 on older ones, float32 on a CPU."""
    if asked is not None or not torch.cuda.is_available():
        return asked or "no"
    # Older cards only emulate bf16, slowly.
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def machine_here(asked: Precision | None) -> str:
    """The device and number format that trainings have here, with the reason."""
    if torch.cuda.is_available():
        name, reason = "cuda", f"{torch.cuda.get_device_name()} is there"
    elif torch.backends.mps.is_available():
        name, reason = "mps", "Apple's GPU is there"
    else:
        name, reason = "cpu", f"there is no GPU, {os.cpu_count()} cores"
    kind = {"no": "float32", "bf16": "bfloat16", "fp16": "float16"}[precision_here(asked)]
    wish = f" and the recipe asks for {asked}" if asked else ""
    return f"{name}, {kind}, because {reason}{wish}"


def start_accelerator(
    precision: Precision | None, trackers: Iterable[str], folder: Path
) -> Accelerator:
    """An accelerator of this process; a tracker or precision it cannot have is a `DidgenError`."""
    wanted = list(trackers)
    there = [tracker.value for tracker in get_available_trackers()]
    if missing := [name for name in wanted if name not in there]:
        raise DidgenError(
            f"The tracker {missing[0]} is not installed; install it or take it out of `trackers`."
        )
    if precision == "fp16" and not torch.cuda.is_available():
        raise DidgenError("A CPU cannot train in fp16; set `mixed_precision` to bf16 or no.")
    # An empty list is taken for trackers that are not installed.
    accelerator = Accelerator(
        mixed_precision=precision_here(precision), log_with=wanted or None, project_dir=folder
    )
    if accelerator.num_processes > 1:
        raise DidgenError(
            "A benchmark trains its networks one after another in one process; start it without "
            "`accelerate launch`."
        )
    return accelerator


def train(
    accelerator: Accelerator,
    network: nn.Module,
    batches: Iterable[dict[str, Tensor]],
    loss_of: Callable[[nn.Module, dict[str, Tensor]], Tensor],
    score_of: Callable[[nn.Module], float],
    schedule: Schedule,
    on_step: Callable[[int], None] | None = None,
) -> Trained:
    """Minimise `loss_of` over the batches; keep the weights with the highest `score_of`.

    `batches` has one batch a step. `score_of` gets the network in eval mode; of equal scores the
    first is kept. A loss that is not finite is a `DidgenError`.
    """
    # Convolutions on GPUs and in bf16 want channels last; networks without any do not mind.
    network.to(accelerator.device).to(memory_format=torch.channels_last)
    groups = param_groups_weight_decay(network, schedule.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=schedule.learning_rate)
    warmup = round(schedule.warmup * schedule.steps)
    rates = CosineLRScheduler(
        optimizer,
        t_initial=max(1, schedule.steps - warmup),
        warmup_t=warmup,
        warmup_lr_init=schedule.learning_rate / max(1, warmup),
        warmup_prefix=True,
        t_in_epochs=False,
    )
    wrapped, optimizer = accelerator.prepare(network, optimizer)
    history: list[Evaluation] = []
    best: Evaluation | None = None
    weights: dict[str, Tensor] = {}
    losses: list[Tensor] = []
    started = perf_counter()
    step = 0
    for step, batch in enumerate(batches, 1):
        rates.step_update(step - 1)
        wrapped.train()
        moved = {name: part.to(accelerator.device) for name, part in batch.items()}
        with accelerator.autocast():
            loss = loss_of(wrapped, moved)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(wrapped.parameters(), schedule.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.detach())
        if on_step:
            on_step(step)
        if step % schedule.evaluate_every and step < schedule.steps:
            continue
        mean = float(torch.stack(losses).float().mean())
        losses = []
        if not math.isfinite(mean):
            raise DidgenError(
                f"The training's loss is not finite at step {step}; lower `learning_rate`, or set "
                "`mixed_precision: no`."
            )
        wrapped.eval()
        with torch.no_grad(), accelerator.autocast():
            score = score_of(wrapped)
        history.append(Evaluation(step, mean, score))
        rate = optimizer.param_groups[0]["lr"]
        accelerator.log({"loss": mean, "score": score, "learning_rate": rate}, step=step)
        if best is None or score > best.score:
            best = history[-1]
            weights = copy.deepcopy(network.state_dict())
        elif len(history) - history.index(best) > schedule.patience:
            break
    assert best is not None, "a training has one step or more"
    network.load_state_dict(weights)
    network.eval()
    return Trained(best, step, perf_counter() - started, tuple(history))


def summary(trained: Trained) -> dict[str, Any]:
    """What a training did, as JSON can hold it."""
    return {
        "best_step": trained.best.step,
        "best_score": trained.best.score,
        "steps": trained.steps,
        "seconds": trained.seconds,
        "history": [vars(one) for one in trained.history],
    }
