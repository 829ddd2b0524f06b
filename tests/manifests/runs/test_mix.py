"""Tests of mix: synthetic samples train only, nothing leaks, every reader reads it."""

import io
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json_lines
from didgen.manifests.images import read_image, read_mask
from didgen.manifests.locks import claimed
from didgen.manifests.privacy.pseudonyms import KEY_NAME
from didgen.manifests.provenance.licence import strictest
from didgen.manifests.provenance.trained_on import TRAINED_ON_NAME, TrainedOn
from didgen.manifests.recipes.mix import MixRecipe, recorded
from didgen.manifests.reviews.redrawn import mask_of
from didgen.manifests.runs.claim import start_run
from didgen.manifests.runs.finish import finish_run
from didgen.manifests.runs.mix import mix, prepare_mix
from didgen.manifests.runs.mixed import Mix
from didgen.manifests.runs.verify import verify
from didgen.manifests.shards.shard import (
    Stamp,
    iterate,
    read_shard,
    shard_path,
    split_of,
    write_shard,
)
from didgen.manifests.sources.records import SPLITS, SourceManifest
from tests.fixtures.pictures import decoded
from tests.fixtures.reviews import BOX, write_reviews

# webdataset leaves closing a shard to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.usefixtures("closed_readers"),
]
CONFIGS: tuple[Config, ...] = ("images", "pairs")


def prepared(source: Path, run: Path, **fields: Any) -> Mix:
    fields = {"ratio": 0.5, "shard_size": 7} | fields
    return prepare_mix(MixRecipe(source=source, run=run, **fields))


