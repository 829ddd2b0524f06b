"""The rival's run: its folder, its images and its model directory, like those of DiDGen."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import Dataset

from didgen.augment.device import choose_device
from didgen.augment.diffusion.model_folder import replaced, write_documents
from didgen.augment.finetuning.loop import Schedule, Stage, train
from didgen.augment.finetuning.training_images import read_training_images, words_of
from didgen.augment.finetuning.training_run import accelerator_of, begun
from didgen.augment.tensor_files import load_tensors, written
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import sha256_of
from didgen.manifests.provenance.licence import data_ingredients
from didgen.manifests.provenance.model_card import rival_card
from didgen.manifests.provenance.model_method import ModelMethod
from didgen.manifests.provenance.models import beside
from didgen.manifests.provenance.trained_on import TrainedOn
from didgen.manifests.recipes.fingerprint import fingerprint
from didgen.manifests.recipes.rivals import GanRecipe
from didgen.manifests.recipes.training import asked
from didgen.manifests.runs.claim import start_run
from didgen.manifests.runs.order import keep_order
from didgen.manifests.sources.records import SourceManifest, SourceRecord


class Weighted(Dataset[dict[str, Any]]):
    """Training images that say how often each is drawn, 1 on average, (N,)."""

    weights: NDArray[np.float64]


@dataclass(frozen=True)
class RivalRun:
    """A rival's training under way: its recipe, its images, and the device that it has."""

    recipe: GanRecipe
    manifest: SourceManifest
    records: list[SourceRecord]
    accelerator: Accelerator
    out: Path

    def schedule(self, steps: int, batch_size: int, **more: Any) -> Schedule:
        """How two nets of a GAN are optimised in turn: Adam at a constant rate, nothing clipped."""
        recipe = self.recipe
        fields: dict[str, Any] = {
            "steps": steps,
            "batch_size": batch_size,
            "learning_rate": recipe.learning_rate,
            "schedule": "constant",
            "warmup_steps": 0,
            "weight_decay": 0.0,
            "max_grad_norm": float("inf"),
            "ema_decay": recipe.ema_decay,
            "checkpoint_every": recipe.checkpoint_every,
            "seed": recipe.seed,
            "turns": ("discriminator", "generator"),
        }
        return Schedule(**fields | more)

    def train(
        self,
        name: str,
        module: nn.Module,
        images: Weighted,
        schedule: Schedule,
        sheet: Callable[[int], None],
    ) -> None:
        """Train a module on images, with a sample sheet at each checkpoint, as one stage."""
        stage = Stage(name, module, images, images.weights, schedule)
        train(self.accelerator, stage, self.out, sheet)
        # What another stage is trained with begins anew, and needs the room.
        self.accelerator.free_memory()

    def save(self, nets: Mapping[str, nn.Module], method: ModelMethod) -> Path:
        """Write the model directory: each net's weights by its name, its method, and its papers."""
        recipe, folder = self.recipe, self.out / "model"
        dtype = getattr(torch, recipe.save_as)
        with replaced(folder) as new:
            new.mkdir()
            for name, net in nets.items():
                weights = {n: p.detach().cpu().to(dtype) for n, p in net.state_dict().items()}
                path = new / f"{name}.safetensors"
                with written(path):
                    save_file({n: p.contiguous() for n, p in weights.items()}, path)
            method.write(new)
            card = rival_card(method, recipe.model_dump(mode="json"), self._made_from())
            captions = ((record.label, words_of(recipe, record)) for record in self.records)
            write_documents(new, captions, card, TrainedOn.of(self.records))
        return folder

    def _made_from(self) -> list[Any]:
        return data_ingredients(self.records)


@contextmanager
def rival_run(recipe: GanRecipe, out: Path, **judges: Path) -> Iterator[RivalRun]:
    """Begin or go on with a rival's training in the folder `out`, which is its own while it lasts.

    judges: files of weights that a loss is taken by, which decide the run like its recipe. Raises
    DidgenError for a source without what the recipe asks for, a folder of another run, and several
    processes: the losses of a GAN are not means over its images.
    """
    manifest, records = read_training_images(recipe)
    device = choose_device(recipe.mixed_precision, training=True)
    accelerator = accelerator_of(device, out)
    if accelerator.num_processes > 1:
        raise DidgenError(
            f"A {recipe.method} is trained in one process; run the command without a launcher."
        )
    decided = {"device": str(device), "training images": str(len(records))}

    def claim() -> None:
        fields = asked(recipe)
        masks = {r.key: manifest.mask_digest(r) for r in records}
        decided_by = {
            "recipe": fields,
            "records": [(r.key, r.sha256, masks[r.key], r.label) for r in records],
            "judges": {name: sha256_of(path) for name, path in judges.items()},
        }
        start_run(out, fingerprint=fingerprint(decided_by), recipe=fields)
        keep_order(out, "finetune", recipe.model_dump(mode="json"))

    with begun(accelerator, out, decided, claim):
        yield RivalRun(recipe, manifest, records, accelerator, out)


def load_net(net: nn.Module, model: str, revision: str | None, name: str) -> nn.Module:
    """Load a net's weights from a model directory or the hub, in float32, to draw with."""
    path = beside(model, revision, f"{name}.safetensors")
    if not path.is_file():
        raise DidgenError(f"The model {model} has no {path.name}; copy its directory again.")
    load_tensors(path, net.state_dict())
    return net.eval().requires_grad_(False)
