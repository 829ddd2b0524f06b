"""Tests of `didgen annotate` as it is called: what it says, and that a fault changes nothing."""

from pathlib import Path

from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.commands import Command
from tests.fixtures.sources import manifest_of, record


def test_a_dry_run_counts_and_a_fault_changes_nothing(command: Command, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    source = tmp_path / "my source"
    manifest_of(tmp_path / "photos", record("a"), record("b", mask="b.png")).write(source)
    before = SourceManifest.read(source)
    code, out, err = command("annotate", source, "--dry-run")
    assert (code, out) == (0, "1 of 2 images are to get a mask.\n")
    assert err == f"Next: didgen annotate '{source}'\n"
    code, _, err = command("annotate", source, "--network", tmp_path)
    assert code == 1 and f"Error: {tmp_path} is no training of `didgen classify`" in err
    code, _, err = command("annotate", source, "--model", tmp_path / "nothing")
    assert code == 1 and "could not be loaded" in err and "Next:" not in err
    assert SourceManifest.read(source) == before
    assert command("annotate", source, "--area", "0.5", "2").code == 2
