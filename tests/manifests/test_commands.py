"""Tests of the commands on data: import, verify, inspect, mix, export."""

import re
from pathlib import Path

from PIL import Image

from didgen.manifests.provenance.trained_on import TrainedOn
from didgen.manifests.runs.claim import start_run
from didgen.manifests.shards.shard import Failure, Sample, Stamp, write_shard
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.commands import Command


def test_a_dry_run_writes_nothing(photographs: Path, command: Command) -> None:
    out = photographs / "source"
    code, printed, _ = command(
        *["import", "folder", str(photographs / "images"), "--licence", "CC0-1.0"],
        *["--out", str(out), "--dry-run"],
    )
    assert code == 0
    assert "3 images" in printed
    assert not out.exists()


def test_a_path_that_cannot_be_used_is_named(photographs: Path, command: Command) -> None:
    blocked = photographs / "file"
    blocked.write_text("in the way")
    code, _, error = command(
        *["import", "folder", str(photographs / "images"), "--licence", "CC0-1.0"],
        *["--out", str(blocked)],
    )
    assert code == 1
    assert str(blocked) in error
    assert "Traceback" not in error


def test_a_source_is_imported_for_a_model_and_its_runs(photographs: Path, command: Command) -> None:
    """Of three photographs, one or two are held out; a model that knows these has them in train."""
    out = photographs / "source"
    importing = ["import", "folder", str(photographs / "images"), "--licence", "CC0-1.0"]
    importing += ["--split", "0.4", "0.3", "0.3", "--out", str(out)]
    assert command(*importing)[0] == 0
    held_out = [r for r in SourceManifest.read(out).records if r.split != "train"]
    model = photographs / "model"
    model.mkdir()
    code, _, error = command(*importing, "--for-model", str(model))
    assert code == 1 and f"No trained_on.jsonl was found for the model {model}; check" in error

    trained_on = TrainedOn.of(held_out)
    (model / "trained_on.jsonl").write_bytes(trained_on.text())
    code, printed, _ = command(*importing, "--for-model", str(model))
    assert code == 0
    assert f"{len(held_out)} of them are known to {model}, by themselves" in printed
    imported = SourceManifest.read(out)
    assert imported.header.for_models == (str(model),)
    trained_on.check(model, out, imported)
    assert {r.key for r in held_out} <= {r.key for r in imported.select(split="train")}


def test_names_that_look_personal_are_said_on_import(photographs: Path, command: Command) -> None:
    importing = ["import", "folder", photographs / "images", "--licence", "CC0-1.0"]
    importing += ["--out", photographs / "source"]
    assert "--pseudonymise" not in command(*importing).out
    first = sorted((photographs / "images").rglob("*.*"))[0]
    first.rename(first.with_stem("Anna_Mueller"))
    code, printed, _ = command(*importing)
    assert code == 0
    assert (
        "1 images have a file name, lesion id, class or folder that looks like a person's name (1);"
        " the first is Anna_Mueller. Give `--pseudonymise`"
    ) in printed


def test_a_source_is_for_pseudonyms(tmp_path: Path, command: Command) -> None:
    exporting = ["export", tmp_path, "--to", "parquet", "--out", tmp_path / "out"]
    ended = command(*exporting, "--source", tmp_path)
    assert ended.code == 2 and "a source is for --pseudonymise" in ended.sentence


def test_export_and_its_refusals(
    source_and_run: tuple[Path, Path],
    command: Command,
) -> None:
    _, run = source_and_run
    out = run.parent / "folders"
    exporting = ["export", str(run), "--to", "imagefolder", "--out", str(out)]
    code, printed, _ = command(*exporting, "--dry-run")
    assert code == 0
    assert "images, train: 2 samples" in printed
    assert not out.exists()

    assert command(*exporting)[0] == 0
    assert len(list((out / "images" / "train" / "MEL").iterdir())) == 2

    code, _, error = command(*exporting)
    assert code == 1
    assert "exists already" in error and "Traceback" not in error

    assert command("export", str(run), "--to", "zip", "--out", "x")[0] == 2
    (run / "images" / "images-000000.tar").unlink()
    exporting[-1] = str(run.parent / "other")
    code, _, error = command(*exporting)
    assert code == 1
    assert "run `didgen augment` again" in error


def test_mix_and_its_refusals(
    source_and_run: tuple[Path, Path],
    command: Command,
) -> None:
    source, run = source_and_run
    out = run.parent / "mixed"
    mixing = ["mix", str(source), str(run), "--ratio", "0.5", "--out", str(out)]
    code, printed, _ = command(*mixing, "--dry-run")
    assert code == 0
    assert "images, train: 3 real and 1 synthetic samples in 1 shards" in printed
    assert "short of images NV: 1 synthetic samples wanted, 0 made" in printed
    assert f"{run} has no trained_on.jsonl: see to it yourself" in printed
    assert not out.exists()

    code, printed, _ = command(*mixing)
    assert code == 0
    assert f"4 samples in 1 shards are in {out}." in printed
    assert command("verify", str(out))[0] == 0

    code, _, error = command(*mixing, "--config", "pairs")
    assert code == 1
    assert "holds no pairs" in error
    nowhere = [*mixing[:2], "s3://bucket/run", *mixing[3:]]
    code, _, error = command(*nowhere)
    assert code == 2
    assert "is a URL; this takes a folder" in " ".join(error.split())
    for ratio in ("-1", "nan", "much"):
        mixing[4] = ratio
        assert command(*mixing)[0] == 2


def test_a_run_is_inspected_and_its_sample_shown(
    run: Path, tmp_path: Path, command: Command
) -> None:
    code, printed, _ = command("inspect", str(run))
    assert code == 0
    assert "a run of `augment`, finished." in " ".join(printed.split())
    assert "2 planned samples were not made." in printed
    assert "images-failed: near-blank image: 1.50" in printed
    assert re.search(r"MEL\W+5\W+3\W+8\b", printed)

    picture = tmp_path / "pair.png"
    asked = ["inspect", str(run), "pairs-000002", "--picture", str(picture)]
    code, printed, _ = command(*asked)
    assert code == 0
    assert "lesion 2" in printed and "(pairs, train, pairs-000000.tar)" in printed
    with Image.open(picture) as drawn:
        assert drawn.size == (48, 16)

    code, _, error = command("inspect", str(run), "pairs-00002")
    assert code == 1
    assert "nearest keys are pairs-000002," in error
    code, _, error = command("inspect", str(run), "--picture", "a.png")
    assert code == 2


def test_what_is_inspected_is_no_markup(tmp_path: Path, command: Command) -> None:
    start_run(tmp_path, fingerprint="f", recipe={"kind": "augment"})
    row = {"label": "[red]A[/red]", "prompt": "[/bold] [link=x]y[/link]", "layout": "\x1b[31m"}
    results: list[Sample | Failure] = [
        Sample("one", {"jpg": b"", "cls": b"0", "json": b"{}"}, row),
        Failure("two", "[/x]"),
    ]
    write_shard(tmp_path, "images", 0, results, Stamp("f"))
    code, printed, _ = command("inspect", str(tmp_path))
    assert code == 0
    assert "[red]A[/red]" in printed and "two: [/x]" in printed
    assert "not finished" in printed
    code, printed, _ = command("inspect", str(tmp_path), "one")
    assert code == 0
    assert "[/bold] [link=x]y[/link]" in printed
    assert "\x1b" not in printed and "\\x1b[31m" in printed
