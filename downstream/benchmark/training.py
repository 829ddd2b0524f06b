"""Training of a network: one loop for every benchmark, ended early and left at its best.

Notable choices:
- An evaluation comes after as many steps in every arm, so that patience means the same everywhere.
- The best weights are kept in memory and restored at the end.
- A training is a state that goes from step to step: what a checkpoint holds is all of it, so that
  one that goes on gives what one in a single piece would have given.
"""

import copy
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
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

from didgen.downstream.benchmark.checkpoint import Checkpoint
from didgen.downstream.benchmark.memory import peak_memory, start_measuring
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
    peak_memory: int = 0
    """Most bytes that it took: of the GPU, or else of the process."""


@dataclass(frozen=True)
class Goal:
    """What a training minimises, and by what its weights are judged (in eval mode)."""

    loss_of: Callable[[nn.Module, dict[str, Tensor]], Tensor]
    score_of: Callable[[nn.Module], float]


@dataclass(frozen=True)
class Watch:
    """Who follows a training: a progress bar, and a checkpoint if it takes long."""

    on_step: Callable[[int], None] | None = None
    checkpoint: Checkpoint | None = None


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


class TrainingState:
    """The state of a training: network, optimizer, rates, and what was seen of it so far."""

    def __init__(
        self, accelerator: Accelerator, network: nn.Module, goal: Goal, schedule: Schedule
    ) -> None:
        # Convolutions on GPUs and in bf16 want channels last; networks without any do not mind.
        network.to(accelerator.device).to(memory_format=torch.channels_last)
        groups = param_groups_weight_decay(network, schedule.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=schedule.learning_rate)
        warmup = round(schedule.warmup * schedule.steps)
        self.rates = CosineLRScheduler(
            optimizer,
            t_initial=max(1, schedule.steps - warmup),
            warmup_t=warmup,
            warmup_lr_init=schedule.learning_rate / max(1, warmup),
            warmup_prefix=True,
            t_in_epochs=False,
        )
        self.accelerator, self.goal, self.schedule = accelerator, goal, schedule
        self.network = network
        self.wrapped, self.optimizer = accelerator.prepare(network, optimizer)
        self.step = 0
        self.seconds = 0.0
        self.history: list[Evaluation] = []
        self.best: Evaluation | None = None
        self.weights: dict[str, Tensor] = {}
        self.losses: list[Tensor] = []

    def advance(self, batch: dict[str, Tensor]) -> None:
        """One step on one batch."""
        self.rates.step_update(self.step)
        self.step += 1
        self.wrapped.train()
        moved = {name: part.to(self.accelerator.device) for name, part in batch.items()}
        with self.accelerator.autocast():
            loss = self.goal.loss_of(self.wrapped, moved)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.wrapped.parameters(), self.schedule.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.losses.append(loss.detach())

    @property
    def due(self) -> bool:
        """Whether an evaluation is due: after so many steps, and after the last one."""
        schedule = self.schedule
        return self.step % schedule.evaluate_every == 0 or self.step == schedule.steps

    def evaluate(self) -> bool:
        """Score the network, keep its weights if they are the best; whether to go on."""
        mean = float(torch.stack(self.losses).float().mean())
        self.losses = []
        if not math.isfinite(mean):
            raise DidgenError(
                f"The training's loss is not finite at step {self.step}; lower `learning_rate`, or "
                "set `mixed_precision: no`."
            )
        self.wrapped.eval()
        with torch.no_grad(), self.accelerator.autocast():
            score = self.goal.score_of(self.wrapped)
        self.history.append(Evaluation(self.step, mean, score))
        rate = self.optimizer.param_groups[0]["lr"]
        reported = {"loss": mean, "score": score, "learning_rate": rate}
        self.accelerator.log(reported, step=self.step)
        if self.best is None or score > self.best.score:
            self.best = self.history[-1]
            self.weights = copy.deepcopy(self.network.state_dict())
            return True
        return len(self.history) - self.history.index(self.best) <= self.schedule.patience

    def tensors(self) -> dict[str, Tensor]:
        """All of the state that is tensors, the generators of chance among it."""
        state = {f"network/{name}": part for name, part in self.network.state_dict().items()}
        state |= {f"best/{name}": part for name, part in self.weights.items()}
        for place, values in self.optimizer.state_dict()["state"].items():
            state |= {f"optimizer/{place}/{name}": part for name, part in values.items()}
        if self.losses:
            state["losses"] = torch.stack(self.losses)
        state["chance/cpu"] = torch.random.get_rng_state()
        if torch.cuda.is_available():
            state["chance/cuda"] = torch.cuda.get_rng_state()
        return state

    def facts(self) -> str:
        """The rest of the state, as JSON."""
        scaler = self.accelerator.scaler
        return json.dumps(
            {
                "step": self.step,
                "seconds": self.seconds,
                "history": [vars(one) for one in self.history],
                "best": None if self.best is None else self.history.index(self.best),
                "scaler": None if scaler is None else scaler.state_dict(),
            }
        )

    def restore(self, tensors: Mapping[str, Tensor], facts: str) -> None:
        """Become the training whose state this is."""
        told = json.loads(facts)
        self.network.load_state_dict(_under("network", tensors))
        self.weights = _under("best", tensors)
        states: dict[int, dict[str, Tensor]] = {}
        for name, part in _under("optimizer", tensors).items():
            place, _, kind = name.partition("/")
            states.setdefault(int(place), {})[kind] = part
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": states, "param_groups": groups})
        self.step, self.seconds = told["step"], told["seconds"]
        self.history = [Evaluation(**one) for one in told["history"]]
        self.best = None if told["best"] is None else self.history[told["best"]]
        if "losses" in tensors:
            self.losses = list(tensors["losses"].to(self.accelerator.device))
        if told["scaler"] is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(told["scaler"])
        chance = _under("chance", tensors)
        torch.random.set_rng_state(chance["cpu"])
        if "cuda" in chance and torch.cuda.is_available():
            torch.cuda.set_rng_state(chance["cuda"])


