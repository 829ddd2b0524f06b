"""The training loop that all stages share, under accelerate: one process or many, any device."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset, default_collate

from didgen.augment.console import decisions
from didgen.augment.finetuning.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from didgen.augment.finetuning.dataset import draws
from didgen.manifests.errors import DidgenError
from didgen.manifests.progress import progress_bar

WAITING = 4
"""Batches that are loaded ahead, on a GPU by a process each."""

PASSED_OVER = 20
"""Steps in a row whose loss may be no number where a scaler looks after overflows."""

TOLD = (DidgenError, OSError)
"""What a user is told in a sentence, where torch makes a traceback of what a worker raises."""

Item = dict[str, Any] | DidgenError | OSError
"""An item of a dataset, or what a user is told of it."""


@dataclass(frozen=True)
class Schedule:
    """How a stage is optimised: AdamW, warm-up, then constant, a cosine to zero, or a line to zero
    over the second half.

    With `restart_every` warm-up and cosine begin anew after as many steps (SGDR of Loshchilov and
    Hutter, ICLR 2017, with equal cycles). `turns` names the children of the module that take turns
    within a step, as the nets of a GAN do: each has a loss of its own, and an optimiser of its own,
    since AdamW moves what has a gradient alone. The average is that of the last of them. With an
    infinite `max_grad_norm` gradients stay as they are. A step adds up the gradients of as many
    batches as `accumulation` says, as if they were one. `shares` names children of the module that
    are trained at a share of the rate.
    """

    steps: int
    batch_size: int
    learning_rate: float
    schedule: Literal["constant", "cosine", "linear"]
    warmup_steps: int
    weight_decay: float
    max_grad_norm: float
    ema_decay: float | None
    checkpoint_every: int
    seed: int
    restart_every: int | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    turns: tuple[str, ...] = ()
    accumulation: int = 1
    shares: Mapping[str, float] = field(default_factory=dict)

    @property
    def extendable(self) -> bool:
        """Whether no step depends on how many there will be, so that more may be asked for."""
        return self.schedule == "constant" or self.restart_every is not None

    def rate(self, step: int) -> float:
        """The learning rate of a step, a function of the step alone."""
        cycle = self.restart_every or self.steps
        step %= cycle
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        if self.schedule == "constant":
            return self.learning_rate * warm
        if self.schedule == "linear":
            return self.learning_rate * warm * min(1.0, 2 * (1 - step / cycle))
        return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / cycle))


class Average:
    """The exponential moving average of a model's parameters, kept beside them.

    Begins as the parameters of the first step, number 0; from then on a <- d a + (1 - d) p with
    d = min(decay, (1 + step) / (10 + step)), so that it reaches back over a tenth of the steps at
    most: a short training would otherwise keep much of what it began with.
    """

    def __init__(self, parameters: dict[str, Tensor], decay: float) -> None:
        self.parameters = parameters
        self.values = {name: value.detach().clone() for name, value in parameters.items()}
        self.decay = decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the parameters as step number `step`, from 0, left them."""
        values, parameters = list(self.values.values()), list(self.parameters.values())
        if step == 0:
            torch._foreach_copy_(values, parameters)
        else:
            decay = min(self.decay, (1 + step) / (10 + step))
            get_ema_multi_avg_fn(decay)(values, parameters, None)

    def swap(self) -> None:
        """Exchange the parameters and their average, without a copy."""
        for name, parameter in self.parameters.items():
            parameter.data, self.values[name] = self.values[name], parameter.data


@contextmanager
def averaged(average: Average | None) -> Iterator[None]:
    """For a while the model holds its average, where it has one."""
    if average is None:
        yield
        return
    average.swap()
    try:
        yield
    finally:
        average.swap()


@dataclass(frozen=True)
class Stage:
    """What is trained at once: a module by its name, on a dataset, and how it is optimised.

    weights: how often each item of the dataset is drawn, as `dataset.draws` takes them.
    """

    name: str
    module: nn.Module
    dataset: Dataset[dict[str, Any]]
    weights: NDArray[np.float64]
    schedule: Schedule


