"""The worker: a job on its device, which makes shards of a run one at a time."""

import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch

from didgen.augment.device import choose_device
from didgen.augment.generation.prepare import GenerationJob
from didgen.augment.generation.samples import make
from didgen.manifests.choices import Config
from didgen.manifests.locks import claimed
from didgen.manifests.shards.rows import shard_is_whole
from didgen.manifests.shards.shard import Stamp, read_sidecar, shard_path, write_shard


class Worker:
    """Puts a job's model on the best device that is there, and makes its shards into `out`."""

    def __init__(self, job: GenerationJob, out: Path) -> None:
        self.job, self.out = job, out
        self.device = choose_device(job.recipe.sampling.mixed_precision)
        self.versions = versions() | {"device": str(self.device)}
        job.generator.to(self.device)

    def make(
        self, config: Config, index: int, advance: Callable[[int], object], *, wait: bool
    ) -> str | None:
        """Make a shard unless it is whole already; returns the SHA-256 of its tar.

        None where another process has it in hand; with `wait`, that one is waited for instead.
        `advance` is told how many samples were drawn, whenever some were.
        """
        path = shard_path(self.out, config, index)
        with claimed(self.out, path.stem, wait=wait) as ours:
            if not ours:
                return None
            if is_whole(self.job, self.out, config, index):
                return read_sidecar(path.with_suffix(".json")).sha256
            return write_shard(
                self.out,
                config,
                index,
                make(self.job, self.job.plan[config].shard(index), self.device, advance),
                Stamp(self.job.fingerprint, self.versions),
            ).sha256


def is_whole(job: GenerationJob, out: Path, config: Config, index: int) -> bool:
    """Whether a shard of the job stands in `out`, byte for byte."""
    keys = job.plan[config].keys(index)
    return shard_is_whole(out, config, index, fingerprint=job.fingerprint, keys=keys)


def versions() -> dict[str, str]:
    """What samples are made with here; another stack may give other bits."""
    packages = ("didgen", "torch", "diffusers", "transformers", "numpy", "pillow")
    found = {package: version(package) for package in packages}
    return found | {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": str(torch.get_num_threads()),
    }