@pytest.fixture(scope="module")
def mixed(source: Path, run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished mix, to read only."""
    out = tmp_path_factory.mktemp("mixes") / "mix"
    mix(prepared(source, run), out)
    return out


def by_split(out: Path, config: Config) -> dict[str, list[dict[str, Any]]]:
    """The records of a set by the split that the name of their tar says."""
    found: dict[str, list[dict[str, Any]]] = {}
    for tar in sorted((out / config).glob("*.tar")):
        rows = found.setdefault(split_of(tar.name), [])
        rows += [json.loads(members["json"]) for _, members in read_shard(tar)]
    return found


def bad(out: Path) -> dict[str, str]:
    return {verdict.file: verdict.status for verdict in verify(out) if verdict.status != "ok"}


def test_a_mix_is_a_run_that_verifies(mixed: Path) -> None:
    assert bad(mixed) == {}
    assert shard_path(mixed, "images", 0, "val").name == "images-val-000000.tar"
    assert not list(mixed.rglob("*.tmp"))


@pytest.mark.parametrize("config", CONFIGS)
def test_splits_are_those_of_the_source_and_synthetic_samples_train_only(
    mixed: Path, source: Path, config: Config
) -> None:
    records = {record.key: record for record in SourceManifest.read(source).records}
    found = by_split(mixed, config)
    assert set(found) == set(SPLITS)
    real = [(split, row) for split in found for row in found[split] if row["origin"] == "real"]
    for split, row in real:
        record = records[row["source_key"]]
        assert (record.split, row["split"]) == (split, split)
        assert (row["lesion_id"], row["licence"]) == (record.lesion_id, record.licence)
        assert row["class"] == (record.label or "")
        assert row["prompt"] == (record.caption or "")
    wanted = {r.key for r in records.values() if r.label or config == "pairs"}
    assert {row["source_key"] for _, row in real} == wanted
    assert len(real) == len(wanted)
    for split in ("val", "test"):
        assert {row["origin"] for row in found[split]} == {"real"}


def test_the_ratio_holds_in_each_class_of_images_and_the_shortage_is_told(
    source: Path, run: Path, tmp_path: Path
) -> None:
    job = prepared(source, run, ratio=0.5)
    mix(job, tmp_path / "half")
    train = by_split(tmp_path / "half", "images")["train"]
    counts = Counter((row["class"], row["origin"]) for row in train)
    assert counts == {
        ("MEL", "real"): 6,
        ("NV", "real"): 6,
        ("BCC", "real"): 6,
        ("MEL", "synthetic"): 3,
        ("BCC", "synthetic"): 3,
    }
    assert job.shortages == {"images NV": (3, 0), "pairs": (9, 6)}
    assert job.summary()["short of images NV"] == "3 synthetic samples wanted, 0 made"
    assert job.summary()["images, train"] == "18 real and 6 synthetic samples in 4 shards"


def test_a_model_that_was_trained_on_what_is_held_out_is_refused(
    source: Path, make_run: Callable[..., Path], tmp_path: Path
) -> None:
    manifest = SourceManifest.read(source)
    trained_on = TrainedOn.of(manifest.select(split="train"))
    clean = make_run(tmp_path / "clean", trained_on=trained_on)
    mix(prepared(source, clean), tmp_path / "mix")
    assert bad(tmp_path / "mix") == {}
    assert (tmp_path / "mix" / TRAINED_ON_NAME).read_bytes() == trained_on.text()
    seen = trained_on | TrainedOn.of(manifest.select(split="test")[:1])
    leaking = make_run(tmp_path / "leaking", trained_on=seen)
    with pytest.raises(DidgenError, match=f"The model of {leaking} was trained on .* for test"):
        prepared(source, leaking)
    (clean / TRAINED_ON_NAME).write_bytes(seen.text())
    with pytest.raises(DidgenError, match=f"{TRAINED_ON_NAME} is missing or not as"):
        prepared(source, clean)


@pytest.mark.parametrize("config", CONFIGS)
def test_no_synthetic_sample_at_ratio_zero(
    source: Path, run: Path, tmp_path: Path, config: Config
) -> None:
    mix(prepared(source, run, ratio=0, config=config), tmp_path / "mix")
    rows = [row for rows in by_split(tmp_path / "mix", config).values() for row in rows]
    assert {row["origin"] for row in rows} == {"real"}
    assert not (tmp_path / "mix" / ({*CONFIGS} - {config}).pop()).exists()
    assert bad(tmp_path / "mix") == {}


def test_bytes_pass_through_where_they_can(mixed: Path, source: Path, run: Path) -> None:
    manifest = SourceManifest.read(source)
    records = {record.key: record for record in manifest.records}
    made = {sample.key: sample for sample in iterate(run, "pairs")}
    encoded_anew = []
    for sample in iterate(mixed, "pairs"):
        row = json.loads(sample.members["json"])
        if row["origin"] == "synthetic":
            original = made[row["run_key"]]
            assert sample.members["jpg"] == original.members["jpg"]
            assert sample.members["mask.png"] == original.members["mask.png"]
            assert row["seed"] == json.loads(original.members["json"])["seed"]
            assert (row["run"], row["licence"]) == ("f00d", "CC-BY-4.0")
            continue
        record = records[row["source_key"]]
        path = manifest.image_path(record)
        image = np.asarray(Image.open(io.BytesIO(sample.members["jpg"])))
        mask = np.asarray(Image.open(io.BytesIO(sample.members["mask.png"])))
        np.testing.assert_array_equal(mask, read_mask(manifest.mask_path(record)) * np.uint8(255))
        assert image.shape[:2] == mask.shape
        if sample.members["jpg"] == path.read_bytes():
            np.testing.assert_array_equal(image, np.asarray(read_image(path)))
        else:
            encoded_anew.append(record.key)
    # One is stored on its side, one is a PNG.
    assert sorted(encoded_anew) == ["ISIC_0000003", "ISIC_0000004"]


def test_masks_in_shards_lie_over_the_upright_image(
    make_source: Callable[..., Path], run: Path, tmp_path: Path
) -> None:
    """However a mask file was drawn; a mix of one that is read otherwise is another mix."""
    source = make_source(tmp_path)
    before, plain = SourceManifest.read(source), prepared(source, run)
    changed = [r.model_copy(update={"mask_inverted": True}) for r in before.records]
    SourceManifest(before.header, tuple(changed)).write(source)
    job = prepared(source, run)
    assert job.fingerprint != plain.fingerprint
    mix(job, tmp_path / "mix")
    for sample in iterate(tmp_path / "mix", "pairs"):
        known = json.loads(sample.members["json"])
        if known["origin"] == "real":
            mask = np.asarray(Image.open(io.BytesIO(sample.members["mask.png"]))) > 0
            stored = read_mask(before.mask_path(job.records[known["source_key"]]))
            np.testing.assert_array_equal(mask, ~stored)


def test_held_out_masks_that_no_person_drew_are_left_out(
    make_source: Callable[..., Path], run: Path, tmp_path: Path
) -> None:
    source = make_source(tmp_path)
    before, plain = SourceManifest.read(source), prepared(source, run)
    (source / "annotated").mkdir()
    drawn = {"ISIC_0000000": "train", "ISIC_0000006": "val", "ISIC_0000008": "test"}
    records = []
    for record in before.records:
        if record.key in drawn:
            place = f"annotated/{record.key}.png"
            (source / place).write_bytes(before.mask_path(record).read_bytes())
            record = record.model_copy(update={"mask": place, "mask_by": "attention of mini"})
        records.append(record)
    SourceManifest(before.header, tuple(records)).write(source)
    job = prepared(source, run)
    assert job.summary()["masks"] == (
        "2 held-out masks by attention of mini are no truth, left out"
    )
    mix(job, tmp_path / "mix")
    real = {
        json.loads(sample.members["json"])["source_key"]
        for sample in iterate(tmp_path / "mix", "pairs")
        if json.loads(sample.members["json"])["origin"] == "real"
    }
    assert real & {*drawn} == {"ISIC_0000000"}
    assert "masks" not in plain.summary() and len(real) == len(before.select(masked=True)) - 2


def test_a_patient_that_becomes_known_makes_another_mix(
    make_source: Callable[..., Path], run: Path, tmp_path: Path
) -> None:
    source = make_source(tmp_path)
    before, plain = SourceManifest.read(source), prepared(source, run)
    changed = [r.model_copy(update={"patient_id": r.lesion_id}) for r in before.records]
    SourceManifest(before.header, tuple(changed)).write(source)
    assert prepared(source, run).fingerprint != plain.fingerprint, "records have its number"


def test_class_indices_are_those_of_the_source(
    make_run: Callable[..., Path], source: Path, tmp_path: Path
) -> None:
    turned = make_run(tmp_path / "run", classes=["BCC", "MEL"])
    mix(prepared(source, turned, config="images"), tmp_path / "mix")
    for sample in iterate(tmp_path / "mix", "images"):
        row = json.loads(sample.members["json"])
        assert (
            int(sample.members["cls"]) == row["label"] == ["MEL", "NV", "BCC"].index(row["class"])
        )


def test_a_run_with_another_class_is_refused(
    make_run: Callable[..., Path], source: Path, tmp_path: Path
) -> None:
    other = make_run(tmp_path / "run", classes=["MEL", "NV", "BCC", "Rash"])
    with pytest.raises(DidgenError, match=r"made for the class Rash, which .* does not have"):
        prepared(source, other)


@pytest.mark.parametrize("layout", ["ISIC_0000006", "ISIC_0000008", "ISIC_9999999", ""])
def test_a_pair_whose_layout_is_no_training_mask_is_refused(
    make_run: Callable[..., Path], source: Path, tmp_path: Path, layout: str
) -> None:
    leaking = make_run(tmp_path / "run", layouts=("drawn", "ISIC_0000001", layout))
    with pytest.raises(DidgenError, match="is no training image of"):
        prepared(source, leaking)
    mix(prepared(source, leaking, config="images"), tmp_path / "mix")


def test_a_pair_names_the_record_whose_mask_guided_it(
    make_run: Callable[..., Path], source: Path, tmp_path: Path
) -> None:
    guided = make_run(tmp_path / "run", layouts=("drawn", "ISIC_0000001"))
    mix(prepared(source, guided, config="pairs", ratio=1), tmp_path / "mix")
    rows = [r for r in by_split(tmp_path / "mix", "pairs")["train"] if r["origin"] == "synthetic"]
    assert Counter((r["layout"], r["source_key"], r["lesion_id"]) for r in rows) == {
        ("drawn", "", ""): 3,
        ("ISIC_0000001", "ISIC_0000001", "lesion 1"): 3,
    }


def test_a_finished_mix_is_mended(source: Path, run: Path, tmp_path: Path) -> None:
    out, job = tmp_path / "mix", prepared(source, run)
    mix(job, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    (out / "images" / "_info.json").unlink()
    (out / "README.md").write_text("changed")
    mix(job, out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_its_plan_is_verified_and_mended_and_what_a_killed_mix_left_goes(
    source: Path, run: Path, tmp_path: Path
) -> None:
    out, job = tmp_path / "mix", prepared(source, run)
    mix(job, out)
    plan = (out / "plan.jsonl").read_bytes()
    (out / "plan.jsonl").write_text("garbage")
    left = out / "manifest.json.host-1-2f.tmp"
    left.write_text("{")
    assert bad(out) == {"plan.jsonl": "mismatch", left.name: "torn"}
    mix(job, out)
    assert bad(out) == {} and (out / "plan.jsonl").read_bytes() == plan


def test_a_changed_row_is_made_again(source: Path, run: Path, tmp_path: Path) -> None:
    out, job = tmp_path / "mix", prepared(source, run)
    mix(job, out)
    path = shard_path(out, "images", 0, "val").with_suffix(".json")
    before = path.read_text()
    path.write_text(before.replace('"label": "MEL"', '"label": "BCC"', 1))
    assert path.read_text() != before
    assert bad(out) == {path.with_suffix(".tar").relative_to(out).as_posix(): "mismatch"}
    done: list[tuple[int, int]] = []
    mix(job, out, lambda *at: done.append(at))
    assert done == [(1, 1)] and bad(out) == {}


def test_a_mask_that_changed_since_its_import_is_refused(
    source: Path, run: Path, tmp_path: Path
) -> None:
    manifest = SourceManifest.read(source)
    records = [
        r.model_copy(update={"mask_sha256": "0" * 64} if r.mask else {}) for r in manifest.records
    ]
    shutil.copytree(source, tmp_path / "source")
    replace(manifest, records=tuple(records)).rewrite(tmp_path / "source")
    with pytest.raises(DidgenError, match="has changed since it was imported; import it again"):
        mix(prepared(tmp_path / "source", run, config="pairs"), tmp_path / "mix")


def test_a_mix_waits_for_another_in_its_folder(source: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "mix"
    with ThreadPoolExecutor(1) as pool:
        with claimed(out, "run"):
            other = pool.submit(mix, prepared(source, run), out)
            with pytest.raises(TimeoutError):
                other.result(timeout=0.5)
            assert not list(out.glob("*.json"))
        other.result()
    assert bad(out) == {}


def test_a_key_too_long_for_a_shard_is_named_before_there_is_a_folder(
    source: Path, run: Path, tmp_path: Path
) -> None:
    manifest = SourceManifest.read(source)
    longer = manifest.records[0].model_copy(update={"key": "k" * 90})
    shutil.copytree(source, tmp_path / "source")
    replace(manifest, records=(longer, *manifest.records[1:])).rewrite(tmp_path / "source")
    with pytest.raises(DidgenError, match=r"The sample key 'real-k+' .* rename it"):
        prepared(tmp_path / "source", run)


def test_a_mix_of_a_mix_and_a_config_that_is_not_there_are_refused(
    mixed: Path, source: Path, run: Path, tmp_path: Path
) -> None:
    with pytest.raises(DidgenError, match="is a mix already"):
        prepared(source, mixed)
    only = tmp_path / "only"
    start_run(only, fingerprint="f00d", recipe={})
    write_shard(only, "images", 0, iterate(run, "images"), Stamp("f00d"))
    finish_run(only, {"images": 1}, decisions={}, versions={}, classes=["MEL", "NV", "BCC"])
    with pytest.raises(DidgenError, match="holds no pairs"):
        prepared(source, only, config="pairs")
    assert strictest(prepared(source, only).provenance.made_from).name == "unknown (run f00d)"


@pytest.mark.parametrize(
    ("decisions", "said"),
    [
        ({}, "read off the model's own attention as it drew them (Eq. 7 of the paper), guided by"),
        ({"method": "pix2pixhd, a port"}, "the layouts that these were drawn for, made of"),
    ],
)
def test_the_card_says_how_the_masks_of_the_run_came(
    source: Path, run: Path, tmp_path: Path, decisions: dict[str, str], said: str
) -> None:
    job = prepared(source, run, config="pairs")
    mix(replace(job, run=job.run.model_copy(update={"decisions": decisions})), tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert said in text and ("Eq. 7" in text) == (not decisions)


def test_a_damaged_run_is_refused(
    make_run: Callable[..., Path], source: Path, tmp_path: Path
) -> None:
    mine = make_run(tmp_path / "run")
    shard_path(mine, "images", 1).unlink()
    with pytest.raises(DidgenError, match="run `didgen augment` again"):
        prepared(source, mine)


@pytest.mark.parametrize("name", ["jpg", "json", "cls"])
def test_a_sample_that_is_another_or_no_picture_is_named(
    run: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    other = next(iterate(run, "images")).members

    def changed(tar: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
        for key, members in read_shard(tar):
            # A hostile author hashes the shard again, so that nothing else tells.
            data = {"jpg": b"<html>", "json": other["json"], "cls": b"1"}[name]
            yield key, members | {name: data} if key == "images-000001" else members

    monkeypatch.setattr("didgen.manifests.shards.sample.read_shard", changed)
    with pytest.raises(
        DidgenError, match=r"images-000001\..*; delete it .* run `didgen \w+` again"
    ):
        mix(prepared(source, run, ratio=1), tmp_path / "mix")


def test_a_sidecar_that_lists_what_is_not_there_is_named(
    make_run: Callable[..., Path], source: Path, tmp_path: Path
) -> None:
    mine = make_run(tmp_path / "run")
    side = shard_path(mine, "pairs", 0).with_suffix(".json")
    side.write_text(side.read_text().replace('"key": "pairs-000000"', '"key": "pairs-000099"'))
    with pytest.raises(DidgenError, match="pairs-000099 is in one of its shard and sidecar alone"):
        mix(prepared(source, mine, ratio=1), tmp_path / "mix")
    side.write_text(side.read_text().replace('"pairs-000000.tar"', '"../../pairs-000000.tar"'))
    with pytest.raises(DidgenError, match="is not what didgen writes there"):
        prepared(source, mine)


def test_a_mix_hangs_on_its_parts_and_not_on_where_they_lie(
    source: Path, run: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(run, tmp_path / "moved"), shutil.copytree(source, tmp_path / "source")
    first = prepared(source, run)
    assert prepared(moved[1], moved[0]).fingerprint == first.fingerprint
    mix(first, tmp_path / "mix")
    mix(prepared(moved[1], moved[0]), tmp_path / "mix")
    assert bad(tmp_path / "mix") == {}
    hidden = prepared(moved[1], moved[0], pseudonymise=True)
    assert hidden.fingerprint != first.fingerprint
    assert not (moved[1] / KEY_NAME).exists(), "to prepare writes nothing"


def test_a_mix_of_an_older_version_is_another_run(source: Path, run: Path, tmp_path: Path) -> None:
    job = prepared(source, run)
    recipe = job.recipe.model_dump(mode="json", exclude={"pseudonymise"})
    start_run(tmp_path / "mix", fingerprint="0" * 64, recipe=recipe)
    with pytest.raises(DidgenError, match=r"another recipe: it differs in pseudonymise \(absent"):
        mix(job, tmp_path / "mix")


def test_a_source_of_an_older_version_mixes_as_one_that_knows_its_pixels(
    source: Path, run: Path, tmp_path: Path
) -> None:
    manifest = SourceManifest.read(source)
    records = [r.model_copy(update={"pixels": "1" * 64}) for r in manifest.records]
    shutil.copytree(source, tmp_path / "source")
    replace(manifest, records=tuple(records)).rewrite(tmp_path / "source")
    again = prepared(tmp_path / "source", run)
    assert again.fingerprint == prepared(source, run).fingerprint


def test_an_image_that_changed_since_its_import_is_refused(
    make_source: Callable[..., Path], run: Path, tmp_path: Path
) -> None:
    mine = make_source(tmp_path / "mine")
    image = tmp_path / "mine" / "photos" / "ISIC_0000000.img"
    image.write_bytes(image.read_bytes() + b"\0")
    with pytest.raises(DidgenError, match="has changed since it was imported"):
        mix(prepared(mine, run), tmp_path / "mix")
    assert not (tmp_path / "mix" / "manifest.json").exists()


def test_the_same_mix_has_the_same_bytes_and_another_seed_another_choice(
    mixed: Path, source: Path, run: Path, tmp_path: Path
) -> None:
    mix(prepared(source, run), tmp_path / "again")
    for tar in mixed.rglob("*.tar"):
        assert (tmp_path / "again" / tar.relative_to(mixed)).read_bytes() == tar.read_bytes()
    mix(prepared(source, run, seed=1), tmp_path / "other")
    chosen = [
        {row["run_key"] for row in by_split(out, "images")["train"]}
        for out in (mixed, tmp_path / "other")
    ]
    assert chosen[0] != chosen[1]


def test_what_is_broken_or_missing_is_made_again_and_nothing_else(
    mixed: Path, source: Path, run: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(mixed, tmp_path / "mix")
    torn = shard_path(out, "pairs", 1, "train")
    torn.write_bytes(torn.read_bytes()[:-1024])
    shard_path(out, "images", 0, "val").with_suffix(".json").unlink()
    (out / "README.md").write_text("changed")
    assert bad(out) == {
        "pairs/pairs-train-000001.tar": "torn",
        "images/images-val-000000.json": "missing",
        "README.md": "mismatch",
    }
    for verdict in verify(out):
        assert "didgen augment" not in verdict.sentence
        assert verdict.status == "ok" or "`didgen mix`" in verdict.sentence
    untouched = shard_path(out, "pairs", 0, "train").stat().st_mtime_ns
    done: list[tuple[int, int]] = []
    mix(prepared(source, run), out, lambda *at: done.append(at))
    assert done == [(1, 2), (2, 2)]
    assert bad(out) == {}
    assert shard_path(out, "pairs", 0, "train").stat().st_mtime_ns == untouched
    for tar in mixed.rglob("*.tar"):
        assert (out / tar.relative_to(mixed)).read_bytes() == tar.read_bytes()

    (out / "croissant.json").unlink()
    mix(prepared(source, run), out, lambda *at: done.append(at))
    assert len(done) == 2
    assert bad(out) == {}


def test_a_kind_that_has_no_real_samples_is_named(source: Path, run: Path, tmp_path: Path) -> None:
    manifest = SourceManifest.read(source)
    bare = [r.model_copy(update={"mask": None, "mask_sha256": None}) for r in manifest.records]
    replace(manifest, records=tuple(bare)).write(tmp_path / "bare")
    with pytest.raises(DidgenError, match="for the pairs of a mix; give `--config images`"):
        prepared(tmp_path / "bare", run)
    with pytest.raises(DidgenError, match="for the pairs of a mix; import some, or mix another"):
        prepared(tmp_path / "bare", run, config="pairs")


def test_another_mix_does_not_go_into_the_same_folder(mixed: Path, source: Path, run: Path) -> None:
    with pytest.raises(DidgenError, match=r"differs in ratio \(0\.5, now 0\.25\)"):
        mix(prepared(source, run, ratio=0.25), mixed)


def test_card_licence_and_plan_of_a_mix(mixed: Path) -> None:
    text = (mixed / "README.md").read_text()
    # Of CC0 and CC BY-NC photographs, and CC BY synthetic images.
    assert "license: cc-by-nc-4.0\n" in text
    assert "path: images/images-val-*.tar" in text
    assert "| class | images train real | images train synthetic | images val real |" in text
    assert "Real and synthetic" in text
    rows = read_json_lines(mixed / "plan.jsonl")
    assert {row["key"] for row in rows} == {
        sample.key for config in CONFIGS for sample in iterate(mixed, config)
    }


@pytest.mark.parametrize("config", CONFIGS)
def test_readers_read_each_split(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: Config
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_OFFLINE", True)
    datasets = pytest.importorskip("datasets")
    webdataset = pytest.importorskip("webdataset")
    data = pytest.importorskip("timm.data")
    loaded = datasets.load_dataset(str(mixed), config, cache_dir=str(tmp_path))
    for split, rows in by_split(mixed, config).items():
        assert [row["json"] for row in loaded[split]] == rows
        tars = [str(path) for path in sorted((mixed / config).glob(f"{config}-{split}-*.tar"))]
        streamed = webdataset.WebDataset(tars, shardshuffle=False).decode("pil")
        assert [sample["json"] for sample in streamed] == rows
        target = None if config == "images" else "label"
        root = str(mixed / config)
        read = data.create_dataset("wds/", root=root, split=split, target_key=target)
        assert len(read) == len(rows)
        # timm leaves out what has no class.
        assert [label for _, label in read] == [r["label"] for r in rows if r["label"] >= 0]


def test_only_what_reviewers_accept_is_mixed_as_they_correct_it(
    source: Path, run: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(run, tmp_path / "run"))
    with pytest.raises(DidgenError, match="run `didgen review"):
        prepared(source, own, ratio=1, reviewed="accepted")
    plain = prepared(source, own, ratio=1)
    write_reviews(
        own,
        ("images", "images-000000", {}),
        ("images", "images-000003", {"label": "NV"}),
        ("images", "images-000004", {"verdict": "rejected", "reason": "blurred"}),
        ("pairs", "pairs-000002", {"curves": BOX}),
    )
    # Reviews alone change nothing.
    assert prepared(source, own, ratio=1).fingerprint == plain.fingerprint
    job = prepared(source, own, ratio=1, reviewed="accepted")
    assert job.fingerprint != plain.fingerprint
    assert "3 of 4 reviewed samples are accepted" in job.summary()["reviews"]
    mix(job, tmp_path / "out")
    rows = [row for part in by_split(tmp_path / "out", "images").values() for row in part]
    made = {row["run_key"]: row["class"] for row in rows if row["origin"] == "synthetic"}
    assert made == {"images-000000": "MEL", "images-000003": "NV"}
    pairs = {sample.key: sample for sample in iterate(tmp_path / "out", "pairs")}
    mask = decoded(pairs["synthetic-pairs-000002"].members["mask.png"])
    np.testing.assert_array_equal(mask > 0, mask_of(BOX, 16, 24))
    assert [key for key in pairs if key.startswith("synthetic")] == ["synthetic-pairs-000002"]
    # Another outline is another mix.
    write_reviews(own, ("pairs", "pairs-000002", {"curves": (BOX[0][:3],)}))
    again = prepared(source, own, ratio=1, reviewed="accepted")
    assert again.fingerprint != job.fingerprint
    with pytest.raises(DidgenError, match="other inputs"):
        mix(again, tmp_path / "out")


def test_a_recipe_without_the_newer_fields_is_recorded_as_before(source: Path, run: Path) -> None:
    assert "reviewed" not in recorded(prepared(source, run).recipe)
    assert recorded(prepared(source, run).recipe)["drop_copies"] is False
