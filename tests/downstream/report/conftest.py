"""Fixtures of the report: a folder with one of each thing that it reads, made in seconds."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from didgen.downstream.benchmark.classification.benchmark import classify
from didgen.downstream.benchmark.classification.job import prepare_classification
from didgen.downstream.benchmark.recipe import ClassifyRecipe, SegmentRecipe
from didgen.downstream.benchmark.segmentation.benchmark import segment
from didgen.downstream.benchmark.segmentation.job import prepare_segmentation
from didgen.downstream.quality.assess import Asked, assess, prepare_quality
from didgen.manifests.runs.claim import start_run
from tests.fixtures.photographs import write_run, write_source


def write_log(folder: Path, scalars: dict[str, list[tuple[int, float]]]) -> None:
    """Write scalars as TensorBoard's own writer does; (step, value) by name."""
    earlier = {*folder.glob("events.out.tfevents*")}
    writer = EventFileWriter(str(folder))
    for name, told in scalars.items():
        for step, value in told:
            summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
            writer.add_event(Event(wall_time=0, step=step, summary=summary))
    writer.close()
    # Files are read in the order of their names, in which those of one second have none to rely on.
    (written,) = {*folder.glob("events.out.tfevents*")} - earlier
    written.rename(folder / f"events.out.tfevents.{len(earlier):010d}")


@pytest.fixture(scope="session")
def study(
    tmp_path_factory: pytest.TempPathFactory,
    no_hub: None,
    source: Path,
    recipe: Callable[..., ClassifyRecipe],
    segment_recipe: Callable[..., SegmentRecipe],
    make_run: Callable[..., Path],
) -> Path:
    """A study: a run, a mix of nothing, a model, an assessment, and both benchmarks."""
    folder = tmp_path_factory.mktemp("study") / "study"
    make_run(folder / "made" / "run", recipe={"kind": "augment", "source": str(source)})

    start_run(folder / "model", fingerprint="f", recipe={"kind": "finetune", "steps": 3})
    write_log(
        folder / "model" / "logs", {"unet/loss": [(step, 1 / step) for step in range(1, 400)]}
    )

    data = tmp_path_factory.mktemp("quality")
    asked = Asked(
        real=write_source(data),
        synthetic=write_run(data / "run"),
        extractor="timm:test_efficientnet/1",
        weights="none",
        size=32,
        pairs=4,
        planted=2,
    )
    assess(prepare_quality(asked), folder / "quality")

    networks = [{"name": "test_vit", "weights": "none", "arguments": {"img_size": 32}}]
    arms = ["original", "didgen"]
    classify(prepare_classification(recipe(networks=networks, arms=arms)), folder / "classify")

    small = {"channels": [4, 8], "strides": [2]}
    nets = [{"name": "monai.UNet", "called": "unet", "weights": "none", "arguments": small}]
    job = prepare_segmentation(segment_recipe(networks=nets, arms=arms, real=[8]))
    segment(job, folder / "segment")
    return folder


@pytest.fixture
def own_study(study: Path, tmp_path: Path) -> Path:
    """A copy of the study, to break."""
    return Path(shutil.copytree(study, tmp_path / "study"))
