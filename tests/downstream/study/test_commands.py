"""Tests of the command: what it would do, what it refuses, and a whole study of minutes."""

from pathlib import Path

import pytest

from didgen.downstream.study.hours import FINISHED_NAME
from didgen.manifests.files import read_json, write_bytes
from didgen.manifests.recipes.reading import RECIPES
from didgen.manifests.recipes.yaml12 import read_yaml, write_yaml
from tests.fixtures.commands import Command
from tests.fixtures.sources import changed_source
from tests.fixtures.studies import HUB, drawing, training


@pytest.fixture
def small(source: Path, tmp_path: Path) -> Path:
    """The recipe of a study that nothing is missing for."""
    systems = {"one": {"train": training(), "pairs": drawing()}}
    path = tmp_path / "small.yaml"
    write_bytes(
        path, write_yaml({"kind": "study", "source": str(source), "systems": systems}).encode()
    )
    return path


def test_a_dry_run_says_hours_profile_and_command_line(
    small: Path, tmp_path: Path, command: Command
) -> None:
    state = tmp_path / "state"
    done = command("study", small, "--state", state, "--dry-run", "--executor", "slurm")
    assert done.code == 0, done.err
    assert "one.model: 1.00 hours (stated)" in done.out
    assert "2 stages, 1.5 hours to go" in done.out
    assert "executor: slurm" in done.out and f"--profile {state / 'profile'}" in done.out
    assert not state.exists()
    assert command("study", small).code == 2


def test_what_is_missing_is_said_and_nothing_is_begun(
    source: Path, tmp_path: Path, command: Command
) -> None:
    path = tmp_path / "study.yaml"
    system = {"train": {"recipe": "rival-nobody", "hours": 1.0}, "pairs": drawing()}
    asked = {"kind": "study", "source": str(source), "systems": {"new": system}}
    write_bytes(path, write_yaml(asked).encode())
    done = command("study", path, "--state", tmp_path / "state")
    assert done.code == 1
    assert "- new.model: rival-nobody is neither a file nor a bundled recipe" in done.out
    assert not (tmp_path / "state").exists()
    asked["systems"] = {"new": {"model": HUB}}
    write_bytes(path, write_yaml(asked).encode())
    outcome = command("study", path, "--state", tmp_path / "state")
    assert outcome.code == 1 and "it needs `train`, `images` or `pairs`" in outcome.err


@pytest.mark.slow
def test_the_toy_trains_draws_and_compares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    source = changed_source(
        tmp_path / "data",
        lambda manifest: [
            # The bundled model has seen images of the archive under their numbers.
            record.model_copy(update={"key": f"toy-{n}", "lesion_id": f"toy lesion {n}"})
            for n, record in enumerate(manifest.records)
        ],
    )
    asked = read_yaml((RECIPES / "study-toy.yaml").read_text()) | {"source": str(source)}
    write_bytes(tmp_path / "toy.yaml", write_yaml(asked).encode())
    done = command("study", "toy.yaml", "--state", "state", "--records", "records")
    logs = "\n".join(path.read_text()[-2000:] for path in Path("state/stages").glob("*/log.txt"))
    assert done.code == 0, done.out + done.err + logs
    page = Path("records/tables/study.md").read_text()
    assert "## classes" in page and "## masks" in page and "Not done yet" not in page
    for name in ("classes", "masks", "cost"):
        assert Path(f"state/tables/{name}.tex").exists()
        assert Path(f"records/tables/{name}.csv").exists()
    (benchmark,) = Path("records").glob("classes-*/benchmark.json")
    assert {arm["arm"] for arm in read_json(benchmark)["arms"]} == {
        "original",
        "oversampled",
        "gan",
    }
    assert str(tmp_path) not in benchmark.read_text()
    seconds = {p: p.stat().st_mtime_ns for p in Path("state/stages").glob(f"*/{FINISHED_NAME}")}
    assert len(seconds) == 7
    again = command("study", "toy.yaml", "--state", "state", "--records", "records")
    assert again.code == 0 and "7 stages, 0.0 hours to go" in again.out
    assert {p: p.stat().st_mtime_ns for p in seconds} == seconds
