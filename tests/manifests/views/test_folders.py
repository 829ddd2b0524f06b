"""Tests of folders: what is no run is refused by what it is, with the command that goes on."""

from pathlib import Path

import pytest

from didgen.manifests.errors import DidgenError
from didgen.manifests.runs.order import keep_order
from didgen.manifests.views.folders import refuse_without_shards
from tests.fixtures.commands import Command


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("finetune", "a training"),
        ("classify", "a benchmark of classifiers"),
        ("quality", "an assessment"),
    ],
)
def test_verify_names_what_is_no_run(
    kind: str, words: str, tmp_path: Path, command: Command
) -> None:
    keep_order(tmp_path, kind, {})
    code, _, told = command("verify", tmp_path)
    assert code == 1
    assert told.strip().endswith(
        f"{tmp_path} is {words}, not finished, and only a run has shards to verify. "
        f"To go on: didgen resume {tmp_path}"
    )


def test_a_source_and_a_model_have_no_shards(source: Path, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    for folder, words in ((source, "a source manifest"), (tmp_path, "a model")):
        with pytest.raises(DidgenError, match=f"is {words}, and only a run has shards to verify;"):
            refuse_without_shards(folder)
    refuse_without_shards(tmp_path / "nothing")
