"""Tests of the demo as a user runs it: shards of the bundled model that every reader reads."""

import gc
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import mlcroissant
import numpy as np
import pytest
import timm.data
import webdataset
import yaml
from datasets import load_dataset
from huggingface_hub import DatasetCard
from PIL import Image

from didgen.downstream.metrics.segmentation import overlaps
from didgen.manifests.choices import Config
from didgen.manifests.recipes.reading import RECIPES
from didgen.manifests.shards.shard import iterate
from tests.fixtures.demo import didgen

pytestmark = [
    pytest.mark.slow,
    # webdataset leaves closing a shard to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
]

MOST, MEAN = 8, 0.1
"""Grey levels, of 255, by which another batch size may change one pixel of an unguided image, and
all on average."""
PAIR_MEAN, PAIR_IOU, PAIRS_OFF = 3.0, 0.95, 2
"""Grey levels on average and IoU of its masks within which a pair stays, and how many may not:
their guidance magnifies round-off."""


def pictures(out: Path, config: Config) -> Iterator[np.ndarray]:
    """The images of a run, (H, W, 3)."""
    for sample in iterate(out, config):
        yield np.asarray(Image.open(io.BytesIO(sample.members["jpg"]))).astype(int)


def changes(one: Path, other: Path, config: Config) -> list[np.ndarray]:
    """By how many grey levels each image differs between two runs of the same plan, (H, W, 3)."""
    both = zip(pictures(one, config), pictures(other, config), strict=True)
    return [np.abs(first - second) for first, second in both]


def masks(out: Path) -> Iterator[np.ndarray]:
    """The masks of a run's pairs, (H, W) boolean."""
    for sample in iterate(out, "pairs"):
        yield np.asarray(Image.open(io.BytesIO(sample.members["mask.png"]))) > 0


def test_it_makes_what_it_promises_and_verifies(demo: Path) -> None:
    labels = Counter(json.loads(s.members["json"])["class"] for s in iterate(demo, "images"))
    assert labels == dict.fromkeys(["MEL", "BCC", "AKIEC", "BKL", "DF", "VASC"], 4)
    assert sum(1 for _ in iterate(demo, "pairs")) == 12
    assert {p.shape for c in ("images", "pairs") for p in pictures(demo, c)} == {(256, 256, 3)}
    assert "files are ok." in didgen("verify", str(demo))


@pytest.mark.filterwarnings("ignore::DeprecationWarning:rdflib")
def test_its_card_says_what_it_may_be_used_for(demo: Path) -> None:
    data = DatasetCard.load(demo / "README.md").data
    assert data.license == "cc-by-nc-4.0"
    text = (demo / "README.md").read_text()
    assert "Not for diagnosis" in text
    assert "| **all** | 24 | 12 |" in text
    metadata = mlcroissant.Dataset(str(demo / "croissant.json")).metadata
    assert not metadata.ctx.issues.errors


def test_masks_lie_on_lesions_and_follow_layouts(demo: Path) -> None:
    contrast, agreement = [], []
    for sample, mask in zip(iterate(demo, "pairs"), masks(demo), strict=True):
        grey = np.asarray(Image.open(io.BytesIO(sample.members["jpg"])).convert("L")).astype(float)
        contrast.append(grey[~mask].mean() - grey[mask].mean())
        agreement.append(json.loads(sample.members["json"])["scores"]["layout_iou"])
    print(f"skin is {np.mean(contrast):.1f} levels brighter; IoU with layout {np.mean(agreement)}")
    assert np.mean(contrast) > 15
    assert np.mean(agreement) > 0.5


def test_every_reader_iterates_it(demo: Path, tmp_path: Path) -> None:
    for config, count in (("images", 24), ("pairs", 12)):
        files = [str(path) for path in sorted((demo / config).glob("*.tar"))]
        keys = [sample.key for sample in iterate(demo, config)]  # type: ignore[arg-type]
        loaded = load_dataset(
            "webdataset", data_files=files, split="train", cache_dir=str(tmp_path / "cache")
        )
        assert [row["json"]["key"] for row in loaded] == keys
        assert len(keys) == count
        streamed = webdataset.WebDataset(files, shardshuffle=False).decode("pil")
        assert [sample["__key__"] for sample in streamed] == keys
    read = timm.data.create_dataset("wds/", root=str(demo / "images"), split="train", batch_size=4)
    targets = Counter(target for _, target in read)
    assert set(targets.values()) == {4}
    gc.collect()


def test_the_same_command_gives_the_same_bytes_and_another_batch_the_same_images(
    demo: Path, tmp_path: Path
) -> None:
    didgen("augment", "--out", str(tmp_path / "again"))
    for tar in demo.rglob("*.tar"):
        assert (tmp_path / "again" / tar.relative_to(demo)).read_bytes() == tar.read_bytes()

    recipe = yaml.safe_load((RECIPES / "demo.yaml").read_text())
    recipe["sampling"]["batch_size"] = 5
    (tmp_path / "fives.yaml").write_text(yaml.safe_dump(recipe))
    fives = tmp_path / "fives"
    didgen("augment", str(tmp_path / "fives.yaml"), "--out", str(fives))

    image_changes = changes(demo, fives, "images")
    worst = max(int(change.max()) for change in image_changes)
    mean = np.mean([change.mean() for change in image_changes])
    pair_means = np.array([change.mean() for change in changes(demo, fives, "pairs")])
    ious = overlaps(np.stack([*masks(demo)]), np.stack([*masks(fives)])).iou
    print(f"another batch size, images: at most {worst} of 255, on average {mean:.5f}")
    print(f"pairs: on average {np.sort(pair_means).round(3)}, IoU {np.sort(ious).round(4)}")
    assert worst <= MOST
    assert mean <= MEAN
    assert ((pair_means > PAIR_MEAN) | (ious < PAIR_IOU)).sum() <= PAIRS_OFF
