"""The Ray engine: the shards of a run as tasks on an existing Ray cluster.

Notable choices:
- A worker is an actor that loads the model once; a task is a shard. Only the recipe and the shards'
  numbers travel: what is made goes straight to the run directory, which all nodes share.
- A worker's word is checked: the hash that it returns must be that of the sidecar, and the tar's.
- Nodes may go and come while a run lasts. What was in the hands of one that went is given to
  another worker, up to the recipe's `retries`; room that opens is used.
- A worker that failed is not asked again, because a sick one fails fast and would take the shards
  out of the hands of the others. A node whose workers cannot even load is left alone in the end.
"""

import logging
import os
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from didgen.augment.console import decisions
from didgen.augment.generation.prepare import GenerationJob
from didgen.augment.generation.worker import Worker, is_whole
from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import clear, located
from didgen.manifests.locks import claimed
from didgen.manifests.progress import progress_bar
from didgen.manifests.recipes.augment import AugmentRecipe
from didgen.manifests.shards.shard import read_sidecar, shard_path

Shard = tuple[Config, int]

TICK = 2.0
"""Seconds after which the cluster is looked at again, for nodes that came."""


def make_on_cluster(job: GenerationJob, out: Path, todo: Sequence[Shard]) -> None:
    """Make shards of a job on the Ray cluster that is running; `out` is a folder of all its nodes.

    Raises DidgenError without Ray or a cluster, where no node has room for a worker, for a worker
    that reads the recipe otherwise than this process, and for a shard that no try made.
    """
    with _connected() as ray, _sigterm_as_interrupt():
        pool = _Pool(ray, job, out)
        decisions({"engine": pool.decision(len(todo))})
        try:
            pool.make(todo)
        finally:
            pool.close()


@contextmanager
def _connected() -> Iterator[Any]:
    """The module `ray`, connected to a cluster that runs; a connection of the caller's stays."""
    try:
        import ray
    except ImportError:
        raise DidgenError(
            "`--engine ray` needs Ray, which is not installed: pip install 'didgen[ray]'."
        ) from None
    if ray.is_initialized():
        yield ray
        return
    # Ray puts its own handler in its place.
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError:
        raise DidgenError(
            "No Ray cluster can be reached; start one by `ray start --head`, or name one in the "
            "variable RAY_ADDRESS."
        ) from None
    finally:
        signal.signal(signal.SIGTERM, handler)
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end the work like Ctrl-C, and only then do what it does otherwise.

    Ray makes an exit within one of its calls one of code 1; an interrupt it lets through.
    """
    handler, received = signal.getsignal(signal.SIGTERM), False

    def interrupt(*_: object) -> None:
        nonlocal received
        received = True
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        if received:
            signal.signal(signal.SIGTERM, handler)
            signal.raise_signal(signal.SIGTERM)
        raise
    finally:
        signal.signal(signal.SIGTERM, handler)


class _Remote:
    """What a worker's process on a node does: load once, then make shard after shard."""

    def load(self, recipe: dict[str, Any], folder: str, out: str, threads: int) -> str:
        """Make the recipe ready; returns its fingerprint as this node reads it."""
        # Paths in the recipe and that of the run are relative to the folder of who asked.
        try:
            os.chdir(folder)
        except OSError as error:
            raise DidgenError(
                f"The folder {folder} is not there on the node {os.uname().nodename} "
                f"({error.strerror}); all nodes must share it."
            ) from None
        torch.set_num_threads(threads)
        from didgen.augment.generation.prepare import prepare_generation

        job = prepare_generation(AugmentRecipe.model_validate(recipe))
        self.worker = Worker(job, located(out))
        return job.fingerprint

    def make(self, config: Config, index: int, wait: bool) -> str | None:
        """Make a shard: see `Worker.make`."""
        return self.worker.make(config, index, lambda count: None, wait=wait)


