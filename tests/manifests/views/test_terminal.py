"""Tests of listings on a terminal: what is found is said, and no text moves the cursor."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from didgen.manifests.runs.verify import Verdict
from didgen.manifests.sources.records import SourceManifest, summary
from didgen.manifests.views.contents import FoundSample, find, inspect
from didgen.manifests.views.terminal import (
    SHOWN,
    contents_listing,
    import_table,
    sample_listing,
    verdict_table,
)
from tests.fixtures.runs import write_run
from tests.fixtures.samples import bare_image, noise_sample

HOSTILE = "[red]x[/red] \x1b[2J \u202e"


def printed(found: RenderableType | Iterable[Any]) -> str:
    """What a wide terminal shows, in one line."""
    console = Console(width=300, record=True, file=None)
    with console.capture() as capture:
        parts = found if isinstance(found, Iterable) else [found]
        for part in parts:
            console.print(part)
    return " ".join(capture.get().split())


def test_a_run_is_told_by_config_and_class(run: Path) -> None:
    text = printed(contents_listing(inspect(run)))
    assert f"{run}: a run of `augment`, finished." in text
    assert "MEL │ 5 │ 3 │ 8" in text and "all │ 10 │ 6 │ 16" in text
    assert "2 planned samples were not made." in text
    assert "images-failed: near-blank image: 1.50" in text


def test_of_many_failures_the_first_are_told(make_run: Callable[..., Path], tmp_path: Path) -> None:
    from didgen.manifests.shards.shard import Failure

    failed = [Failure(f"key-{n}", "no lesion found") for n in range(SHOWN + 3)]
    run = write_run(tmp_path, {"images": [[bare_image("a"), *failed]]}, classes=["MEL"])
    text = printed(contents_listing(inspect(run)))
    assert f"key-{SHOWN - 1}: no lesion" in text and f"key-{SHOWN}: no lesion" not in text
    assert "and 3 more" in text


def test_a_source_is_told_by_split_and_class(source: Path) -> None:
    text = printed(contents_listing(inspect(source)))
    assert f"{source}: a source manifest of folder, from" in text
    assert "MEL │ 6 │ 2 │ 2 │ 10" in text
    assert "30 images, 30 with a mask, 1 with a caption." in text


def test_a_sample_has_a_line_for_each_field(run: Path, source: Path) -> None:
    text = printed(sample_listing(find(inspect(run), "pairs-000001")))
    assert "pairs-000001 (pairs, train, pairs-000000.tar)" in text
    assert "prompt │ lesion 1" in text and "mask.png │" in text and " bytes" in text
    text = printed(sample_listing(find(inspect(source), "ISIC_0000001")))
    assert "caption │ a caption" in text and "lesion_id │ lesion 1" in text


def test_an_import_is_a_table_with_pairs_in_brackets(source: Path) -> None:
    text = printed(import_table(summary(SourceManifest.read(source))))
    assert "MEL │ 6 (6) │ 2 (2) │ 2 (2) │ 10" in text


@pytest.mark.parametrize("status", ["ok", "torn"])
def test_a_verdict_has_its_sentence_beside_it(status: Any) -> None:
    text = printed(verdict_table([Verdict("plan.jsonl", status, "plan.jsonl is fine.")]))
    assert f"plan.jsonl │ {status} │ plan.jsonl is fine." in text


def test_hostile_text_is_shown_as_it_is(tmp_path: Path) -> None:
    sample = noise_sample("images", 0, "MEL")
    sample.row["prompt"] = HOSTILE
    run = write_run(tmp_path, {"images": [[sample]]}, classes=["MEL"])
    found = find(inspect(run), sample.key)
    assert isinstance(found, FoundSample) and isinstance(found.record, dict)
    found.record["prompt"] = HOSTILE
    text = printed(sample_listing(found))
    assert r"[red]x[/red] \x1b[2J \u202e" in text
    assert "\x1b[2J" not in text and "\u202e" not in text
