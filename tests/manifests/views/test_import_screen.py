"""Tests of the screen after an import: what was understood, kept and left out."""

from pathlib import Path

from tests.fixtures.commands import Command
from tests.fixtures.pictures import write_box, write_noise


def test_one_screen_says_what_was_understood(tmp_path: Path, command: Command) -> None:
    own = tmp_path / "own"
    for place, name in enumerate("abcdefgh"):
        write_noise(own / f"{name}.png", place)
        if name < "f":
            write_box(own / f"{name}_mask.png")
    (own / "g.tif").write_bytes(b"II*\0")
    (own / "h_small.png").write_bytes(b"torn")
    rows = ["Image,dx,Lesion ID,patient,age,case", "a,mel,l1,p1,40,1", "b,mel,l1,p1,40,1"]
    rows += [f"{name},nv,,p{name},40,1" for name in "cdefgh"]
    (own / "t.csv").write_text("\n".join(rows))
    given = ["--labels", own / "t.csv", "--masks", own, "--licence", "own"]
    outcome = command("import", "folder", own, *given, "--out", tmp_path / "out")
    assert outcome.code == 0
    printed = " ".join(outcome.out.split())
    for words in (
        "Columns of t.csv that were used: Image, dx as label, Lesion ID, patient as patient_id",
        "; not used: age, case (case has to be named lesion_id, patient_id or split",
        "Pictures in formats that are not read, left out: 1 TIFF.",
        "8 images, 5 with a mask.",
        "They show 7 lesions of 7 patients; no patient is in two splits.",
        "2 files were rejected, listed in",
        "1 other-format:",
        "1 missing-label:",
        f"The manifest is in {tmp_path / 'out'}.",
    ):
        assert words in printed, printed
    assert "patients" in outcome.out


def test_warnings_stand_below_what_was_understood(tmp_path: Path, command: Command) -> None:
    for number, name in enumerate(("0", "1")):
        write_noise(tmp_path / "own" / name / "a.png", number)
    (tmp_path / "own" / "x.txt").write_text("x")
    outcome = command(
        "import",
        "folder",
        tmp_path / "own",
        "--licence",
        "own",
        "--out",
        tmp_path / "o",
        "--dry-run",
    )
    lines = [line for line in outcome.out.splitlines() if line]
    assert outcome.code == 0 and not (tmp_path / "o").exists()
    assert lines[0].startswith("Folders of")
    assert lines[2].startswith("Warning: the classes 0, 1 are numbers")


def test_control_characters_of_names_are_escaped(tmp_path: Path, command: Command) -> None:
    own = tmp_path / "own"
    write_noise(own / "MEL" / "a.png", 1)
    (own / "MEL" / "x\x1b[31m\u202e.png").write_bytes(b"torn")
    write_noise(own / "[red]rash" / "c.png", 3)
    (own / "MEL" / "deep\x1b]0;t\x07").mkdir()
    write_noise(own / "MEL" / "deep\x1b]0;t\x07" / "b.png", 2)
    outcome = command("import", "folder", own, "--licence", "own", "--out", tmp_path / "out")
    assert outcome.code == 0
    assert "\\x1b" in outcome.out and "\\u202e" in outcome.out
    assert not {"\x1b", "\x07", "\u202e"} & {*outcome.out}
    assert "[red]rash" in outcome.out.split("Images")[1]
    outcome = command("import", "folder", own / "x\x1b[0m", "--licence", "own", "--out", own)
    assert outcome.code == 1 and "\x1b" not in outcome.err and "\\x1b" in outcome.err


def test_options_on_masks_need_masks(tmp_path: Path, command: Command) -> None:
    write_noise(tmp_path / "a.png", 1)
    for option in (["--invert-masks"], ["--mask-orientation", "stored"]):
        outcome = command(
            "import", "folder", tmp_path, "--licence", "own", "--out", tmp_path / "o", *option
        )
        assert outcome.code == 2 and option[0] in outcome.sentence


def test_masks_are_inverted_and_turned_from_the_command_line(
    tmp_path: Path, command: Command
) -> None:
    write_noise(tmp_path / "own" / "a.png", 1)
    write_box(tmp_path / "masks" / "a.png")
    given = ["--masks", tmp_path / "masks", "--licence", "own", "--out", tmp_path / "out"]
    outcome = command("import", "folder", tmp_path / "own", *given, "--invert-masks")
    assert outcome.code == 0
    assert "1 masks were inverted." in outcome.out
    assert "import again without --invert-masks" in outcome.out
