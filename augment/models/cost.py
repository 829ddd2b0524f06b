"""Cost: what captions, drawing and training take, estimated from figures measured elsewhere.

Notable choices:
- Nothing is loaded for it. Time goes with the weights of the UNet and the area of its latents: that
  of attention grows faster, so that large images take longer than is said here.
- Redraws, decoding and the loading of the model are not in it.
"""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from didgen.manifests.errors import DidgenError
from didgen.manifests.files import is_local
from didgen.manifests.progress import time_in_words

A100_PASSES = 2 * 48.6
"""Passes of one image a second through the UNet of Stable Diffusion 1 or 2 at 512 px, fp16, on an
A100: 48.6 steps, each two passes for guidance (docs/results/million-pairs.md)."""

A100_WEIGHTS, A100_LATENTS = 866e6, 64
"""The weights of that UNet, and the side of its latents."""

GUIDED = 1.35
"""The time of a guided, annotated pair to that of a plain image (docs/results/speed.md)."""

TRAINED = 3
"""Passes forward that a training step takes an image: one forward, and twice that backward."""

CAPTION_SECONDS = 2 * 236 / 8504
"""Seconds of one core that a measured caption takes: 8504 on 2 in 236 s (docs/results/speed.md)."""

BYTES_A_PIXEL = 95_000 / 512**2
"""Bytes of a sample a pixel: a pair of 512 px takes 95 kB (docs/results/million-pairs.md)."""

BYTES_A_RECORD = 2_000
"""Bytes of a sample's record, its row and its headers in a tar."""


@dataclass(frozen=True)
class Cost:
    """What some work takes: hours of one A100, and bytes on disk."""

    gpu_hours: float
    bytes: float

    def in_words(self) -> str:
        """The estimate as a sentence, with the page that its figures are from."""
        return (
            f"Estimated from docs/results/million-pairs.md: {time_in_words(3600 * self.gpu_hours)} "
            f"on one A100, and {bytes_in_words(self.bytes)}."
        )


@dataclass(frozen=True)
class Network:
    """A UNet by what its cost goes with."""

    weights: int
    latent_side: int

    @classmethod
    def of(cls, place: Path, latent_side: int) -> "Network":
        """The UNet of a model in a folder or in one file, by the heads of its files."""
        files = [place] if place.is_file() else sorted((place / "unet").glob("*.safetensors"))
        # A folder may hold the same weights a second time, in half precision.
        files = [file for file in files if ".fp16" not in file.name] or files
        prefix = "model.diffusion_model." if place.is_file() else ""
        count = 0
        for file in files:
            with safe_open(file, "np") as tensors:
                names = [name for name in tensors.keys() if name.startswith(prefix)]  # noqa: SIM118
                count += sum(math.prod(tensors.get_slice(name).get_shape()) for name in names)
        return cls(count, latent_side)

    @property
    def pass_seconds(self) -> float:
        """Seconds of a pass of one image on an A100."""
        area = (self.latent_side / A100_LATENTS) ** 2
        return self.weights / A100_WEIGHTS * area / A100_PASSES

    def drawing(self, images: int, pairs: int, steps: int) -> Cost:
        """The cost of some samples of so many steps."""
        passes = 2 * steps * (images + GUIDED * pairs)
        each = BYTES_A_PIXEL * (8 * self.latent_side) ** 2 + BYTES_A_RECORD
        return Cost(passes * self.pass_seconds / 3600, (images + pairs) * each)

    def training(self, steps: int, batch: int, copies: int) -> Cost:
        """The cost of a training that keeps so many copies of the weights, in float32."""
        seconds = steps * batch * TRAINED * self.pass_seconds
        return Cost(seconds / 3600, copies * 4 * self.weights)


def caption_cost(captions: int, cores: int) -> str:
    """How long the measuring of some captions takes, as a sentence."""
    seconds = captions * CAPTION_SECONDS / cores
    return f"Estimated from docs/results/speed.md: {time_in_words(seconds)} on {cores} cores."


def bytes_in_words(count: float) -> str:
    """A size as people say it."""
    unit, size = next(
        ((unit, size) for unit, size in (("kB", 1e3), ("MB", 1e6)) if count < 1000 * size),
        ("GB", 1e9),
    )
    return f"{count / size:,.1f} {unit}"


def check_room(out: Path | None, cost: Cost) -> None:
    """Raise DidgenError where the drive of a folder has less room than some work takes."""
    if out is None or not is_local(out):
        return
    here = next(place for place in (out.absolute(), *out.absolute().parents) if place.exists())
    free = shutil.disk_usage(here).free
    if free < cost.bytes:
        raise DidgenError(
            f"{out} would take about {bytes_in_words(cost.bytes)}, and its drive has "
            f"{bytes_in_words(free)} left; make room, or name another folder."
        )
