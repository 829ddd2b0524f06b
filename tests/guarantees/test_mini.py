"""Tests of the bundled model: it loads everywhere, and does what its card says."""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline

from benchmarks.heldout import measure
from didgen.augment.captions.caption import Measured, caption_manifest
from didgen.augment.diffusion.model_folder import load_pipeline
from didgen.augment.models.tokens import token_counter
from didgen.augment.prompts.prompt import P_TOKENS
from didgen.augment.prompts.prompt_source import read_captions
from didgen.manifests.errors import DidgenError
from didgen.manifests.importers.isic2018 import import_isic2018
from didgen.manifests.provenance.models import CAPTIONS_NAME, MINI
from didgen.manifests.provenance.trained_on import TRAINED_ON_NAME, TrainedOn
from didgen.manifests.sources.records import CLASSES, SourceManifest
from didgen.manifests.sources.splits import split_groups


@pytest.fixture(scope="module")
def whole(data_dir: Path) -> SourceManifest:
    """The mini recipe's source."""
    return import_isic2018(data_dir / "isic2018").manifest


@pytest.fixture(scope="module")
def held_out(whole: SourceManifest) -> SourceManifest:
    """Sixty captioned images of its validation and test splits."""
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
    assert set(read_captions(MINI / CAPTIONS_NAME)) == {"", *CLASSES}


@pytest.mark.slow
@pytest.mark.data
def test_its_list_is_the_training_split_of_the_shared_source(whole: SourceManifest) -> None:
    trained_on = TrainedOn.read(MINI / TRAINED_ON_NAME)
    assert trained_on == TrainedOn.of(whole.select(split="train"))
    trained_on.check("mini", Path("source"), whole)


@pytest.mark.slow
@pytest.mark.data
def test_another_split_holds_out_what_it_knows_unless_that_must_train(
    whole: SourceManifest,
) -> None:
    trained_on = TrainedOn.read(MINI / TRAINED_ON_NAME)
    lesions = [(record.lesion_id, record.label) for record in whole.records]
    known = {r.lesion_id for r in whole.records if trained_on.knows(r, r.sha256)}

    def split_again(training: set[str]) -> SourceManifest:
        splits = split_groups(lesions, seed=1, fractions=(0.8, 0.1, 0.1), training=training)
        changed = (r.model_copy(update={"split": splits[r.lesion_id]}) for r in whole.records)
        return SourceManifest(whole.header, tuple(changed))

    with pytest.raises(DidgenError, match="of 1701 images"):
        trained_on.check("mini", Path("source"), split_again(set()))
    mended = split_again(known)
    trained_on.check("mini", Path("source"), mended)
    assert len(mended.select(split="train")) == 6803, "all others are held out"


@pytest.mark.slow
@pytest.mark.data
def test_it_does_on_held_out_images_what_its_card_says(held_out: SourceManifest) -> None:
    figures = measure(load_pipeline("mini"), held_out, list(held_out.records))
    print(figures)
    assert figures.psnr > 30
    assert figures.map_iou > 0.7
    assert figures.annotation_iou > 0.65
