"""Tests of pushes to a hub on this machine: what goes up, what does not, and what is said."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from pyarrow import parquet
from safetensors.numpy import save_file

from didgen.manifests.files import read_json, write_json, write_json_lines
from didgen.manifests.shards.index import read_manifest
from didgen.manifests.shards.shard import iterate
from tests.fixtures.commands import Command
from tests.fixtures.hub import READER, Hub
from tests.fixtures.reviews import write_reviews
from tests.fixtures.runs import write_noise_run

# The hub's client hands bytes to its own in a way that is to go.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<:DeprecationWarning")

NAME = "me/dermoscopy"


@pytest.fixture
def own(run: Path, tmp_path: Path) -> Path:
    """A run of ten images and six pairs under CC BY 4.0."""
    return Path(shutil.copytree(run, tmp_path / "run"))


def write_assessment(folder: Path, run: Path, copies: set[str], baseline: float) -> Path:
    """What `didgen quality` writes of the copies of a run."""
    folder.mkdir(exist_ok=True)
    rows = [
        {"config": config, "key": sample.key, "copy": sample.key in copies}
        for config in ("images", "pairs")
        for sample in iterate(run, config)
    ]
    write_json_lines(folder / "copies.jsonl", rows)
    record = {"run": read_manifest(run).fingerprint, "copies": {"held_out": {"rate": baseline}}}
    write_json(folder / "quality.json", record)
    return folder


def write_model(folder: Path, licence: str | None = "cc-by-nc-4.0") -> Path:
    """A folder that looks like a model in diffusers format, with files that are not shared."""
    (folder / "unet").mkdir(parents=True)
    write_json(folder / "model_index.json", {"_class_name": "StableDiffusionPipeline"})
    save_file({"a": np.zeros(2, np.float32)}, folder / "unet" / "model.safetensors")
    for name in ("unet/old.bin", "training.pt", "run.json", ".secret.json"):
        (folder / name).write_bytes(b"x")
    header = f"---\nlicense: {licence}\n---\n" if licence else ""
    (folder / "README.md").write_text(f"{header}# A model\n")
    return folder


def test_a_run_is_a_private_data_set_with_its_card(own: Path, hub: Hub, command: Command) -> None:
    outcome = command("push", own, NAME)
    assert outcome.code == 0, outcome.err
    assert "licence: CC-BY-4.0" in outcome.out and "images, train: 10 samples" in outcome.out
    assert "copies: not looked for" in outcome.out
    assert f"It is private, at {hub.url}/" in outcome.out
    there = hub.repositories["dataset", NAME]
    assert there.private and there.commits == 1
    assert "README.md" in there.files
    assert not [name for name in there.files if not name.endswith((".parquet", ".md", ".jsonl"))]
    header = yaml.safe_load(there.files["README.md"].decode().split("---")[1])
    assert [one["config_name"] for one in header["configs"]] == ["images", "pairs"]
    assert header["license"] == "cc-by-4.0"
    names = [name for name in there.files if name.startswith("images/")]
    table = parquet.read_table(io.BytesIO(there.files[names[0]]))
    assert table.column_names[:3] == ["key", "image", "label"]
    assert b"ClassLabel" in table.schema.metadata[b"huggingface"]
    assert not (own / ".push").exists()


def test_what_is_there_is_not_sent_again(own: Path, hub: Hub, command: Command) -> None:
    assert command("push", own, NAME).code == 0
    sent = len(hub.uploads)
    assert sent == 4
    assert command("push", own, NAME).code == 0
    assert len(hub.uploads) == sent and hub.repositories["dataset", NAME].commits == 1


def test_a_push_that_was_cut_off_goes_on(own: Path, hub: Hub, command: Command) -> None:
    hub.fail_uploads = 2
    outcome = command("push", own, NAME)
    assert outcome.code == 1 and "Traceback" not in outcome.err
    assert f"Error: {NAME}: your token has no right" in outcome.err
    there = hub.repositories["dataset", NAME]
    assert there.commits == 0 and there.files == {}
    before = [*hub.uploads]
    assert command("push", own, NAME).code == 0
    assert there.commits == 1 and len(hub.uploads) == 4 == len({*hub.uploads})
    assert hub.uploads[: len(before)] == before


def test_nothing_becomes_public_unasked(own: Path, hub: Hub, command: Command) -> None:
    assert command("push", own, NAME, "--public").code == 0
    assert not hub.repositories["dataset", NAME].private
    outcome = command("push", own, NAME)
    assert outcome.code == 1 and f"{NAME} is public" in outcome.err
    assert hub.repositories["dataset", NAME].commits == 1


@pytest.mark.parametrize(
    ("licence", "sentence"),
    [
        ("CC-BY-NC-ND-4.0", "forbids to share what is derived"),
        ("all rights reserved", "no licence that didgen knows"),
        (None, "no licence that didgen knows"),
    ],
)
def test_a_licence_that_forbids_it_is_obeyed(
    tmp_path: Path, hub: Hub, command: Command, licence: str | None, sentence: str
) -> None:
    run = write_noise_run(tmp_path / "run", licence=licence)
    outcome = command("push", run, NAME)
    assert outcome.code == 1 and sentence in outcome.err
    assert hub.asked == []


def test_copies_above_the_real_baseline_are_not_shared(
    own: Path, hub: Hub, tmp_path: Path, command: Command
) -> None:
    copies = {"images-000000", "images-000001"}
    asked = ["push", own, NAME, "--quality", tmp_path / "quality"]
    write_assessment(tmp_path / "quality", own, copies, 0.1)
    outcome = command(*asked)
    assert outcome.code == 1 and hub.asked == []
    assert "2 of 16 synthetic samples are copies of training images, and 10.00 %" in outcome.err
    # As many as among real images are no more than chance.
    write_assessment(tmp_path / "quality", own, copies, 0.125)
    assert command(*asked, "--dry-run").code == 0
    # What reviewers leave out does not count.
    write_assessment(tmp_path / "quality", own, copies, 0)
    write_reviews(own, ("images", "images-000002", {}), ("pairs", "pairs-000000", {}))
    outcome = command(*asked, "--reviewed", "accepted", "--dry-run")
    assert outcome.code == 0 and "0 of 2 synthetic samples" in outcome.out
    rows = [{"config": "images", "key": "images-000000", "copy": False}]
    write_json_lines(tmp_path / "quality" / "copies.jsonl", rows)
    outcome = command(*asked)
    assert outcome.code == 1 and "is no assessment of" in outcome.err
    (tmp_path / "quality" / "quality.json").write_text("{}")
    assert "is not what didgen writes there" in command(*asked).err


def test_an_assessment_of_another_run_says_nothing(
    own: Path, hub: Hub, tmp_path: Path, command: Command
) -> None:
    """Keys are alike in all runs of one plan; the run is known by its fingerprint."""
    record = write_assessment(tmp_path / "quality", own, set(), 0.1) / "quality.json"
    asked = ["push", own, NAME, "--quality", tmp_path / "quality", "--dry-run"]
    assert command(*asked).code == 0
    said = read_json(record)
    write_json(record, said | {"run": "0" * 64})
    outcome = command(*asked)
    assert outcome.code == 1 and "is the assessment of another run than" in outcome.err
    write_json(record, {"copies": said["copies"]})
    outcome = command(*asked)
    assert outcome.code == 1 and "does not say which run it is of" in outcome.err
    assert hub.asked == []


def test_a_mix_is_known_by_the_run_that_its_samples_are_of(
    source: Path, run: Path, hub: Hub, tmp_path: Path, command: Command
) -> None:
    mixed = tmp_path / "mix"
    assert command("mix", source, run, "--ratio", 1, "--out", mixed).code == 0
    quality = write_assessment(tmp_path / "quality", run, set(), 0.1)
    asked = ["push", mixed, NAME, "--quality", quality, "--dry-run"]
    assert command(*asked).code == 0
    record = quality / "quality.json"
    write_json(record, read_json(record) | {"run": "0" * 64})
    assert "is the assessment of another run" in command(*asked).err


def test_a_model_is_shared_without_what_is_unpickled(
    tmp_path: Path, hub: Hub, command: Command
) -> None:
    folder = write_model(tmp_path / "model")
    outcome = command("push", folder, "me/model")
    assert outcome.code == 0, outcome.err
    there = hub.repositories["model", "me/model"]
    assert there.private and {*there.files} == {
        "README.md",
        "model_index.json",
        "unet/model.safetensors",
    }
    assert command("push", folder, "me/model", "--reviewed", "accepted").code == 1
    for licence, sentence in ((None, "names no licence"), ("cc-by-nd-4.0", "forbids to share")):
        other = write_model(tmp_path / f"model {licence}", licence)
        outcome = command("push", other, "me/other")
        assert outcome.code == 1 and sentence in outcome.err
    assert ("model", "me/other") not in hub.repositories


def test_faults_of_the_hub_are_sentences(
    own: Path, hub: Hub, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants as constants

    def fault(name: str = NAME) -> str:
        outcome = command("push", own, name)
        assert outcome.code == 1 and "Traceback" not in outcome.err
        return outcome.err.splitlines()[-1]

    monkeypatch.setenv("HF_TOKEN", READER)
    assert "your token has no right to do that" in fault()
    monkeypatch.setenv("HF_TOKEN", "hf_unknown")
    assert "the hub knows no token of yours; run `hf auth login`" in fault()
    monkeypatch.delenv("HF_TOKEN")
    assert "the hub knows no token of yours" in fault()
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    assert "write OWNER/NAME" in fault("no name at all!")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "cannot be reached" in fault() and "127.0.0.1:9" in fault()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in fault()
