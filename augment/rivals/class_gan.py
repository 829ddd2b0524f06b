"""A GAN that draws images of a class: a net for each class, or one that is told the class.

Notable choices:
- A net is a function of standard normal numbers and a class: `net(numbers, labels)`, with
  `net.numbers` numbers an image. Training and sampling differ only in where these come from.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from didgen.augment.contact_sheets import image_sheet
from didgen.augment.device import Device
from didgen.augment.diffusion.autoencoder import levels
from didgen.augment.diffusion.noise import TrySeed, initial_noise
from didgen.augment.finetuning.latent_cache import Table
from didgen.augment.methods.generator import Drawing, Opened, Planned
from didgen.augment.rivals.gan_images import GanImages
from didgen.augment.rivals.rival_run import RivalRun, load_net
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import write_bytes
from didgen.manifests.images import encoded
from didgen.manifests.provenance.model_method import ModelMethod, method_of
from didgen.manifests.recipes.augment import AugmentRecipe
from didgen.manifests.recipes.rivals import PganRecipe, StyleGanRecipe

EACH = 4
"""Images of each class on a sample sheet."""


@dataclass(frozen=True)
class Part:
    """What one net of a run is trained on: some classes, and the records of these.

    rows: places among the run's records; labels: of each, the number of its class here.
    """

    name: str
    classes: tuple[str, ...]
    rows: tuple[int, ...]
    labels: tuple[int, ...]

    def images(self, run: RivalRun, table: Table) -> GanImages:
        """The training images of this part."""
        return GanImages(run, table, self.rows, self.labels)


def parts_of(run: RivalRun, conditional: bool) -> list[Part]:
    """What each net of a run is trained on: all classes together, or one a net.

    A recipe of bare prefixes looks at no label. Images without a label are a class, named "".
    """
    blind = run.recipe.prompt == "prefix"
    named = ["" if blind else record.label or "" for record in run.records]
    classes = [label for label in (*run.manifest.header.classes, "") if label in named]
    groups = [tuple(classes)] if conditional else [(label,) for label in classes]
    parts = []
    for number, group in enumerate(groups):
        rows = tuple(row for row, label in enumerate(named) if label in group)
        labels = tuple(group.index(named[row]) for row in rows)
        parts.append(Part(f"{run.recipe.method}-{number}", group, rows, labels))
    return parts


def method_of_parts(
    recipe: StyleGanRecipe | PganRecipe, parts: Sequence[Part], trained: str
) -> ModelMethod:
    """What the model directory of a class GAN says of its nets, one a part."""
    return ModelMethod(
        method=recipe.method,
        trained=trained,
        image_size=recipe.image_size,
        classes=[label for part in parts for label in part.classes],
        conditional=recipe.conditional,
        network=recipe.network.model_dump(mode="json"),
    )


def sheet_of(run: RivalRun, stage: str, part: Part, net: nn.Module) -> Callable[[int], None]:
    """A function that draws a sample sheet of a net: some images of each class, always the same.

    stage: what is trained, which the sheet's file is named by.
    """
    labels = torch.arange(len(part.classes)).repeat_interleave(EACH)

    def draw(step: int) -> None:
        images = _drawn(net, range(len(labels)), labels, run.accelerator.device)
        titles = [part.classes[label] for label in labels.tolist()]
        sheet = image_sheet(images, titles, EACH)
        path = run.out / "sheets" / f"{stage}-step-{step:07d}.png"
        write_bytes(path, encoded(sheet, "PNG"))

    return draw


@dataclass(frozen=True)
class ClassImages:
    """The generator of a class GAN: an image of the planned class from the planned seed."""

    nets: tuple[nn.Module, ...]
    classes: tuple[str, ...]

    def to(self, device: Device) -> None:
        """Bring the nets to a device."""
        for net in self.nets:
            net.to(device.name)

    def draw(
        self,
        planned: Sequence[Planned],
        seeds: Sequence[TrySeed],
        layouts: NDArray[np.bool_] | None,
        device: Device,
        watched: int = 0,
    ) -> Drawing:
        """Draw a batch of images, by the class alone."""
        numbers = [self.classes.index(one.label) for one in planned]
        images: list[NDArray[np.uint8] | None] = [None] * len(planned)
        for net, label, places in self._turns(numbers):
            labels = torch.tensor([label[place] for place in places])
            chosen = [seeds[place] for place in places]
            with device.autocast():
                drawn = _drawn(net, chosen, labels, device.name)
            for place, image in zip(places, drawn, strict=True):
                images[place] = image
        return Drawing(np.stack([image for image in images if image is not None]))

    def _turns(self, numbers: list[int]) -> Iterator[tuple[nn.Module, dict[int, int], list[int]]]:
        """Each net with the places of the batch that it draws, and the class it is told at each."""
        if len(self.nets) == 1:
            yield self.nets[0], dict(enumerate(numbers)), list(range(len(numbers)))
            return
        for number in sorted(set(numbers)):
            places = [place for place, one in enumerate(numbers) if one == number]
            yield self.nets[number], dict.fromkeys(places, 0), places


def open_class_gan(recipe: AugmentRecipe, build: Callable[[ModelMethod, int], nn.Module]) -> Opened:
    """Open a class GAN's model directory; `build(method, classes)` makes a net of some classes.

    Raises DidgenError for a recipe that asks for pairs, or for captions in its prompts.
    """
    method = method_of(recipe.model, recipe.revision)
    named = f"The model {recipe.model} is a {method.method}, which"
    if recipe.pairs is not None:
        raise DidgenError(f"{named} draws images alone; set `pairs: null`.")
    if recipe.prompt == "caption":
        raise DidgenError(f"{named} reads no captions; set `prompt: class` (or `prefix`).")
    if method.image_size is None or not method.classes:
        raise DidgenError(f"{named} does not say its size and classes; train it again.")
    classes = tuple(method.classes)
    count = 1 if method.conditional else len(classes)
    told = len(classes) if method.conditional else 1
    nets = tuple(
        load_net(build(method, told), recipe.model, recipe.revision, f"generator-{number}")
        for number in range(count)
    )
    return Opened(
        ClassImages(nets, classes),
        method.image_size,
        classes=classes,
        decided={"method": f"{method.method}, a port at {method.trained}, as the model says"},
    )


@torch.no_grad()
def _drawn(
    net: nn.Module, seeds: Sequence[TrySeed], labels: Tensor, device: str | torch.device
) -> NDArray[np.uint8]:
    """Images (B, S, S, 3) of a net, each from its own seed."""
    count = net.numbers
    assert isinstance(count, int)
    numbers = initial_noise(seeds, (count,)).to(device)
    images: Tensor = net(numbers, labels.to(device))
    shown: NDArray[np.uint8] = levels(images.float()).movedim(1, -1).cpu().numpy()
    return shown
