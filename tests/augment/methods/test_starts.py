"""Starts of variations: a source's training images, in order, and no other images."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from didgen.augment.device import choose_device
from didgen.augment.diffusion.autoencoder import decode, encode
from didgen.augment.generation.prepare import GenerationJob, prepare_generation
from didgen.augment.generation.remake import remake
from didgen.augment.generation.run import augment
from didgen.augment.methods.guided_diffusion import load_diffusion
from didgen.augment.methods.starts import Starts
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import write_bytes
from didgen.manifests.provenance.trained_on import TRAINED_ON_NAME, TrainedOn
from didgen.manifests.runs.training_samples import training_samples
from didgen.manifests.runs.verify import verify
from didgen.manifests.shards.index import read_manifest
from didgen.manifests.shards.shard import iterate, read_sidecars
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.lesions import SIZE
from tests.fixtures.recipes import QUICK, tiny_recipe

LABEL = "NV"


@pytest.fixture(scope="module")
def job(model: Path, source: Path) -> GenerationJob:
    """Three nevi and three pairs, which take one of ten steps from real images."""
    return prepare_generation(
        tiny_recipe(
            model,
            source=source,
            images={"per_class": {LABEL: 3}},
            pairs={"count": 3, "layouts": "source"},
            variations={"strength": 0.1},
            sampling=QUICK | {"steps": 10, "cfg": 1},
        )
    )


def test_images_of_a_class_come_in_an_order_of_their_own(manifest: SourceManifest) -> None:
    starts = Starts(64, manifest)
    training = manifest.select(split="train")
    for label in {record.label or "" for record in training}:
        names = starts.of_class(label, 3)
        assert {*names} == {record.key for record in training if record.label == label}
        assert names == starts.of_class(label, 3)
    assert starts.of_class("nothing", 3) == []
    assert starts.pixels([training[0].key]).shape == (1, 3, 64, 64)


def test_an_image_that_is_held_out_is_refused(manifest: SourceManifest) -> None:
    for split in ("val", "test"):
        (record, *_) = manifest.select(split=split)
        with pytest.raises(DidgenError, match=f"{record.key} is no training image"):
            Starts(64, manifest).pixels([record.key])


def test_each_sample_has_its_image_and_each_pair_its_mask_too(
    job: GenerationJob, manifest: SourceManifest
) -> None:
    assert job.images is not None and job.pairs is not None
    own = [r.key for r in manifest.select(split="train") if r.label == LABEL]
    starts = [planned.start for planned in job.images]
    # None a second time before all were taken.
    for first in range(0, len(starts), len(own)):
        assert len({*starts[first : first + len(own)]}) == min(len(own), len(starts) - first)
    assert {*starts} <= {*own}
    for pair in job.pairs:
        assert pair.start == pair.layout and pair.start in {r.key for r in manifest.records}


def test_a_run_of_variations_names_their_images(
    job: GenerationJob, source: Path, manifest: SourceManifest, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    augment(job, out)
    assert {verdict.status for verdict in verify(out)} == {"ok"}
    named = [row["start"] for c in job.plan for side in read_sidecars(out, c) for row in side.rows]
    assert all(named) and len(named) == 6
    run = read_manifest(out)
    for config in job.plan:
        taken = [*training_samples(out, run, config, read_sidecars(out, config), manifest)]
        assert [one.start for one in taken] == [one.start for one in job.plan[config]]
    (first, *_) = iterate(out, "images")
    assert remake(job, out, first.key).members == first.members
    records = tuple(
        r.model_copy(update={"split": "test"}) if r.key == named[0] else r for r in manifest.records
    )
    other = SourceManifest(manifest.header, records)
    with pytest.raises(DidgenError, match=f"a variation of {named[0]}, which is no training"):
        [*training_samples(out, run, "images", read_sidecars(out, "images"), other)]


def test_little_strength_leaves_a_sample_near_its_image(
    job: GenerationJob, manifest: SourceManifest
) -> None:
    assert job.images is not None
    generator = load_diffusion(job.recipe)
    planned = [*job.images][:2]
    drawn = generator.draw(planned, [1, 2], None, choose_device("no")).images.astype(int)
    pixels = Starts(SIZE, manifest).pixels([one.start for one in planned])
    vae = generator.pipeline.vae
    with torch.no_grad():
        seen = decode(vae, encode(vae, pixels)).movedim(1, -1).numpy()
    seen = np.rint(255 * (seen / 2 + 0.5).clip(0, 1))
    own = [np.abs(drawn[place] - seen[place]).mean() for place in (0, 1)]
    assert max(own) < np.abs(drawn[0] - seen[1]).mean()


def test_the_images_enter_what_the_run_was_trained_on(
    model: Path, source: Path, manifest: SourceManifest, tmp_path: Path
) -> None:
    held = shutil.copytree(model, tmp_path / "model")
    (seen, *_) = manifest.select(split="train")
    write_bytes(held / TRAINED_ON_NAME, TrainedOn.of([seen]).text())
    fields = {"source": source, "pairs": None, "images": {"per_class": {LABEL: 1}}}
    plain = prepare_generation(tiny_recipe(held, **fields))
    varied = prepare_generation(tiny_recipe(held, **fields, variations={"strength": 0.5}))
    assert plain.fingerprint != varied.fingerprint and len(plain.trained_on) == 1
    assert varied.images is not None
    (planned,) = varied.images
    by_key = {record.key: record for record in manifest.records}
    assert varied.trained_on == TrainedOn.of([seen, by_key[planned.start]])


def test_what_cannot_be_varied_is_refused(
    model: Path, manifest: SourceManifest, tmp_path: Path
) -> None:
    SourceManifest(manifest.header, tuple(r for r in manifest.records if r.label != "DF")).write(
        tmp_path
    )
    fields = {
        "source": tmp_path,
        "images": {"per_class": {"DF": 2}},
        "pairs": None,
        "prompt": "prefix",
        "variations": {"strength": 0.5},
    }
    with pytest.raises(DidgenError, match="no training image of DF to vary"):
        prepare_generation(tiny_recipe(model, **fields))
