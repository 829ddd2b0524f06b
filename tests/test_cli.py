"""The command line: exit codes, one-sentence errors, and nothing heavy before it is needed."""

import errno
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from didgen import cli
from didgen.augment.contact_sheets import PANEL
from didgen.manifests.files import read_json_lines
from didgen.manifests.provenance.trained_on import TrainedOn
from didgen.manifests.runs.claim import start_run
from didgen.manifests.runs.finish import finish_run
from didgen.manifests.shards.shard import Failure, Sample, write_shard
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.servers import serve


def didgen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str, str]:
    """Run the command line in this process: exit code, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["didgen", *arguments])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    output = capsys.readouterr()
    return int(exit_.value.code or 0), output.out, output.err


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Four pictures in two class folders, a torn one among them, with masks for all."""
    rng = np.random.default_rng(0)
    for number, label in enumerate(["MEL", "MEL", "NV", "NV"]):
        folder = tmp_path / "images" / label
        folder.mkdir(parents=True, exist_ok=True)
        picture = rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / f"photo{number}.png")
        mask = np.zeros((40, 40), np.uint8)
        mask[10:30, 12:28] = 255
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(tmp_path / "masks" / f"photo{number}.png")
    torn = tmp_path / "images" / "NV" / "photo3.png"
    torn.write_bytes(torn.read_bytes()[:900])
    return tmp_path


def commands(group: Any, above: tuple[str, ...] = ()) -> Iterator[list[str]]:
    """Every command of a group, with the groups' names before it."""
    yield [*above]
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*above, name))


@pytest.mark.parametrize("command", [*commands(typer.main.get_command(cli.app))], ids=" ".join)
def test_every_command_has_help(command: list[str]) -> None:
    result = CliRunner().invoke(cli.app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_the_commands_are_all_there() -> None:
    found = {" ".join(command) for command in commands(typer.main.get_command(cli.app))}
    assert {"import folder", "import isic2018", "segment", "inspect"} <= found and len(found) > 14


def test_help_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'numpy', 'pydantic', 'diffusers', 'transformers', 'PIL', 'yaml'}"
    code = f"import sys, didgen.cli; print(sorted({heavy} & set(sys.modules)))"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"


