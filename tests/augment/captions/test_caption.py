"""Tests of captioning a manifest: what is asked, the cache, and runs that are cut short."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from didgen.augment.captions.caption import (
    CACHE_FILE,
    Cache,
    Caption,
    CaptionJob,
    Keep,
    Measured,
    caption_manifest,
    caption_source,
    to_do,
)
from didgen.augment.captions.measure import measure_files
from didgen.augment.models.tokens import token_counter
from didgen.augment.prompts.prompt import LESION, SKIN, fit
from didgen.augment.prompts.sentence import render
from didgen.manifests.errors import DidgenError
from didgen.manifests.locks import LOCKS
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.captions import COUNT, IMAGES, asks, by_schema
from tests.fixtures.places import REPOSITORY
from tests.fixtures.servers import serve


def test_images_are_measured_where_captions_are_missing(bare: Path) -> None:
    manifest = SourceManifest.read(bare)
    kept = manifest.records[3].model_copy(update={"caption": "kept as it is"})
    records = (*manifest.records[:3], kept, *manifest.records[4:])
    replace(manifest, records=records).rewrite(bare)
    calls: list[tuple[int, int]] = []
    after = caption_source(bare, Measured(COUNT, 1), progress=lambda *call: calls.append(call))
    assert calls == [(n, IMAGES) for n in range(2, IMAGES + 1)]
    for was, now in zip(records, after.records, strict=True):
        if was.caption is None:
            said = measure_files((after.image_path(now), after.mask_path(now), now.label))
            assert now.caption == fit(render(said), COUNT)
            assert (now.caption_by, now.caption_fallback) == ("measure 3", None)
        else:
            assert now == was
    assert after == SourceManifest.read(bare)
    assert after.header.captions == {"measure 3": IMAGES - 1}
    assert not to_do(after, "measure 3", again=False)
    assert to_do(after, "measure 3", again=True) == [kept]


def test_an_import_meanwhile_is_kept(bare: Path) -> None:
    before = SourceManifest.read(bare)
    first, second, *others = before.records
    new = first.model_copy(update={"key": "new", "sha256": "0" * 64, "lesion_id": "new"})
    relabelled = second.model_copy(update={"label": "DF"})

    class Slow(Measured):
        def captions(
            self, jobs: Sequence[CaptionJob], keep: Keep
        ) -> Iterator[tuple[CaptionJob, Caption]]:
            yield from super().captions(jobs, keep)
            replace(before, records=(first, relabelled, *others[:-1], new)).write(bare)

    after = caption_source(bare, Slow(COUNT, 1))
    assert [r.key for r in after.records] == [
        first.key,
        second.key,
        *(r.key for r in others[:-1]),
        "new",
    ]
    captioned = {r.key: r.caption is not None for r in after.records}
    # What was said of an image with another label is not true of this one.
    assert captioned == {r.key: r.key not in ("new", second.key) for r in after.records}
    assert after.header.captions == {"measure 3": IMAGES - 2}


def test_a_second_run_asks_nothing_and_replacing_is_cached(bare: Path) -> None:
    with serve(by_schema) as server:
        first = caption_source(bare, asks(server))
        asked = len(server.asked)
        assert caption_source(bare, asks(server)) == first
        measured = caption_source(bare, Measured(COUNT, 1), again=True)
        assert measured.header.captions == {"measure 3": IMAGES}
        assert caption_source(bare, asks(server), again=True) == first
        assert len(server.asked) == asked


def test_a_dead_endpoint_keeps_what_is_finished(bare: Path) -> None:
    def reply(number: int, body: dict[str, Any]) -> tuple[int, Any]:
        return by_schema(number, body) if number < 2 else (503, {"error": {"message": "gone"}})

    with serve(reply) as server:
        with pytest.raises(DidgenError, match=r"endpoint http.* does not answer .*gone.*again"):
            caption_source(bare, asks(server, concurrency=1))
        after = SourceManifest.read(bare)
        assert len(to_do(after, "openai m, prompt 4", again=False)) == IMAGES - 2
        server.reply = by_schema
        asked = len(server.asked)
        caption_source(bare, asks(server))
        assert len(server.asked) - asked == IMAGES - 2


def test_what_was_answered_beside_a_failure_is_kept(bare: Path) -> None:
    failed = threading.Event()

    def reply(number: int, body: dict[str, Any]) -> tuple[int, Any]:
        if number == 0:
            failed.set()
            return 503, {"error": {"message": "gone"}}
        failed.wait(10)
        time.sleep(0.5)
        return by_schema(number, body)

    with serve(reply) as server:
        with pytest.raises(DidgenError, match="does not answer"):
            caption_source(bare, asks(server, concurrency=2))
        under_way = len(server.asked) - 1
        assert under_way > 0
        server.reply = by_schema
        caption_source(bare, asks(server))
    assert len(server.asked) == 1 + IMAGES


@pytest.mark.slow
def test_a_killed_run_goes_on(bare: Path) -> None:
    def slow(number: int, body: dict[str, Any]) -> tuple[int, Any]:
        time.sleep(0.2)
        return by_schema(number, body)

    with serve(slow) as server:
        command = [sys.executable, "-m", "didgen.cli", "caption", str(bare), "--backend", "openai"]
        command += ["--model", "m", "--base-url", server.url, "--concurrency", "1"]
        process = subprocess.Popen(command, cwd=REPOSITORY, env=dict(os.environ))
        cache = bare / CACHE_FILE
        while not cache.exists() or len(cache.read_bytes().splitlines()) < 2:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        finished = len(cache.read_bytes().splitlines())
        assert finished < IMAGES
        assert len(to_do(SourceManifest.read(bare), "", again=False)) == IMAGES
        with open(cache, "ab") as file:
            file.write(b'{"key": "torn')
        server.reply = by_schema
        asked = len(server.asked)
        after = caption_source(bare, asks(server))
        assert len(server.asked) - asked == IMAGES - finished
    assert after.header.captions == {"openai m, prompt 4": IMAGES}
    assert not after.header.caption_fallbacks


def test_what_a_run_killed_at_its_end_left_goes_with_the_next(bare: Path) -> None:
    with serve(by_schema) as server:
        caption_source(bare, asks(server))
        left = bare / LOCKS / "source.lock"
        left.parent.mkdir()
        left.touch()
        caption_source(bare, asks(server))
    assert not left.parent.exists()


def test_the_cache_passes_over_what_is_torn(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    Cache(path).add("a", Caption("one"))
    with open(path, "ab") as file:
        file.write(b'[1]\n{"key": 3\n\xff\n{"key": "b", "capt')
    cache = Cache(path)
    assert cache.get("a") == Caption("one") and cache.get("b") is None
    cache.add("c", Caption("three", "refused"))
    again = Cache(path)
    assert again.get("a") == Caption("one")
    assert again.get("c") == Caption("three", "refused")


def test_a_changed_label_is_captioned_anew(bare: Path) -> None:
    manifest = SourceManifest.read(bare)
    cache = Cache(bare / CACHE_FILE)
    few = replace(manifest, records=manifest.records[:1])
    relabelled = few.records[0].model_copy(update={"label": "NV"})
    with serve(by_schema) as server:
        (first,) = caption_manifest(few, asks(server), cache=cache)
        other_few = replace(few, records=(relabelled,))
        (other,) = caption_manifest(other_few, asks(server), cache=cache)
    assert first.caption is not None and other.caption is not None
    assert first.caption.startswith("melanoma, ")
    assert other.caption.startswith("melanocytic nevus, ")


def test_a_class_name_longer_than_the_prompt_is_named(bare: Path) -> None:
    manifest = SourceManifest.read(bare)
    header = manifest.header.model_copy(update={"classes": ("x" * 200,)})
    record = manifest.records[0].model_copy(update={"label": "x" * 200})
    replace(manifest, header=header, records=(record,)).rewrite(bare)
    with pytest.raises(DidgenError, match="xxx' is longer than the prompt of the target model"):
        caption_source(bare, Measured(COUNT, 1))
    assert SourceManifest.read(bare).records == (record,)


def test_a_target_that_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(DidgenError, match=r"tokenizer of the model .* could not be loaded"):
        token_counter(str(tmp_path))


def test_a_target_without_p_tokens_counts_each_as_one() -> None:
    assert COUNT(f"{LESION} {SKIN}") == 4