def train(
    accelerator: Accelerator,
    stage: Stage,
    folder: Path,
    on_checkpoint: Callable[[int], None] | None = None,
) -> None:
    """Minimise `module(batch)["loss"]` over those parameters of a module that require gradients.

    A batch is what the dataset gives, and the number of its step, from 0, as `step`; where children
    take turns, also whose turn it is, as `turn`, and the parameters of that child alone require
    gradients then.
    Goes on from the newest checkpoint in `folder/checkpoints/name`; one of more steps than the
    schedule has is a DidgenError, and so are an image that cannot be read and a step after which
    the weights are no numbers. Logs every scalar that the module returns to TensorBoard.
    `on_checkpoint(step)` runs on the main process. During it and at the end the module holds the
    weights' moving average where the schedule asks for one.
    """
    name, module, schedule = stage.name, stage.module, stage.schedule
    optimisation = Optimisation.of(accelerator, module, schedule)
    average, checkpoint_folder = optimisation.average, folder / "checkpoints" / name
    start = _resumed(accelerator, checkpoint_folder, optimisation.state, schedule.steps)
    batches = iter(_loader(accelerator, stage, start))
    lost = Lost(scaled=accelerator.scaler is not None)
    with progress_bar(disable=not accelerator.is_main_process) as progress:
        task = progress.add_task(name, total=schedule.steps, completed=start, state="")
        optimisation.wrapped.train()
        for step in range(start, schedule.steps):
            values = optimisation.step(step, list(islice(batches, schedule.accumulation)))
            done = step + 1
            if lost.after(values):
                raise DidgenError(
                    f"At step {done} the training of the {name} came to values that are no "
                    f"numbers; what is in {checkpoint_folder} is from before: in the recipe lower "
                    "the learning rate, or set `mixed_precision: no`, and begin in another "
                    "directory."
                )
            accelerator.log({f"{name}/{key}": v for key, v in values.items()}, step=done)
            progress.update(task, completed=done, state=f"loss {values['loss']:.4f}")
            due = done % schedule.checkpoint_every == 0 or done == schedule.steps
            if due and accelerator.is_main_process:
                save_checkpoint(checkpoint_folder, done, *optimisation.state)
                if on_checkpoint is not None:
                    with averaged(average):
                        on_checkpoint(done)
    accelerator.wait_for_everyone()
    if average is not None:
        average.swap()
    module.to(memory_format=torch.contiguous_format)


@dataclass
class Lost:
    """Steps in a row whose values are no numbers, and whether a training is lost by them.

    A scaler passes over a step that overflowed, and scales less from then on. Where the loss stays
    no number it would pass over every step to the end.
    """

    scaled: bool
    steps: int = 0

    def after(self, values: Mapping[str, float]) -> bool:
        """Whether the training is lost after a step of these values."""
        sound = map(math.isfinite, [values["loss"]] if self.scaled else values.values())
        self.steps = 0 if all(sound) else self.steps + 1
        return self.steps > (PASSED_OVER if self.scaled else 0)


def _loader(accelerator: Accelerator, stage: Stage, start: int) -> DataLoader[Item]:
    """This process's batches of the steps from `start` on; those of a step lie side by side."""
    schedule, rank = stage.schedule, accelerator.process_index
    count, steps = schedule.accumulation, range(start, schedule.steps)
    world = accelerator.num_processes * count
    parts = [
        draws(stage.weights, schedule.batch_size, steps, schedule.seed, rank * count + part, world)
        for part in range(count)
    ]
    # Full-size photographs take longer to read than a GPU to learn from.
    workers = 1 if accelerator.device.type == "cpu" else WAITING
    return DataLoader(
        _Told(stage.dataset),
        batch_sampler=list(chain.from_iterable(zip(*parts, strict=True))),
        num_workers=workers,
        # As many batches wait in shared memory, of which containers have little, in either case.
        prefetch_factor=WAITING // workers,
        multiprocessing_context="forkserver",
        collate_fn=_collated,
    )


