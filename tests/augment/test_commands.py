"""Tests of the commands that make data: caption, prompts, finetune, augment."""

import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks.growth import write_source
from didgen.augment.contact_sheets import PANEL
from didgen.manifests.files import read_json_lines
from tests.fixtures.commands import Command
from tests.fixtures.recipes import written
from tests.fixtures.servers import serve


def test_import_and_caption_write_a_manifest(photographs: Path, command: Command) -> None:
    out = photographs / "source"
    importing = ["import", "folder", str(photographs / "images"), "--licence", "CC0-1.0"]
    importing += ["--masks", str(photographs / "masks"), "--out", str(out)]
    code, printed, _ = command(*importing)
    assert code == 0
    assert "3 images, 3 with a mask." in printed
    assert "1 files were rejected" in printed
    assert [row["reason"] for row in read_json_lines(out / "rejected.jsonl")] == [
        "unreadable-image"
    ]

    code, printed, _ = command("caption", str(out))
    assert code == 0
    assert "3 of 3 images are to be captioned by measure 3." in printed
    captions = {row["key"]: row["caption"] for row in read_json_lines(out / "records.jsonl")}
    assert captions["photo0"].startswith("melanoma, a ")

    code, printed, _ = command("caption", str(out))
    assert code == 0
    assert "0 of 3 images are to be captioned by measure 3.\n" in printed
    assert "--replace" not in printed

    # Another backend leaves what is there alone, and says so.
    far = ["--backend", "openai", "--model", "m", "--base-url", "http://127.0.0.1:9/v1"]
    code, printed, _ = command("caption", str(out), *far)
    assert code == 0
    assert "0 of 3 images are to be captioned by openai m" in printed
    assert "3 have a caption of another backend or model; --replace redoes those." in printed

    sheet = photographs / "sheet.png"
    arguments = ["caption", str(out), "--sheet", str(sheet), "--sheet-count", "2", "--seed", "3"]
    code, printed, _ = command(*arguments)
    assert code == 0
    assert f"The sheet is {sheet}." in printed
    with Image.open(sheet) as drawn:
        assert drawn.format == "PNG" and drawn.height > PANEL

    code, _, _ = command(*importing)
    assert code == 0
    kept = {row["key"]: row["caption"] for row in read_json_lines(out / "records.jsonl")}
    assert kept == captions


def test_a_dead_endpoint_is_exit_1_and_a_dry_run_asks_nothing(
    photographs: Path, command: Command
) -> None:
    out = photographs / "source"
    importing = ["import", "folder", str(photographs / "images"), "--licence", "CC0-1.0"]
    command(*importing, "--out", str(out))
    before = (out / "records.jsonl").read_bytes()
    # Nothing listens on port 9 of this machine.
    far = ["--backend", "openai", "--model", "m", "--base-url", "http://127.0.0.1:9/v1"]
    new = photographs / "new.jsonl"
    for asking in (["caption", str(out)], ["prompts", str(out), "--out", str(new)]):
        code, printed, _ = command(*asking, *far, "--dry-run")
        assert code == 0
        assert "openai m, prompt 4" in printed
    code, _, error = command("caption", str(out), *far, "--retries", "0")
    assert code == 1
    assert "does not answer for the model m" in error and "Traceback" not in error
    code, _, error = command("prompts", str(out), "--out", str(new), *far)
    assert code == 1
    assert "run `didgen caption` first" in error
    code, _, error = command("caption", str(out), "--backend", "openai")
    assert code == 1
    assert "--model" in error
    assert (out / "records.jsonl").read_bytes() == before and not new.exists()


def test_a_language_model_captions_anew_and_invents(photographs: Path, command: Command) -> None:
    out, new = photographs / "source", photographs / "new.jsonl"
    importing = ["import", "folder", str(photographs / "images"), "--licence", "CC0-1.0"]
    command(*importing, "--out", str(out), "--split", "1", "0", "0")
    assert command("caption", str(out))[0] == 0

    def reply(number: int, body: dict[str, Any]) -> tuple[int, Any]:
        if "response_format" in body:
            return 400, {"error": {"message": "response_format is not supported"}}
        return 200, f"A round lesion number {number}."

    with serve(reply) as server:
        far = ["--backend", "openai", "--model", "m", "--base-url", server.url]
        code, printed, _ = command("caption", str(out), "--replace", *far)
        assert code == 0
        assert "3 of 3 images are to be captioned by openai m, prompt 4." in printed
        inventing = ["prompts", str(out), "--out", str(new), "--per-class", "2", *far]
        code, printed, _ = command(*inventing)
        assert code == 0 and f"4 new captions are in {new}" in printed
    said = [row["caption"] for row in read_json_lines(out / "records.jsonl")]
    assert all("A round lesion number" in caption for caption in said)
    rows = read_json_lines(new)
    assert [row["label"] for row in rows] == ["MEL", "MEL", "NV", "NV"]
    assert all("A round lesion number" in row["caption"] for row in rows)
    assert len({row["caption"] for row in rows}) == 4


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["caption", "source", "--model", "m"], "--backend"),
        (["caption", "source", "--base-url", "http://127.0.0.1:9/v1"], "--backend"),
        (["augment", "--only", "k", "--to", "there", "--engine", "ray"], "--engine"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    words: list[str],
    option: str,
    command: Command,
) -> None:
    code, _, error = command(*words)
    assert code == 2 and option in error