class _Pool:
    """The workers of a run: those that load, those that are free, and those that make a shard."""

    def __init__(self, ray: Any, job: GenerationJob, out: Path) -> None:
        self.ray, self.job, self.out = ray, job, out
        asked = job.recipe.cluster
        self.cpus, self.limit, self.retries = asked.cpus, asked.workers, asked.retries
        self.gpus = asked.gpus
        if self.gpus is None:
            self.gpus = float(any("GPU" in node for node in self._nodes()))
        self.loading: dict[Any, Any] = {}
        self.free: list[Any] = []
        self.working: dict[Any, tuple[Any, Shard, bool]] = {}
        # Why workers could not load, since the last one that did.
        self.lost: list[str] = []

    def _nodes(self) -> list[Mapping[str, float]]:
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]

    def decision(self, shards: int) -> str:
        """Who makes the shards and why, in words; DidgenError where there is no room for anyone."""
        nodes = self._nodes()
        count = room(nodes, self.cpus, self.gpus or 0)
        if not count:
            raise DidgenError(
                f"No node of the Ray cluster has {self.cpus} CPUs and {self.gpus:g} GPUs, which "
                "`cluster` in the recipe asks for a worker; lower them."
            )
        limits = [count, shards, *([self.limit] if self.limit else [])]
        return (
            f"ray, {min(limits)} workers of {self.cpus} CPUs and {self.gpus:g} GPUs, because "
            f"{len(nodes)} nodes have room for {count} and {shards} shards are missing"
        )

    def make(self, todo: Sequence[Shard]) -> None:
        """Make all shards; those that another process has in hand come last."""
        waiting, held, tries = deque(todo), deque[Shard](), Counter[Shard]()
        with progress_bar() as progress:
            tasks = {}
            for config, index in todo:
                if config not in tasks:
                    tasks[config] = progress.add_task(config, total=0, state="")
                total = progress.tasks[tasks[config]].total or 0
                size = len(self.job.plan[config].places(index))
                progress.update(tasks[config], total=total + size)
            while waiting or held or self.working:
                self._grow(len(waiting) + len(held) + len(self.working))
                while self.free and (waiting or held):
                    wait = not waiting
                    self._send(waiting.popleft() if waiting else held.popleft(), wait)
                for task in tasks.values():
                    progress.update(task, state=self._state())
                for reference in self._ended():
                    if reference in self.loading:
                        self._loaded(reference)
                        continue
                    _, shard, _ = self.working[reference]
                    sha256, reason = self._result(reference)
                    if reason is None and sha256 is None:
                        held.append(shard)
                    elif reason is None:
                        done = len(self.job.plan[shard[0]].places(shard[1]))
                        progress.advance(tasks[shard[0]], done)
                    else:
                        tries[shard] += 1
                        name = shard_path(self.out, *shard).name
                        if tries[shard] > self.retries:
                            raise DidgenError(
                                f"{name} was not made in {tries[shard]} tries, at last because "
                                f"{reason}."
                            )
                        decisions({name: f"given to another worker, because {reason}"})
                        waiting.append(shard)

    def _state(self) -> str:
        """What the workers do, for the progress bar."""
        if self.working:
            return f"{len(self.working)} workers at it"
        return f"{len(self.loading)} workers load the model" if self.loading else "waiting for room"

    def _grow(self, shards: int) -> None:
        """Start workers up to the room that the cluster has now, the limit, and the work left.

        None any more where more than `retries` could not load: those that did go on alone.
        """
        here = len(self.loading) + len(self.free) + len(self.working)
        if len(self.lost) > self.retries:
            if not here:
                raise DidgenError(
                    f"{len(self.lost)} workers in a row could not load the model, the last one "
                    f"because of {self.lost[-1]}."
                )
            return
        count = room(self._nodes(), self.cpus, self.gpus or 0)
        recipe = self.job.recipe.model_dump(mode="json")
        for _ in range(min(count, shards, self.limit or count) - here):
            actor = self.ray.remote(_Remote).options(
                num_cpus=self.cpus, num_gpus=self.gpus, scheduling_strategy="SPREAD"
            )
            worker = actor.remote()
            loaded = worker.load.remote(recipe, str(Path.cwd()), str(self.out), self.cpus)
            self.loading[loaded] = worker

    def _send(self, shard: Shard, wait: bool) -> None:
        worker = self.free.pop()
        self.working[worker.make.remote(*shard, wait)] = (worker, shard, wait)

    def _ended(self) -> Iterable[Any]:
        """The tasks that ended, for better or worse; none if nothing did within a tick."""
        tasks = [*self.loading, *self.working]
        if not tasks:
            time.sleep(TICK)
            return []
        ended, _ = self.ray.wait(tasks, num_returns=1, timeout=TICK)
        return ended

    def _loaded(self, reference: Any) -> None:
        """Take on a worker that has loaded, or count one that could not."""
        worker = self.loading.pop(reference)
        try:
            fingerprint = self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            cause = getattr(error, "cause", error)
            if isinstance(cause, DidgenError):
                raise cause from None
            self._kill(worker)
            self.lost.append(_line(cause))
            return
        self.lost.clear()
        if fingerprint != self.job.fingerprint:
            raise DidgenError(
                "A worker reads the recipe otherwise than this process: the model, the source and "
                "didgen's version must be the same on all nodes."
            )
        self.free.append(worker)

    def _result(self, reference: Any) -> tuple[str | None, str | None]:
        """The hash of a task's shard, None where it is held elsewhere, or why there is none."""
        worker, (config, index), _ = self.working.pop(reference)
        try:
            sha256 = self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            self._kill(worker)
            # It had loaded: that others could not is no reason to start none in its place.
            self.lost.clear()
            cause = getattr(error, "cause", None)
            if isinstance(cause, DidgenError):
                raise cause from None
            return None, f"it failed with {_line(cause)}" if cause else "its worker died"
        self.free.append(worker)
        if sha256 is None:
            return None, None
        sidecar = shard_path(self.out, config, index).with_suffix(".json")
        if is_whole(self.job, self.out, config, index) and read_sidecar(sidecar).sha256 == sha256:
            return sha256, None
        return None, f"what its worker wrote is not in {self.out}, a folder all nodes must share"

    def _kill(self, worker: Any) -> None:
        with suppress(self.ray.exceptions.RayError):
            self.ray.kill(worker)

    def close(self) -> None:
        """End the workers, and drop what was in the hands of those that were making something."""
        for worker in (*self.loading.values(), *self.free):
            self._kill(worker)
        for worker, shard, waits in self.working.values():
            self._kill(worker)
            if waits:
                # It may never have had the shard: another process has.
                continue
            path = shard_path(self.out, *shard)
            with suppress(OSError), claimed(self.out, path.stem):
                if not is_whole(self.job, self.out, *shard):
                    clear(path.with_suffix(".json"))
                    clear(path)


def room(nodes: Iterable[Mapping[str, float]], cpus: int, gpus: float) -> int:
    """How many workers of so many CPUs and GPUs the nodes with these resources have room for."""
    return sum(
        min(
            int(node.get("CPU", 0) // cpus),
            # Rounded first, as Ray counts: five workers of 0.2 GPUs share one.
            int(round(node.get("GPU", 0) / gpus, 4)) if gpus else sys.maxsize,
        )
        for node in nodes
    )


def _line(error: object) -> str:
    """An exception in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300].rstrip(". ")
