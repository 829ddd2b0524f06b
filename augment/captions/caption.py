"""DermPrompt: a caption for every image of a source, by measuring it or by a language model.

Notable choices:
- Every finished caption is appended to a cache beside the manifest at once, so that a run that was
  stopped or killed goes on where it was, and going back to another backend costs nothing.
- What a model says is data: it is cleaned, counted, and replaced by the measured caption where it
  does not fit; a record says by whom its caption is.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Protocol

from didgen.augment.captions.answers import Unfit
from didgen.augment.captions.calibration import VERSION
from didgen.augment.captions.describe import (
    DESCRIBE,
    DESCRIBE_BY_SCHEMA,
    Describer,
    open_chat,
)
from didgen.augment.captions.llm import ChatSettings, Question
from didgen.augment.models.tokens import token_counter
from didgen.augment.prompts.prompt import clean, diagnosis, fit
from didgen.augment.prompts.schema import Attributes
from didgen.augment.prompts.sentence import render
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import naming
from didgen.manifests.sources.carried_over import with_captions
from didgen.manifests.sources.records import (
    SourceManifest,
    SourceRecord,
    unfinished_writes,
    writing,
)

CACHE_FILE = "captions.cache.jsonl"
"""Finished captions beside a manifest, one a line; it may be deleted."""


CHUNK = 16
"""Images that a process measures at a time."""


@dataclass(frozen=True)
class CaptionJob:
    """One image to caption: its files, the words of its class, and what it is cached under."""

    record: SourceRecord
    image: Path
    mask: Path | None
    cache_key: str


@dataclass(frozen=True)
class Caption:
    """A caption, and why it was measured where a language model was asked for it."""

    text: str
    fallback: str | None = None


Keep = Callable[[CaptionJob, Caption], None]
"""What keeps a caption; any thread may call it."""


class Captioner(Protocol):
    """What writes captions; its `name`, kept in each record, says which with image and mask."""

    @property
    def name(self) -> str:
        """Backend, model and version."""

    def captions(
        self, jobs: Sequence[CaptionJob], keep: Keep
    ) -> Iterator[tuple[CaptionJob, Caption]]:
        """Caption jobs, in any order, each as soon as it is done.

        `keep` is called with every caption that is made, those too that an error or an interrupt
        keeps from being yielded.
        """


@dataclass(frozen=True)
class Measured:
    """Captions measured from pixels and mask, by processes of this machine."""

    count_tokens: Callable[[str], int]
    workers: int = os.cpu_count() or 1

    @property
    def name(self) -> str:
        """See `Captioner`."""
        return f"measure {VERSION}"

    def captions(
        self, jobs: Sequence[CaptionJob], keep: Keep
    ) -> Iterator[tuple[CaptionJob, Caption]]:
        """Caption jobs in their order; an unreadable file is a `DidgenError`."""
        # A dry run measures nothing, and need not wait for SciPy.
        from didgen.augment.captions.measure import measure_files

        arguments = [(job.image, job.mask, job.record.label) for job in jobs]
        drawn = [job.record.drawn for job in jobs]
        if len(jobs) <= CHUNK:
            # A second process takes longer to start than they do.
            for job in jobs:
                files = job.image, job.mask, job.record.label
                attributes = measure_files(files, job.record.drawn)
                caption = _measured(attributes, job.record, self.count_tokens)
                keep(job, caption)
                yield job, caption
            return
        # Forked workers would inherit the threads of a progress bar in an unknown state.
        pool = ProcessPoolExecutor(
            self.workers, mp_context=get_context("spawn"), initializer=_end_with_parent
        )
        try:
            found = pool.map(measure_files, arguments, drawn, chunksize=CHUNK)
            for job, attributes in zip(jobs, found, strict=True):
                caption = _measured(attributes, job.record, self.count_tokens)
                keep(job, caption)
                yield job, caption
        finally:
            # After an error or an interrupt the images still in the queue are not waited for.
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Have this process end where its parent is killed, which cannot tell it to."""

    def watch() -> None:
        if (parent := parent_process()) is not None:
            parent.join()
            os._exit(1)

    Thread(target=watch, daemon=True).start()


