"""Tests of other people's readers: they get every sample of a run, with no didgen import."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from didgen.manifests.choices import Config
from didgen.manifests.shards.shard import Failure, shard_path
from tests.fixtures.pictures import decoded
from tests.fixtures.runs import Shards, write_run
from tests.fixtures.samples import CLASSES, noise_sample

# webdataset leaves closing a shard to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.usefixtures("closed_readers"),
]

CONFIGS: tuple[Config, ...] = ("images", "pairs")
SAMPLES = {
    config: [noise_sample(config, number, CLASSES[number % 3]) for number in range(7)]
    for config in CONFIGS
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two shards a config, one planned sample of each having failed."""
    failure = Failure("failed", "no lesion found")
    shards: Shards = {
        config: [[*samples[:4], failure], samples[4:]] for config, samples in SAMPLES.items()
    }
    return write_run(tmp_path_factory.mktemp("run"), shards, classes=list(CLASSES))


def tars(run: Path, config: Config) -> list[str]:
    return [str(shard_path(run, config, index)) for index in (0, 1)]


def assert_same(found: np.ndarray, data: bytes) -> None:
    np.testing.assert_array_equal(np.asarray(found), decoded(data))


@pytest.mark.parametrize("config", CONFIGS)
def test_datasets(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: Config
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(
        "webdataset",
        data_files={"train": tars(run, config)},
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    assert isinstance(loaded.features["jpg"], datasets.Image)
    assert loaded["__key__"][:] == [sample.key for sample in SAMPLES[config]]
    for row, sample in zip(loaded, SAMPLES[config], strict=True):
        assert_same(row["jpg"], sample.members["jpg"])
        assert row["json"] == json.loads(sample.members["json"])
        if config == "images":
            assert row["cls"] == int(sample.members["cls"])
        else:
            assert_same(row["mask.png"], sample.members["mask.png"])


@pytest.mark.parametrize("config", CONFIGS)
def test_webdataset(run: Path, config: Config) -> None:
    webdataset = pytest.importorskip("webdataset")
    loaded = webdataset.WebDataset(tars(run, config), shardshuffle=False).decode("pil")
    for row, sample in zip(loaded, SAMPLES[config], strict=True):
        assert row["__key__"] == sample.key
        assert_same(row["jpg"], sample.members["jpg"])
        assert row["json"] == json.loads(sample.members["json"])
        if config == "images":
            assert row["cls"] == int(sample.members["cls"])
        else:
            # Its "pil" decoder turns every image into RGB.
            found = np.asarray(row["mask.png"])
            for channel in range(3):
                assert_same(found[..., channel], sample.members["mask.png"])


@pytest.mark.parametrize(("shards", "empty_check"), [(2, True), (1, False)])
def test_webdataset_in_the_workers_of_a_loader(run: Path, shards: int, empty_check: bool) -> None:
    webdataset = pytest.importorskip("webdataset")
    data = pytest.importorskip("torch.utils.data")
    paths = tars(run, "images")[:shards]
    dataset = webdataset.WebDataset(paths, shardshuffle=False, empty_check=empty_check)
    loaded = data.DataLoader(
        dataset.decode("pil").to_tuple("__key__", "cls"), batch_size=None, num_workers=2
    )
    expected = SAMPLES["images"] if shards == 2 else SAMPLES["images"][:4]
    assert sorted(loaded) == [[s.key, int(s.members["cls"])] for s in expected]


# The class index is the member `.cls` of images; pairs have it as a field of their JSON.
@pytest.mark.parametrize(("config", "target"), [("images", None), ("pairs", "label")])
def test_timm(run: Path, config: Config, target: str | None) -> None:
    data = pytest.importorskip("timm.data")
    loaded = data.create_dataset(
        "wds/", root=str(run / config), split="train", target_key=target, is_training=False
    )
    assert len(loaded) == len(SAMPLES[config])
    for (image, label), sample in zip(loaded, SAMPLES[config], strict=True):
        assert_same(image, sample.members["jpg"])
        assert label == json.loads(sample.members["json"])["label"]


def test_timm_trains_on_every_sample(run: Path) -> None:
    data = pytest.importorskip("timm.data")
    loaded = data.create_dataset("wds/", root=str(run / "images"), split="train", is_training=True)
    found = sorted(np.asarray(image).tobytes() for image, _ in loaded)
    assert found == sorted(decoded(s.members["jpg"]).tobytes() for s in SAMPLES["images"])


def test_shards_are_written_and_verified_without_torch(run: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from didgen.manifests.runs.verify import verify; "
        "assert all(v.status == 'ok' for v in verify(Path(sys.argv[1]))); "
        "assert not {'torch', 'webdataset'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code, str(run)], check=True, timeout=120)