@dataclass(frozen=True)
class Optimisation:
    """A module with its optimiser: what one step of a training does to its parameters.

    average: of the parameters, or of those whose turn is last; None where none is asked for.
    """

    accelerator: Accelerator
    wrapped: nn.Module
    optimizer: Any
    parameters: dict[str, Tensor]
    schedule: Schedule
    average: Average | None

    @classmethod
    def of(cls, accelerator: Accelerator, module: nn.Module, schedule: Schedule) -> "Optimisation":
        """A module on its device, before its first step."""
        # bf16 convolutions want channels last: the mini autoencoder's steps take 0.25 s, else 1.2.
        module.to(accelerator.device).to(memory_format=torch.channels_last)
        parameters: dict[str, Tensor] = {
            name: p for name, p in module.named_parameters() if p.requires_grad
        }
        last = _of(parameters, schedule.turns[-1]) if schedule.turns else parameters
        average = None if schedule.ema_decay is None else Average(last, schedule.ema_decay)
        groups = _groups(module, schedule)
        optimizer = torch.optim.AdamW(
            groups, lr=schedule.learning_rate, betas=schedule.betas, fused=True
        )
        wrapped, optimizer = accelerator.prepare(module, optimizer)
        return cls(accelerator, wrapped, optimizer, parameters, schedule, average)

    @property
    def state(self) -> tuple[Any, ...]:
        """What a checkpoint holds: parameters, their average, moments, and the loss's scaler."""
        averages = None if self.average is None else self.average.values
        return self.parameters, averages, self.optimizer.optimizer, self.accelerator.scaler

    def step(self, number: int, items: Sequence[Item]) -> dict[str, float]:
        """Take a step, and take it into the average; returns its scalars.

        Children that take turns move each in its turn. Scalars of a turn are named `TURN/NAME`;
        `loss` is that of the last. An item that is an error is raised.
        """
        batches = []
        for item in items:
            if isinstance(item, TOLD):
                raise item
            batches.append(_to_device(item, self.accelerator.device) | {"step": number})
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(number) * group["share"]
        turns = self.schedule.turns
        told = self._take_turns(batches) if turns else self._move(batches, self.parameters)
        if self.average is not None:
            self.average.update(number)
        return told

    def _take_turns(self, batches: Sequence[dict[str, Any]]) -> dict[str, float]:
        """Move each child that takes turns in its turn; returns the scalars of them all."""
        told: dict[str, float] = {}
        for turn in self.schedule.turns:
            moved = _of(self.parameters, turn)
            for name, parameter in self.parameters.items():
                parameter.requires_grad_(name in moved)
            values = self._move([batch | {"turn": turn} for batch in batches], moved)
            told |= {f"{turn}/{name}": value for name, value in values.items()}
            told["loss"] = values["loss"]
        for parameter in self.parameters.values():
            parameter.requires_grad_(True)
        return told

    def _move(
        self, batches: Sequence[dict[str, Any]], moved: dict[str, Tensor]
    ) -> dict[str, float]:
        """Move parameters down the gradient of the module's loss, its mean over the batches."""
        accelerator, scalars = self.accelerator, dict[str, Tensor]()
        for number, batch in enumerate(batches, 1):
            # Processes exchange their gradients once, with the last batch.
            last = number == len(batches)
            with nullcontext() if last else accelerator.no_sync(self.wrapped):
                with accelerator.autocast():
                    found = self.wrapped(batch)
                accelerator.backward(found["loss"] / len(batches))
            for key, value in found.items():
                scalars[key] = scalars.get(key, 0) + value.detach() / len(batches)
        norm = accelerator.clip_grad_norm_(moved.values(), self.schedule.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        means = {key: accelerator.reduce(value, "mean") for key, value in scalars.items()}
        values = {key: value.item() for key, value in means.items()}
        values["gradient_norm"] = float(norm) if norm is not None else 0.0
        return values


def _of(parameters: dict[str, Tensor], child: str) -> dict[str, Tensor]:
    """Those of a module's parameters that belong to one of its children."""
    return {name: p for name, p in parameters.items() if name.startswith(f"{child}.")}


def _resumed(accelerator: Accelerator, folder: Path, state: Any, steps: int) -> int:
    """Load the newest checkpoint of a folder into a training's state; returns its step."""
    start = load_checkpoint(folder, *state)
    optimizer = state[2]
    if start and not optimizer.state and accelerator.is_main_process:
        newest = checkpoints(folder)[-1]
        decisions({str(newest): "the optimizer's moments begin anew, because it holds none"})
    if start > steps:
        raise DidgenError(
            f"{folder} has {start} steps already, more than the {steps} asked for; ask for as many "
            "or more, or choose another directory."
        )
    return start


class _Told(Dataset[Item]):
    """A dataset whose errors that a user is told are items."""

    def __init__(self, dataset: Dataset[dict[str, Any]]) -> None:
        self.dataset = dataset

    def __getitem__(self, place: Any) -> Item:
        try:
            return self.dataset[place]
        except TOLD as error:
            return error


def _collated(items: list[Item]) -> Item:
    """The batch of items, or the first of them that is an error."""
    errors = (item for item in items if isinstance(item, TOLD))
    return next(errors, None) or default_collate(items)


def _groups(module: nn.Module, schedule: Schedule) -> list[dict[str, Any]]:
    """Optimizer groups: embeddings are not decayed, since the P-Tokens' rows must stay fixed.

    Children that learn at a share of the rate are groups of their own.
    """
    embeddings = [part.weight for part in module.modules() if isinstance(part, nn.Embedding)]
    fixed = {id(weight) for weight in embeddings}
    others: dict[str, Tensor] = {
        name: p for name, p in module.named_parameters() if p.requires_grad and id(p) not in fixed
    }
    slower = {child: _of(others, child) for child in schedule.shares}
    apart = {name for child in slower.values() for name in child}
    decay = {"weight_decay": schedule.weight_decay}
    groups = [{"params": [p for n, p in others.items() if n not in apart], "share": 1.0} | decay]
    groups += [
        {"params": [*child.values()], "share": schedule.shares[name]} | decay
        for name, child in slower.items()
    ]
    learned = [weight for weight in embeddings if weight.requires_grad]
    if learned:
        groups.append({"params": learned, "weight_decay": 0.0, "share": 1.0})
    return groups


def _to_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Move the tensors of a batch; images become channels-last like the weights."""
    moved = {}
    for name, value in batch.items():
        if isinstance(value, Tensor):
            value = value.to(device)
            if value.ndim == 4:
                value = value.contiguous(memory_format=torch.channels_last)
        moved[name] = value
    return moved