def test_a_full_gpu_is_one_sentence(
    photographs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr("didgen.augment.generation.run.augment", full)
    code, _, told = didgen(
        monkeypatch, capsys, "augment", "demo", "--out", str(photographs / "run")
    )
    assert code == 1
    assert re.search(
        "^Error: The GPU's memory is full; to go on, lower `sampling.batch", told, re.M
    )
    assert "Traceback" not in told


def test_import_and_caption_write_a_manifest(
    photographs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = photographs / "source"
    importing = ["import", "folder", str(photographs / "images"), "--licence", "CC0-1.0"]
    importing += ["--masks", str(photographs / "masks"), "--out", str(out)]
    code, printed, _ = didgen(monkeypatch, capsys, *importing)
    assert code == 0
    assert "3 images, 3 with a mask." in printed
    assert "1 files were rejected" in printed
    assert [row["reason"] for row in read_json_lines(out / "rejected.jsonl")] == [
        "unreadable-image"
    ]

    code, printed, _ = didgen(monkeypatch, capsys, "caption", str(out))
    assert code == 0
    assert "3 of 3 images are to be captioned by measure 3." in printed
    captions = {row["key"]: row["caption"] for row in read_json_lines(out / "records.jsonl")}
    assert captions["photo0"].startswith("melanoma, a ")

    code, printed, _ = didgen(monkeypatch, capsys, "caption", str(out))
    assert code == 0
    assert "0 of 3 images are to be captioned by measure 3.\n" in printed
    assert "--replace" not in printed

    # Another backend leaves what is there alone, and says so.
    far = ["--backend", "openai", "--model", "m", "--base-url", "http://127.0.0.1:9/v1"]
    code, printed, _ = didgen(monkeypatch, capsys, "caption", str(out), *far)
    assert code == 0
    assert "0 of 3 images are to be captioned by openai m" in printed
    assert "3 have a caption of another backend or model; --replace redoes those." in printed

    sheet = photographs / "sheet.png"
    arguments = ["caption", str(out), "--sheet", str(sheet), "--sheet-count", "2", "--seed", "3"]
    code, printed, _ = didgen(monkeypatch, capsys, *arguments)
    assert code == 0
    assert f"The sheet is {sheet}." in printed
    with Image.open(sheet) as drawn:
        assert drawn.format == "PNG" and drawn.height > PANEL

    code, _, _ = didgen(monkeypatch, capsys, *importing)
    assert code == 0
    kept = {row["key"]: row["caption"] for row in read_json_lines(out / "records.jsonl")}
    assert kept == captions


def test_a_dead_endpoint_is_exit_1_and_a_dry_run_asks_nothing(
    photographs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = photographs / "source"
    importing = ["import", "folder", str(photographs / "images"), "--licence", "CC0-1.0"]
    didgen(monkeypatch, capsys, *importing, "--out", str(out))
    before = (out / "records.jsonl").read_bytes()
    # Nothing listens on port 9 of this machine.
    far = ["--backend", "openai", "--model", "m", "--base-url", "http://127.0.0.1:9/v1"]
    new = photographs / "new.jsonl"
    for command in (["caption", str(out)], ["prompts", str(out), "--out", str(new)]):
        code, printed, _ = didgen(monkeypatch, capsys, *command, *far, "--dry-run")
        assert code == 0
        assert "openai m, prompt 3" in printed
    code, _, error = didgen(monkeypatch, capsys, "caption", str(out), *far, "--retries", "0")
    assert code == 1
    assert "does not answer for the model m" in error and "Traceback" not in error
    code, _, error = didgen(monkeypatch, capsys, "prompts", str(out), "--out", str(new), *far)
    assert code == 1
    assert "run `didgen caption` first" in error
    code, _, error = didgen(monkeypatch, capsys, "caption", str(out), "--backend", "openai")
    assert code == 1
    assert "--model" in error
    assert (out / "records.jsonl").read_bytes() == before and not new.exists()


def test_a_language_model_captions_anew_and_invents(
    photographs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, new = photographs / "source", photographs / "new.jsonl"
    importing = ["import", "folder", str(photographs / "images"), "--licence", "CC0-1.0"]
    didgen(monkeypatch, capsys, *importing, "--out", str(out), "--split", "1", "0", "0")
    assert didgen(monkeypatch, capsys, "caption", str(out))[0] == 0

    def reply(number: int, body: dict[str, Any]) -> tuple[int, Any]:
        if "response_format" in body:
            return 400, {"error": {"message": "response_format is not supported"}}
        return 200, f"A round lesion number {number}."

    with serve(reply) as server:
        far = ["--backend", "openai", "--model", "m", "--base-url", server.url]
        code, printed, _ = didgen(monkeypatch, capsys, "caption", str(out), "--replace", *far)
        assert code == 0
        assert "3 of 3 images are to be captioned by openai m, prompt 3." in printed
        inventing = ["prompts", str(out), "--out", str(new), "--per-class", "2", *far]
        code, printed, _ = didgen(monkeypatch, capsys, *inventing)
        assert code == 0 and f"New captions are in {new}" in printed
    said = [row["caption"] for row in read_json_lines(out / "records.jsonl")]
    assert all("A round lesion number" in caption for caption in said)
    rows = read_json_lines(new)
    assert [row["label"] for row in rows] == ["MEL", "MEL", "NV", "NV"]
    assert all("A round lesion number" in row["caption"] for row in rows)
    assert len({row["caption"] for row in rows}) == 4


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (["caption", "source", "--model", "m"], "--backend"),
        (["caption", "source", "--base-url", "http://127.0.0.1:9/v1"], "--backend"),
        (["augment", "--only", "k", "--to", "there", "--engine", "ray"], "--engine"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    command: list[str],
    option: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, _, error = didgen(monkeypatch, capsys, *command)
    assert code == 2 and option in error


def test_a_model_that_runs_here_is_at_no_address(
    photographs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = ["--backend", "transformers", "--base-url", "http://127.0.0.1:9/v1"]
    code, _, error = didgen(monkeypatch, capsys, "caption", str(photographs), *here)
    assert code == 1 and "leave --base-url out" in " ".join(error.split())


def test_a_dry_run_writes_nothing(
    photographs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = photographs / "source"
    code, printed, _ = didgen(
        monkeypatch,
        capsys,
        *["import", "folder", str(photographs / "images"), "--licence", "CC0-1.0"],
        *["--out", str(out), "--dry-run"],
    )
    assert code == 0
    assert "3 images" in printed
    assert not out.exists()


def test_bad_data_is_one_sentence_and_exit_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (
        ["import", "isic2018", str(tmp_path), "--out", str(tmp_path / "out")],
        ["caption", str(tmp_path)],
        ["verify", str(tmp_path)],
        ["report", str(tmp_path)],
        ["inspect", str(tmp_path)],
        ["finetune", "no-such-recipe", "--out", str(tmp_path / "out")],
    ):
        code, _, error = didgen(monkeypatch, capsys, *arguments)
        assert code == 1, arguments
        assert "Error: " in error
        assert "Traceback" not in error
        assert not (tmp_path / "out").exists()


def test_a_path_that_cannot_be_used_is_named(
    photographs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = photographs / "file"
    blocked.write_text("in the way")
    code, _, error = didgen(
        monkeypatch,
        capsys,
        *["import", "folder", str(photographs / "images"), "--licence", "CC0-1.0"],
        *["--out", str(blocked)],
    )
    assert code == 1
    assert str(blocked) in error
    assert "Traceback" not in error


def test_a_recipe_asks_for_its_own_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, error = didgen(monkeypatch, capsys, "augment", "demo")
    assert code == 2
    assert "--out" in error


def test_augment_in_parts_and_one_sample_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = tmp_path / "recipe.yaml"
    fields = "kind: augment\nmodel: mini\npairs: null\nshard_size: 1\n"
    fields += "images: {per_class: {MEL: 2}}\nsampling: {steps: 1, cfg: 1.0}\n"
    asked.write_text(fields + "gates: {contrast: 0}\n")
    out = tmp_path / "run"
    command = ["augment", str(asked), "--out", str(out)]
    code, printed, _ = didgen(monkeypatch, capsys, *command, "--dry-run")
    assert code == 0 and not out.exists()
    assert "images: 2 samples in 2 shards" in printed

    code, printed, _ = didgen(monkeypatch, capsys, *command, "--part", "1/2")
    assert code == 0 and f"This part's shards are in {out}, but not all" in printed
    code, printed, _ = didgen(monkeypatch, capsys, *command)
    assert code == 0 and f"2 samples in 2 shards are in {out}." in printed
    assert didgen(monkeypatch, capsys, "verify", str(out))[0] == 0

    to = tmp_path / "again"
    again = ["augment", "--out", str(out), "--only", "MEL-000001", "--to", str(to)]
    assert didgen(monkeypatch, capsys, *again)[0] == 0
    with tarfile.open(out / "images" / "images-000001.tar") as tar:
        member = tar.extractfile("MEL-000001.jpg")
        assert member is not None
        assert (to / "MEL-000001.jpg").read_bytes() == member.read()

    # What meets no gate is given up, which is told in the end.
    asked.write_text(fields + "gates: {contrast: 255, redraws: 0}\n")
    given_up = [*command[:2], "--out", str(tmp_path / "none")]
    code, printed, error = didgen(monkeypatch, capsys, *given_up)
    assert code == 1
    assert "2 planned samples were not made; the manifest gives each reason." in printed
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--part", "0/4"], "0/4 is no part"),
        (["--part", "four"], "i/N"),
        (["--only", "MEL-000000"], "--to"),
        (["--to", "here"], "--only"),
        (["--only", "MEL-000000", "--to", "here", "--part", "1/2"], "--part"),
    ],
)
def test_parts_and_single_samples_are_checked_before_work(
    arguments: list[str],
    named: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, _, error = didgen(monkeypatch, capsys, "augment", *arguments)
    assert code == 2
    assert named in error


def test_debug_shows_the_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from didgen.manifests.errors import DidgenError

    monkeypatch.setattr(sys, "argv", ["didgen", "--debug", "verify", str(tmp_path)])
    with pytest.raises(DidgenError):
        cli.main()


def test_a_full_disk_is_named_with_its_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/mine")

    monkeypatch.setattr("didgen.manifests.runs.verify.verify", full)
    code, _, error = didgen(monkeypatch, capsys, "verify", str(tmp_path))
    assert code == 1
    assert error.endswith(
        "Error: runs/mine cannot be written: No space left on device; make room, and run the "
        "command again.\n"
    )


def test_wrong_usage_exits_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, error = didgen(monkeypatch, capsys, "verify")
    assert code == 2
    assert "Usage:" in error


def test_an_interrupt_exits_130(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("didgen.manifests.runs.verify.verify", interrupted)
    code, _, _ = didgen(monkeypatch, capsys, "verify", str(tmp_path))
    assert code == 130


def test_a_source_is_imported_for_a_model_and_its_runs(
    photographs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of three photographs, one or two are held out; a model that knows these has them in train."""
    out = photographs / "source"
    importing = ["import", "folder", str(photographs / "images"), "--licence", "CC0-1.0"]
    importing += ["--split", "0.4", "0.3", "0.3", "--out", str(out)]
    assert didgen(monkeypatch, capsys, *importing)[0] == 0
    held_out = [r for r in SourceManifest.read(out).records if r.split != "train"]
    model = photographs / "model"
    model.mkdir()
    code, _, error = didgen(monkeypatch, capsys, *importing, "--for-model", str(model))
    assert code == 1 and f"No trained_on.jsonl was found for the model {model}; check" in error

    trained_on = TrainedOn.of(held_out)
    (model / "trained_on.jsonl").write_bytes(trained_on.text())
    code, printed, _ = didgen(monkeypatch, capsys, *importing, "--for-model", str(model))
    assert code == 0
    assert f"{len(held_out)} of them are known to {model}, by themselves" in printed
    imported = SourceManifest.read(out)
    assert imported.header.for_models == (str(model),)
    trained_on.check(model, out, imported)
    assert {r.key for r in held_out} <= {r.key for r in imported.select(split="train")}


@pytest.fixture
def source_and_run(
    photographs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[Path, Path]:
    """A source of three photographs, and a run of two synthetic images for it."""
    source = photographs / "source"
    importing = ["import", "folder", str(photographs / "images"), "--licence", "CC0-1.0"]
    importing += ["--masks", str(photographs / "masks"), "--out", str(source)]
    assert didgen(monkeypatch, capsys, *importing, "--split", "1", "0", "0")[0] == 0
    run = photographs / "run"
    start_run(run, fingerprint="f00d", recipe={"kind": "augment"})
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), "peru").save(buffer, "JPEG")
    members = {"jpg": buffer.getvalue(), "cls": b"0", "json": b"{}"}
    samples = [Sample(f"MEL-{number}", members, {"label": "MEL"}) for number in range(2)]
    write_shard(run, "images", 0, samples, fingerprint="f00d", versions={})
    finish_run(run, {"images": 1}, decisions={}, versions={}, classes=["MEL", "NV"])
    return source, run


def test_export_and_its_refusals(
    source_and_run: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, run = source_and_run
    out = run.parent / "folders"
    exporting = ["export", str(run), "--to", "imagefolder", "--out", str(out)]
    code, printed, _ = didgen(monkeypatch, capsys, *exporting, "--dry-run")
    assert code == 0
    assert "images, train: 2 samples" in printed
    assert not out.exists()

    assert didgen(monkeypatch, capsys, *exporting)[0] == 0
    assert len(list((out / "images" / "train" / "MEL").iterdir())) == 2

    code, _, error = didgen(monkeypatch, capsys, *exporting)
    assert code == 1
    assert "exists already" in error and "Traceback" not in error

    assert didgen(monkeypatch, capsys, "export", str(run), "--to", "zip", "--out", "x")[0] == 2
    (run / "images" / "images-000000.tar").unlink()
    exporting[-1] = str(run.parent / "other")
    code, _, error = didgen(monkeypatch, capsys, *exporting)
    assert code == 1
    assert "run `didgen augment` again" in error


def test_mix_and_its_refusals(
    source_and_run: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, run = source_and_run
    out = run.parent / "mixed"
    mixing = ["mix", str(source), str(run), "--ratio", "0.5", "--out", str(out)]
    code, printed, _ = didgen(monkeypatch, capsys, *mixing, "--dry-run")
    assert code == 0
    assert "images, train: 3 real and 1 synthetic samples in 1 shards" in printed
    assert "short of images NV: 1 synthetic samples wanted, 0 made" in printed
    assert f"{run} has no trained_on.jsonl: see to it yourself" in printed
    assert not out.exists()

    code, printed, _ = didgen(monkeypatch, capsys, *mixing)
    assert code == 0
    assert f"4 samples in 1 shards are in {out}." in printed
    assert didgen(monkeypatch, capsys, "verify", str(out))[0] == 0

    code, _, error = didgen(monkeypatch, capsys, *mixing, "--config", "pairs")
    assert code == 1
    assert "holds no pairs" in error
    nowhere = [*mixing[:2], "s3://bucket/run", *mixing[3:]]
    code, _, error = didgen(monkeypatch, capsys, *nowhere)
    assert code == 2
    assert "is a URL; this takes a folder" in " ".join(error.split())
    for ratio in ("-1", "nan", "much"):
        mixing[4] = ratio
        assert didgen(monkeypatch, capsys, *mixing)[0] == 2


def test_recipes_print_with_every_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, printed, _ = didgen(
        monkeypatch, capsys, "finetune", "mini", "--out", str(tmp_path / "out"), "--dry-run"
    )
    assert code == 0
    assert "attention_weight: 0.1" in printed
    assert not (tmp_path / "out").exists()


def test_finetune_needs_a_folder_only_to_train(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed, _ = didgen(monkeypatch, capsys, "finetune", "isic2018-sd21-lora", "--dry-run")
    assert code == 0
    assert "rank: 16" in printed
    code, _, errors = didgen(monkeypatch, capsys, "finetune", "isic2018-sd21-lora")
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


def test_a_report_lies_in_its_folder_or_where_it_is_asked_for(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Path(shutil.copytree(run, tmp_path / "run"))
    code, printed, _ = didgen(monkeypatch, capsys, "report", str(own))
    assert code == 0
    assert printed == f"The report is {own / 'report.html'}.\n"
    page = (own / "report.html").read_bytes()
    assert page.startswith(b"<!doctype html>")
    both = [str(own), str(run)]
    code, _, error = didgen(monkeypatch, capsys, "report", *both)
    assert code == 2 and "--out" in error
    out = tmp_path / "new" / "both.html"
    code, printed, _ = didgen(monkeypatch, capsys, "report", *both, "--out", str(out))
    assert code == 0 and str(out) in printed
    assert out.read_text().count("<article") == 2


def test_a_run_is_inspected_and_its_sample_shown(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed, _ = didgen(monkeypatch, capsys, "inspect", str(run))
    assert code == 0
    assert "a run of `augment`, finished." in printed
    assert "2 planned samples were not made." in printed
    assert "images-failed: near-blank image: 1.50" in printed
    assert re.search(r"MEL\W+5\W+3\W+8\b", printed)

    picture = tmp_path / "pair.png"
    asked = ["inspect", str(run), "pairs-000002", "--picture", str(picture)]
    code, printed, _ = didgen(monkeypatch, capsys, *asked)
    assert code == 0
    assert "lesion 2" in printed and "(pairs, train, pairs-000000.tar)" in printed
    with Image.open(picture) as drawn:
        assert drawn.size == (48, 16)

    code, _, error = didgen(monkeypatch, capsys, "inspect", str(run), "pairs-00002")
    assert code == 1
    assert "nearest keys are pairs-000002," in error
    code, _, error = didgen(monkeypatch, capsys, "inspect", str(run), "--picture", "a.png")
    assert code == 2


def test_what_is_inspected_is_no_markup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start_run(tmp_path, fingerprint="f", recipe={"kind": "augment"})
    row = {"label": "[red]A[/red]", "prompt": "[/bold] [link=x]y[/link]", "layout": "\x1b[31m"}
    results = [Sample("one", {"jpg": b"", "cls": b"0", "json": b"{}"}, row), Failure("two", "[/x]")]
    write_shard(tmp_path, "images", 0, results, fingerprint="f", versions={})
    code, printed, _ = didgen(monkeypatch, capsys, "inspect", str(tmp_path))
    assert code == 0
    assert "[red]A[/red]" in printed and "two: [/x]" in printed
    assert "not finished" in printed
    code, printed, _ = didgen(monkeypatch, capsys, "inspect", str(tmp_path), "one")
    assert code == 0
    assert "[/bold] [link=x]y[/link]" in printed
    assert "\x1b" not in printed and "\\x1b[31m" in printed