@dataclass(frozen=True)
class Described:
    """Captions by a language model, the measured one where its words do not fit."""

    describer: Describer

    @property
    def name(self) -> str:
        """See `Captioner`."""
        return self.describer.name

    def captions(
        self, jobs: Sequence[CaptionJob], keep: Keep
    ) -> Iterator[tuple[CaptionJob, Caption]]:
        """Caption jobs in batches, several at once; an endpoint that is dead is a `DidgenError`."""
        chat = self.describer.chat
        size = chat.batch_size
        pool = ThreadPoolExecutor(chat.concurrency)
        try:
            batches = [
                pool.submit(self._describe, jobs[first : first + size], keep)
                for first in range(0, len(jobs), size)
            ]
            for batch in as_completed(batches):
                yield from batch.result()
        finally:
            # Requests under way are waited for, those in the queue are not.
            pool.shutdown(cancel_futures=True)
            self.describer.close()

    def _describe(self, jobs: Sequence[CaptionJob], keep: Keep) -> list[tuple[CaptionJob, Caption]]:
        written = self.describer.write(
            [Question(DESCRIBE, job.image) for job in jobs],
            [Question(DESCRIBE_BY_SCHEMA, job.image) for job in jobs],
            [diagnosis(job.record.label) for job in jobs],
        )
        generated = [
            (job, self._settled(job, said)) for job, said in zip(jobs, written, strict=True)
        ]
        for job, caption in generated:
            keep(job, caption)
        return generated

    def _settled(self, job: CaptionJob, said: str | Unfit) -> Caption:
        if not isinstance(said, Unfit):
            return Caption(said)
        from didgen.augment.captions.measure import measure_files

        files = job.image, job.mask, job.record.label
        attributes = measure_files(files, job.record.drawn)
        return _measured(attributes, job.record, self.describer.count_tokens, said.reason)


def _measured(
    attributes: Attributes,
    record: SourceRecord,
    count_tokens: Callable[[str], int],
    fallback: str | None = None,
) -> Caption:
    """The caption that attributes give within the budget; DidgenError where not a word fits."""
    text = fit(render(attributes), count_tokens)
    if not text:
        raise DidgenError(
            f"The class name {record.label!r} is longer than the prompt of the target model may "
            "be; give the class a shorter name and import again."
        )
    return Caption(text, fallback)


class Cache:
    """Finished captions on disk, appended line by line; a line torn by a crash is passed over."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, Lock()
        self._known: dict[str, Caption] = {}
        data = path.read_bytes() if path.exists() else b""
        self._torn = bool(data) and not data.endswith(b"\n")
        for line in data.splitlines():
            match _row(line):
                case {
                    "key": str() as key,
                    "caption": str() as text,
                    "fallback": str() | None as fallback,
                } if text and text == clean(text):
                    self._known[key] = Caption(text, fallback)

    def get(self, key: str) -> Caption | None:
        """The caption under a key, if there is one."""
        return self._known.get(key)

    def add(self, key: str, caption: Caption) -> None:
        """Keep a caption; threads may do so at once, and a killed process loses no line."""
        row = {"key": key, "caption": caption.text, "fallback": caption.fallback}
        line = json.dumps(row, sort_keys=True, ensure_ascii=False).encode() + b"\n"
        with self._lock, naming(self._path), open(self._path, "ab", buffering=0) as file:
            # A full disk may take half a line, and the next one must not be added to it.
            before, self._torn = b"\n" * self._torn, True
            if file.write(before + line) == len(before + line):
                self._torn = False
            self._known[key] = caption


def _row(line: bytes) -> object:
    """A line of a cache; None of one that a crash tore."""
    # RecursionError is that of a line of brackets.
    with suppress(ValueError, RecursionError):
        return json.loads(line)
    return None


def cache_key(*parts: str | int | None) -> str:
    """What a caption is cached under: a hash of all that decides it."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def describer(
    settings: ChatSettings, shorten_with: str | None, count_tokens: Callable[[str], int]
) -> Describer:
    """What asks the model of some settings; `shorten_with` is another model of the same backend."""
    shortener = None if shorten_with is None else open_chat(replace(settings, model=shorten_with))
    return Describer(open_chat(settings), shortener, count_tokens)


