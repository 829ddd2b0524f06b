"""The training loop that all stages share, under accelerate: one process or many, any device."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from augment.checkpoint import load_checkpoint, save_checkpoint
from augment.dataset import draws
from augment.display import progress_bar


@dataclass(frozen=True)
class Schedule:
    """How a stage is optimised: AdamW, warm-up, then constant or a cosine to zero."""

    steps: int
    batch_size: int
    learning_rate: float
    schedule: Literal["constant", "cosine"]
    warmup_steps: int
    weight_decay: float
    max_grad_norm: float
    ema_decay: float | None
    checkpoint_every: int
    seed: int

    def rate(self, step: int) -> float:
        """The learning rate of a step, a function of the step alone."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        if self.schedule == "constant":
            return self.learning_rate * warm
        return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / self.steps))


def train(
    accelerator: Accelerator,
    name: str,
    module: nn.Module,
    trained: nn.Module,
    dataset: Dataset[dict[str, Any]],
    schedule: Schedule,
    folder: Path,
    on_checkpoint: Callable[[int, nn.Module], None] | None = None,
) -> None:
    """Minimise `module(batch)["loss"]` over the parameters of `trained`, a part of `module`.

    Goes on from the newest checkpoint in `folder/checkpoints/name`; logs every scalar that the
    module returns to TensorBoard. At the end `trained` holds the weights (their moving average
    where the schedule asks for one). `on_checkpoint(step, weights)` runs on the main process.
    """
    average = None
    if schedule.ema_decay is not None:
        average = AveragedModel(trained, multi_avg_fn=get_ema_multi_avg_fn(schedule.ema_decay))
        average.to(accelerator.device)
    optimizer = torch.optim.AdamW(
        _groups(trained, schedule.weight_decay), lr=schedule.learning_rate
    )
    # bf16 convolutions want channels last: the mini autoencoder takes 0.25 s a step, else 1.2 s.
    module.to(memory_format=torch.channels_last)
    wrapped, optimizer = accelerator.prepare(module, optimizer)
    checkpoint_folder = folder / "checkpoints" / name
    start = load_checkpoint(checkpoint_folder, trained, average, optimizer.optimizer)
    batches = draws(
        len(dataset),  # type: ignore[arg-type]
        schedule.batch_size,
        start,
        schedule.steps,
        schedule.seed,
        accelerator.process_index,
        accelerator.num_processes,
    )
    loader: DataLoader[dict[str, Any]] = DataLoader(
        dataset,
        batch_sampler=list(batches),
        num_workers=1,
        prefetch_factor=4,
        multiprocessing_context="forkserver",
    )
    with progress_bar(disable=not accelerator.is_main_process) as progress:
        task = progress.add_task(name, total=schedule.steps, completed=start, state="")
        wrapped.train()
        for step, batch in enumerate(loader, start):
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step)
            batch = _to_device(batch, accelerator.device)
            with accelerator.autocast():
                scalars = wrapped(batch)
            accelerator.backward(scalars["loss"])
            norm = accelerator.clip_grad_norm_(trained.parameters(), schedule.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if average is not None:
                average.update_parameters(trained)

            done = step + 1
            means = {
                key: accelerator.reduce(value.detach(), "mean") for key, value in scalars.items()
            }
            values = {key: value.item() for key, value in means.items()}
            values["gradient_norm"] = float(norm) if norm is not None else 0.0
            accelerator.log({f"{name}/{key}": v for key, v in values.items()}, step=done)
            progress.update(task, completed=done, state=f"loss {values['loss']:.4f}")
            if accelerator.is_main_process and (
                done % schedule.checkpoint_every == 0 or done == schedule.steps
            ):
                save_checkpoint(checkpoint_folder, done, trained, average, optimizer.optimizer)
                if on_checkpoint is not None:
                    on_checkpoint(done, average.module if average is not None else trained)
    accelerator.wait_for_everyone()
    if average is not None:
        trained.load_state_dict(average.module.state_dict())
    module.to(memory_format=torch.contiguous_format)


def _groups(trained: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Optimizer groups: embeddings are not decayed, since the P-Tokens' rows must stay fixed."""
    embeddings = [module.weight for module in trained.modules() if isinstance(module, nn.Embedding)]
    fixed = {id(weight) for weight in embeddings}
    others = [p for p in trained.parameters() if p.requires_grad and id(p) not in fixed]
    groups = [{"params": others, "weight_decay": weight_decay}]
    learned = [weight for weight in embeddings if weight.requires_grad]
    if learned:
        groups.append({"params": learned, "weight_decay": 0.0})
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