def test_a_model_that_runs_here_is_at_no_address(photographs: Path, command: Command) -> None:
    here = ["--backend", "transformers", "--base-url", "http://127.0.0.1:9/v1"]
    code, _, error = command("caption", str(photographs), *here)
    assert code == 1 and "leave --base-url out" in " ".join(error.split())


def test_a_recipe_asks_for_its_own_folder(command: Command) -> None:
    code, _, error = command("augment", "demo")
    assert code == 2
    assert "--out" in error


def test_a_recipe_without_a_name_is_not_the_demo(command: Command, tmp_path: Path) -> None:
    done = command("augment", "", "--out", tmp_path / "run")
    assert done.code == 1 and "The name of the recipe is empty; name a file" in done.sentence
    assert not (tmp_path / "run").exists()


def test_augment_in_parts_and_one_sample_again(tmp_path: Path, command: Command) -> None:
    asked = tmp_path / "recipe.yaml"
    fields = "kind: augment\nmodel: mini\npairs: null\nshard_size: 1\n"
    fields += "images: {per_class: {MEL: 2}}\nsampling: {steps: 1, cfg: 1.0}\n"
    asked.write_text(fields + "gates: {contrast: 0}\n")
    out = tmp_path / "run"
    making = ["augment", str(asked), "--out", str(out)]
    code, printed, _ = command(*making, "--dry-run")
    assert code == 0 and not out.exists()
    assert "images: 2 samples in 2 shards" in printed

    code, printed, _ = command(*making, "--part", "1/2")
    assert code == 0 and f"This part's shards are in {out}, but not all" in printed
    code, printed, _ = command(*making)
    assert code == 0 and f"2 samples in 2 shards are in {out}." in printed
    assert command("verify", str(out))[0] == 0

    to = tmp_path / "again"
    again = ["augment", "--out", str(out), "--only", "MEL-000001", "--to", str(to)]
    assert command(*again)[0] == 0
    with tarfile.open(out / "images" / "images-000001.tar") as tar:
        member = tar.extractfile("MEL-000001.jpg")
        assert member is not None
        assert (to / "MEL-000001.jpg").read_bytes() == member.read()

    # What meets no gate is given up, which is told in the end.
    asked.write_text(fields + "gates: {contrast: 255, redraws: 0}\n")
    given_up = [*making[:2], "--out", str(tmp_path / "none")]
    code, printed, error = command(*given_up)
    assert code == 1
    assert "2 planned samples were not made; the sidecars give each reason." in printed
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--part", "0/4"], "0/4 is no part"),
        (["--part", "four"], "i/N"),
        (["--part", ""], "i/N"),
        (["--only", "MEL-000000"], "--to"),
        (["--to", "here"], "--only"),
        (["--only", "MEL-000000", "--to", "here", "--part", "1/2"], "--part"),
    ],
)
def test_parts_and_single_samples_are_checked_before_work(
    arguments: list[str],
    named: str,
    command: Command,
) -> None:
    code, _, error = command("augment", *arguments)
    assert code == 2
    assert named in error


def test_recipes_print_with_every_default(command: Command, tmp_path: Path) -> None:
    code, printed, told = command("finetune", "mini", "--out", str(tmp_path / "out"), "--dry-run")
    # Its source is not there, which a dry run finds too.
    assert code == 1 and "runs/isic2018 holds no source.json" in told
    assert "attention_weight: 0.1" in printed
    assert not (tmp_path / "out").exists()


def test_a_dry_run_of_finetune_says_what_there_is_to_do(tmp_path: Path, command: Command) -> None:
    write_source(tmp_path / "source")
    asked = {"source": str(tmp_path / "source"), "image_size": 256, "prompt": "class", "steps": 9}
    printed = {}
    for model in ("mini", "me/derm"):
        code, printed[model], _ = command(
            "finetune", written(tmp_path, asked | {"model": model}), "--dry-run"
        )
        assert code == 0
        assert "48 training images of 48 lesions, from" in printed[model]
    assert (
        "9 steps of 4 images. Estimated from docs/results/million-pairs.md: about a minute"
        in printed["mini"]
    )
    assert "me/derm is of the hub; the training fetches it" in printed["me/derm"]
    for fault, sentence in (
        ({"prompt": "caption"}, "has no captions; run `didgen caption`"),
        ({"maps": {"cross_side": 7}}, "no 7x7 cross-attention layer"),
        ({"model": str(tmp_path / "nowhere")}, "there is no such folder"),
    ):
        recipe = written(tmp_path, asked | {"model": "mini"} | fault)
        code, _, told = command("finetune", recipe, "--dry-run")
        assert code == 1 and sentence in told


def test_finetune_needs_a_folder_only_to_train(command: Command) -> None:
    code, printed, _ = command("finetune", "isic2018-sd21-lora", "--dry-run")
    assert code == 1
    assert "rank: 16" in printed
    code, _, errors = command("finetune", "isic2018-sd21-lora")
    assert code == 2
    assert "--out" in errors


def test_finetune_tells_of_faulty_data_before_the_heavy_imports(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"source: {tmp_path}\nmodel: mini\n")
    code = (
        "import sys; from didgen import cli\n"
        f"sys.argv = ['didgen', 'finetune', {str(recipe)!r}, '--out', {str(tmp_path / 'out')!r}]\n"
        "try:\n    cli.main()\n"
        "except SystemExit as end:\n    print(end.code, 'torch' in sys.modules)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "1 False"
    assert f"Error: {tmp_path} holds no source.json" in found.stderr
    assert not (tmp_path / "out").exists()