def captioner_of(asked: Mapping[str, Any]) -> Captioner:
    """What writes captions, by options of `didgen caption`; DidgenError where one is missing."""
    try:
        count_tokens = token_counter(asked["target"])
        if asked["backend"] == "measure":
            return Measured(count_tokens)
        settings = ChatSettings(**{one.name: asked[one.name] for one in fields(ChatSettings)})
        return Described(describer(settings, asked["shorten_with"], count_tokens))
    except KeyError as missing:
        raise DidgenError(
            f"The option {missing} of the captions is not recorded; run `didgen caption` again."
        ) from None


def to_do(manifest: SourceManifest, name: str, again: bool) -> list[SourceRecord]:
    """The records without a caption; with `again` also those whose caption is not by `name`."""
    return [
        record
        for record in manifest.records
        if record.caption is None or (again and record.caption_by != name)
    ]


def caption_manifest(
    manifest: SourceManifest,
    captioner: Captioner,
    *,
    target: str = "mini",
    cache: Cache | None = None,
    again: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[SourceRecord]:
    """Caption the records `to_do`, and yield each as soon as it is done.

    `target` is the model whose tokens the captioner counts; `progress` is called with the records
    done and their total. A file that cannot be read, or a mask of another size than its image, is
    a `DidgenError`; what `cache` holds is not made again.
    """
    waiting = []
    missing = to_do(manifest, captioner.name, again)
    total, done = len(manifest.records), len(manifest.records) - len(missing)

    def finish(record: SourceRecord, caption: Caption) -> SourceRecord:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)
        said = {"caption": caption.text, "caption_by": captioner.name}
        return record.model_copy(update=said | {"caption_fallback": caption.fallback})

    for record in missing:
        mask = manifest.mask_path(record) if record.mask else None
        masked = None if mask is None else manifest.mask_digest(record)
        key = cache_key(record.sha256, masked, record.label, captioner.name, target, VERSION)
        if cache is not None and (known := cache.get(key)) is not None:
            yield finish(record, known)
        else:
            waiting.append(CaptionJob(record, manifest.image_path(record), mask, key))

    def keep(job: CaptionJob, caption: Caption) -> None:
        if cache is not None:
            cache.add(job.cache_key, caption)

    for job, caption in captioner.captions(waiting, keep) if waiting else ():
        yield finish(job.record, caption)


def caption_source(
    folder: Path,
    captioner: Captioner,
    *,
    target: str = "mini",
    again: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> SourceManifest:
    """Caption the manifest in a folder; what is finished is kept, however this ends."""
    manifest = SourceManifest.read(folder)
    generated: dict[str, SourceRecord] = {}
    try:
        for record in caption_manifest(
            manifest,
            captioner,
            target=target,
            cache=Cache(folder / CACHE_FILE),
            again=again,
            progress=progress,
        ):
            generated[record.key] = record
    finally:
        # What a killed process left is settled too: counts of older records, and its files.
        if generated or manifest != manifest.counted() or unfinished_writes(folder):
            with writing(folder):
                # It may have been imported again meanwhile.
                manifest = SourceManifest.read(folder)
                records = with_captions(manifest.records, generated.values())
                manifest = replace(manifest, records=records).rewrite(folder)
    return manifest