def _under(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with this one, by the rest of their names."""
    start = f"{name}/"
    return {key.removeprefix(start): part for key, part in tensors.items() if key.startswith(start)}


def train(
    accelerator: Accelerator,
    network: nn.Module,
    batches: Callable[[int], Iterable[dict[str, Tensor]]],
    goal: Goal,
    schedule: Schedule,
    watch: Watch = Watch(),
) -> Trained:
    """Minimise the loss over the batches; keep the weights with the highest score.

    `batches(done)` has one batch a step, without the first `done`. Of equal scores the first is
    kept. A loss that is not finite is a `DidgenError`.
    """
    training = TrainingState(accelerator, network, goal, schedule)
    found = watch.checkpoint.read() if watch.checkpoint else None
    done = json.loads(found[1])["step"] if found else 0
    # Its workers take a seed from the generator that the checkpoint restores.
    waiting = iter(batches(done))
    if found:
        training.restore(*found)
    before, started = training.seconds, perf_counter()
    start_measuring()
    for batch in waiting:
        training.advance(batch)
        training.seconds = before + perf_counter() - started
        if watch.on_step:
            watch.on_step(training.step)
        if training.due and not training.evaluate():
            break
        if watch.checkpoint and training.step < schedule.steps:
            watch.checkpoint.write_if_due(training.tensors, training.facts)
    assert training.best is not None, "a training has one step or more"
    network.load_state_dict(training.weights)
    network.eval()
    seconds = before + perf_counter() - started
    history = tuple(training.history)
    return Trained(training.best, training.step, seconds, history, peak_memory())


def summary(trained: Trained) -> dict[str, Any]:
    """What a training did, as JSON can hold it."""
    return {
        "best_step": trained.best.step,
        "best_score": trained.best.score,
        "steps": trained.steps,
        "peak_memory": trained.peak_memory,
        "seconds": trained.seconds,
        "history": [vars(one) for one in trained.history],
    }
