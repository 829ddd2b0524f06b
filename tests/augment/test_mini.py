"""The bundled model: it loads everywhere, and does on held-out data what its card says."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline

from augment.caption import Measured, caption_manifest, token_counter
from augment.model import MINI, load_pipeline
from augment.plan import model_captions
from augment.tokens import P_TOKENS
from benchmarks.heldout import measure
from manifests.contamination import TRAINED_ON_NAME, TrainedOn
from manifests.errors import DidgenError
from manifests.isic2018 import import_isic2018
from manifests.records import CLASSES, SourceManifest


@pytest.fixture(scope="module")
def held_out(data_dir: Path) -> SourceManifest:
    """Sixty captioned images of the validation and test splits of the mini recipe's source."""
    whole = import_isic2018(data_dir / "isic2018").manifest
    records = [r for r in whole.records if r.split != "train" and r.mask][::28][:60]
    few = SourceManifest(whole.header, tuple(records))
    measured = Measured(token_counter("mini"))
    return SourceManifest(whole.header, tuple(caption_manifest(few, measured)))


def test_it_is_small_safe_and_documented() -> None:
    files = [path for path in MINI.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 60 * 2**20
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".jsonl", ".txt", ".md"}
    card = (MINI / "README.md").read_text()
    assert "CC BY-NC 4.0" in card
    assert "not for diagnosis" in card.lower()


def test_it_loads_in_plain_diffusers_with_its_p_tokens() -> None:
    plain = StableDiffusionPipeline.from_pretrained(MINI, safety_checker=None)
    assert set(P_TOKENS) <= set(plain.tokenizer.get_vocab())
    ours = load_pipeline("mini").unet.state_dict()
    for name, weight in plain.unet.state_dict().items():
        assert torch.equal(weight.float(), ours[name]), name


def test_it_knows_captions_of_every_class() -> None:
    assert set(model_captions(MINI)) == {"", *CLASSES}


@pytest.mark.data
def test_its_list_is_the_training_split_of_the_shared_source(data_dir: Path) -> None:
    manifest = import_isic2018(data_dir / "isic2018").manifest
    trained_on = TrainedOn.read(MINI / TRAINED_ON_NAME)
    assert trained_on == TrainedOn.of(manifest.select(split="train"))
    trained_on.check("mini", data_dir, manifest)
    other = import_isic2018(data_dir / "isic2018", seed=1).manifest
    with pytest.raises(DidgenError, match="of 1701 images"):
        trained_on.check("mini", data_dir, other)
    mended = import_isic2018(data_dir / "isic2018", seed=1, for_models=[("mini", trained_on)])
    trained_on.check("mini", data_dir, mended.manifest)
    counts = Counter(record.split for record in mended.manifest.records)
    assert counts["train"] == len(trained_on.images), "all others are held out"


@pytest.mark.slow
@pytest.mark.data
def test_it_does_on_held_out_images_what_its_card_says(held_out: SourceManifest) -> None:
    figures = measure(load_pipeline("mini"), held_out, list(held_out.records))
    print(figures)
    assert figures.psnr > 30
    assert figures.map_iou > 0.7
    assert figures.annotation_iou > 0.65
