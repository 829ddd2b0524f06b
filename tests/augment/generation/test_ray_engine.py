"""Tests of the Ray engine: a run on a local cluster, of which a node goes while it works."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from didgen.augment.generation import ray_engine as cluster_module
from didgen.augment.generation.part import Part
from didgen.augment.generation.prepare import GenerationJob, prepare_generation
from didgen.augment.generation.ray_engine import room
from didgen.augment.generation.run import augment
from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.runs.verify import verify
from tests.fixtures.recipes import QUICK, tiny_recipe
from tests.fixtures.runs import contents

ASKED = {
    # NV is named: a worker that leaves it out by default would be found.
    "images": {"per_class": {"MEL": 12, "NV": 12}},
    "pairs": {"count": 4, "layouts": "drawn"},
    "sampling": QUICK | {"steps": 4},
    "cluster": {"cpus": 1, "retries": 2},
}


@pytest.fixture(scope="module")
def job(model: Path) -> GenerationJob:
    return prepare_generation(tiny_recipe(model, **ASKED))


def test_the_cluster_section_leaves_the_fingerprint_as_it_is(
    job: GenerationJob, model: Path
) -> None:
    other = prepare_generation(
        tiny_recipe(model, **ASKED | {"cluster": {"cpus": 7, "gpus": 0.5, "workers": 3}})
    )
    assert other.fingerprint == job.fingerprint


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "count"),
    [
        ([], 1, 0, 0),
        ([{"CPU": 8.0}, {"CPU": 3.0}], 4, 0, 2),
        ([{"CPU": 8.0}, {"CPU": 8.0, "GPU": 1.0}], 4, 1, 1),
        ([{"CPU": 64.0, "GPU": 8.0}], 4, 0.5, 16),
        ([{"CPU": 2.0, "GPU": 8.0}], 4, 1, 0),
        ([{"CPU": 64.0, "GPU": 1.0}], 4, 0.2, 5),
        ([{"CPU": 64.0, "GPU": 1.0}], 4, 0.3, 3),
        ([{"memory": 1.0}], 1, 0, 0),
    ],
)
def test_room_is_what_every_node_can_hold(
    nodes: list[dict[str, float]], cpus: int, gpus: float, count: int
) -> None:
    assert room(nodes, cpus, gpus) == count


def test_without_a_cluster_one_sentence_says_so(
    job: GenerationJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(DidgenError, match="No Ray cluster can be reached; start one"):
        augment(job, tmp_path / "run", engine="ray")
    assert not list((tmp_path / "run").rglob("*.tar"))


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A Ray cluster of two nodes with one CPU each; the second is `nodes.second`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        import ray
        from ray.cluster_utils import Cluster

        size: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
        cluster: Any = Cluster(
            initialize_head=True,
            head_node_args=size | {"include_dashboard": False},
        )
        cluster.second = cluster.add_node(**size)
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture(scope="module")
def single_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def local(
    job: GenerationJob, single_thread: None, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The run of this process alone."""
    out = tmp_path_factory.mktemp("runs") / "local"
    augment(job, out)
    return out


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore::FutureWarning:ray", "ignore::ResourceWarning")
class TestTwoNodes:
    """In this order: the last test takes a node away."""

    def test_a_part_and_then_the_rest_load_the_model_once_a_worker(
        self,
        nodes: Any,
        job: GenerationJob,
        local: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        started: list[str] = []
        grow = cluster_module._Pool._grow

        def counted(pool: cluster_module._Pool, shards: int) -> None:
            before = set(pool.loading)
            grow(pool, shards)
            started.extend(set(pool.loading) - before)

        monkeypatch.setattr(cluster_module._Pool, "_grow", counted)
        out = tmp_path / "run"
        assert augment(job, out, Part(1, 2), engine="ray") is None
        assert len(started) == 2
        made = {path: path.stat().st_mtime_ns for path in out.rglob("*.tar")}
        assert len(made) == 7
        assert augment(job, out, engine="ray") is not None
        assert {path: path.stat().st_mtime_ns for path in made} == made
        assert contents(out) == contents(local)

    def test_a_shard_that_fails_everywhere_ends_the_run_and_leaves_no_half(
        self, nodes: Any, job: GenerationJob, tmp_path: Path
    ) -> None:
        out = tmp_path / "run"
        # No worker can write beside a file that stands where the folder of pairs belongs.
        out.mkdir()
        (out / "pairs").write_text("in the way")
        with pytest.raises(DidgenError, match=r"pairs-00000\d.tar was not made in 3 tries"):
            augment(job, out, engine="ray")
        assert not list(out.rglob("*.tmp")) and not (out / "manifest.json").exists()

    def test_a_sick_worker_is_not_asked_again(
        self,
        nodes: Any,
        job: GenerationJob,
        local: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        sick = tmp_path / "sick"

        class First(cluster_module._Remote):
            """Fails in its first process, and there at once every time."""

            def load(self, *asked: Any) -> str:
                with suppress(FileExistsError):
                    sick.mkdir()
                    self.sick = True
                return super().load(*asked)

            def make(self, *asked: Any) -> str | None:
                if hasattr(self, "sick"):
                    raise OSError(28, "No space left on device")
                return super().make(*asked)

        monkeypatch.setattr(cluster_module, "_Remote", First)
        out = tmp_path / "run"
        assert augment(job, out, engine="ray") is not None
        told = " ".join(capsys.readouterr().err.split())
        assert told.count("No space left on device") == 1
        assert contents(out) == contents(local)

    def test_workers_that_cannot_load_end_the_run_when_none_is_left(
        self, nodes: Any, job: GenerationJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Broken(cluster_module._Remote):
            def load(self, *asked: Any) -> str:
                raise RuntimeError("no kernel image for this device")

        monkeypatch.setattr(cluster_module, "_Remote", Broken)
        with pytest.raises(DidgenError, match=r"[34] workers in a row could .* because of Runtime"):
            augment(job, tmp_path / "run", engine="ray")

    def test_a_worker_that_reads_another_recipe_is_refused(
        self, nodes: Any, job: GenerationJob, tmp_path: Path
    ) -> None:
        from dataclasses import replace

        with pytest.raises(DidgenError, match="must be the same on all nodes"):
            augment(replace(job, fingerprint="0" * 64), tmp_path / "run", engine="ray")

    def test_more_than_any_node_has_is_refused(
        self, nodes: Any, model: Path, tmp_path: Path
    ) -> None:
        greedy = prepare_generation(tiny_recipe(model, **ASKED | {"cluster": {"cpus": 64}}))
        with pytest.raises(DidgenError, match="No node of the Ray cluster has 64 CPUs"):
            augment(greedy, tmp_path / "run", engine="ray")

    def test_sigterm_drops_what_is_in_hand_and_the_run_goes_on(
        self, nodes: Any, job: GenerationJob, local: Path, tmp_path: Path
    ) -> None:
        out, asked = tmp_path / "run", tmp_path / "recipe.yaml"
        asked.write_text(yaml.safe_dump(job.recipe.model_dump(mode="json")))
        command = [
            sys.executable,
            "-m",
            "didgen.cli",
            "augment",
            str(asked),
            "--out",
            str(out),
            "--engine",
            "ray",
        ]
        address = nodes.address
        paths = os.pathsep.join(sys.path)
        process = subprocess.Popen(
            command, env=os.environ | {"RAY_ADDRESS": address, "PYTHONPATH": paths}
        )
        while not list(out.glob("[ip]*/*-*.json")):
            assert process.poll() is None
            time.sleep(0.02)
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
        assert not list(out.rglob("*.tmp")) and not (out / "manifest.json").exists()
        augment(job, out, engine="ray")
        assert contents(out) == contents(local)

    def test_a_node_that_goes_takes_nothing_with_it(
        self,
        nodes: Any,
        job: GenerationJob,
        local: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        out, in_hand = tmp_path / "run", tmp_path / "in-hand"
        second = nodes.second
        identity = second.node_id
        made_before: list[int] = []

        class Slow(cluster_module._Remote):
            """Never done with its shard on the second node; elsewhere begun when that one is."""

            def make(self, config: Config, index: int, wait: bool) -> str | None:
                import ray

                def stay(count: int) -> None:
                    in_hand.touch()
                    time.sleep(600)

                if ray.get_runtime_context().get_node_id() == identity:
                    return self.worker.make(config, index, stay, wait=wait)
                while not in_hand.exists():
                    time.sleep(0.02)
                return super().make(config, index, wait)

        def remove() -> None:
            while not (made := list(out.glob("[ip]*/*-*.json"))):
                time.sleep(0.02)
            made_before.append(len(made))
            nodes.remove_node(second, allow_graceful=False)

        monkeypatch.setattr(cluster_module, "_Remote", Slow)
        remover = threading.Thread(target=remove)
        remover.start()
        augment(job, out, engine="ray")
        remover.join()
        assert made_before[0] < 12
        assert "because its worker died" in " ".join(capsys.readouterr().err.split())
        assert contents(out) == contents(local)
        assert {verdict.status for verdict in verify(out)} == {"ok"}
