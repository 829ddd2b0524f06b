"""Verify: a verdict on every file of a run, each with one sentence that names the mend."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import is_litter, is_temporary, leftovers, read_json, sha256_of
from didgen.manifests.runs.claim import plan_is_whole
from didgen.manifests.runs.seen_keys import SeenKeys
from didgen.manifests.shards.index import (
    MANIFEST_NAME,
    PLAN_NAME,
    RUN_NAME,
    Manifest,
    Run,
    ShardEntry,
    by_maker,
    read_manifest,
    read_run,
)
from didgen.manifests.shards.info import info_of
from didgen.manifests.shards.sample import REMAKE, open_samples
from didgen.manifests.shards.shard import (
    INFO_NAME,
    Sidecar,
    TornError,
    is_shard_name,
    read_sidecar,
)

Status = Literal["ok", "missing", "torn", "mismatch", "extra"]
Record = TypeVar("Record")


@dataclass(frozen=True)
class Verdict:
    """The judgement on one file: its path in the run directory, its status, and one sentence."""

    file: str
    status: Status
    sentence: str


def verify(directory: Path, progress: Callable[[int, int], None] | None = None) -> list[Verdict]:
    """Judge the shards and records of a run: re-hash and open every member of every shard.

    The run is whole if all verdicts are "ok": "missing" is a file that was planned or belongs to
    one that is there, "torn" one cut off in writing or copying, "mismatch" one whose bytes or
    content are not what the run recorded, "extra" one that no run writes. What systems put beside
    files (`LITTER`) is passed by. Nothing is extracted or changed. `progress` is called with
    (shards judged, all shards). A directory that is no run is a `DidgenError`.
    """
    indices = [path for path in (directory / RUN_NAME, directory / MANIFEST_NAME) if path.exists()]
    folders: list[Config] = [name for name in get_args(Config) if (directory / name).is_dir()]
    # Many a data set has a folder named images; only one with shards is a run's.
    if not indices and not any(
        is_shard_name(path.name, config)
        for config in folders
        for path in (directory / config).iterdir()
    ):
        raise DidgenError(
            f"{directory} is not a run directory; name the one given to `didgen augment --out`."
        )
    verdicts: list[Verdict] = []
    run = _read_index(directory, RUN_NAME, read_run, verdicts)
    manifest = _read_index(directory, MANIFEST_NAME, read_manifest, verdicts)
    if run and manifest and run.fingerprint != manifest.fingerprint:
        verdicts[-1] = Verdict(
            MANIFEST_NAME,
            "mismatch",
            f"{directory / MANIFEST_NAME} belongs to another run than {RUN_NAME}; "
            "delete it and run `didgen augment` again.",
        )
    if run and run.plan:
        verdicts.append(_plan(directory, run))
    if manifest:
        verdicts += [_document(directory / name, sha) for name, sha in manifest.documents.items()]
    verdicts += [_leftover(path, path.name) for path in leftovers(directory)]

    source = manifest or run
    fingerprint = source.fingerprint if source else None
    listed = list(manifest.configs) if manifest else []
    with closing(SeenKeys()) as seen:
        checks = [
            _ConfigCheck(directory, config, manifest, fingerprint, seen)
            for config in get_args(Config)
            if config in folders or config in listed
        ]
        verdicts += _judged(checks, progress)
    recipe = source.recipe if source else {}
    return [replace(one, sentence=by_maker(one.sentence, recipe)) for one in verdicts]


def _judged(
    checks: Sequence["_ConfigCheck"], progress: Callable[[int, int], None] | None
) -> Iterator[Verdict]:
    """The verdicts on the folders of all configs."""
    total, done = sum(len(check.shards) for check in checks), 0
    for check in checks:
        for name in check.shards:
            yield from check.shard(name)
            done += 1
            if progress:
                progress(done, total)
        yield from check.others()


@dataclass
class _ConfigCheck:
    """One config under judgement; remembers the keys and members seen, which no shard may break."""

    directory: Path
    config: Config
    manifest: Manifest | None
    fingerprint: str | None
    seen: SeenKeys
    layout: frozenset[str] | None = None

    def __post_init__(self) -> None:
        self.folder = self.directory / self.config
        self.present = {path.name for path in self.folder.glob("*") if not is_litter(path.name)}
        self.listed: dict[str, ShardEntry] = {}
        if self.manifest:
            self.listed = {e.file: e for e in self.manifest.configs.get(self.config, [])}
        tars = {
            str(Path(name).with_suffix(".tar"))
            for name in self.present
            if name.endswith((".tar", ".json"))
        }
        self.shards = sorted(
            {name for name in tars if is_shard_name(name, self.config)} | self.listed.keys()
        )

    def verdict(self, name: str, status: Status, sentence: str) -> Verdict:
        return Verdict(f"{self.config}/{name}", status, sentence)

    def shard(self, name: str) -> list[Verdict]:
        """The verdicts on a tar and on its sidecar."""
        tar, entry = self.folder / name, self.listed.get(name)
        side = tar.with_suffix(".json")
        if self.manifest and entry is None:
            sentence = f"{tar} is not in the manifest; delete it and its sidecar."
            return [self.verdict(p.name, "extra", sentence) for p in (tar, side) if p.exists()]

        absent = [
            self.verdict(
                path.name, "missing", f"{path} is missing; run `didgen augment` again to make it."
            )
            for path in (tar, side)
            if not path.is_file()
        ]
        if not side.is_file():
            return absent
        try:
            sidecar = self._read_sidecar(side, entry)
        except DidgenError as error:
            return [*absent, self.verdict(side.name, "mismatch", str(error))]
        fine = self.verdict(side.name, "ok", f"{side} fits its shard.")
        if absent:
            return [*absent, fine]
        try:
            self._read_tar(tar, sidecar)
        except TornError as error:
            return [self.verdict(name, "torn", str(error)), fine]
        except DidgenError as error:
            return [self.verdict(name, "mismatch", str(error)), fine]
        return [self.verdict(name, "ok", f"{tar} holds {sidecar.samples} samples."), fine]

    def others(self) -> list[Verdict]:
        """The verdicts on whatever else lies in the folder, and on `_info.json`."""
        known = {*self.shards, *(str(Path(name).with_suffix(".json")) for name in self.shards)}
        verdicts = []
        for name in sorted(self.present - known - {INFO_NAME}):
            path = self.folder / name
            if is_temporary(path):
                verdicts.append(_leftover(path, f"{self.config}/{name}"))
            else:
                sentence = f"{path} is no file of a run; move it elsewhere or delete it."
                verdicts.append(self.verdict(name, "extra", sentence))
        if self.manifest:
            verdicts.append(self._info())
        return verdicts

    def _info(self) -> Verdict:
        path = self.folder / INFO_NAME
        mend = "run `didgen augment` again to write it."
        if not path.is_file():
            return self.verdict(INFO_NAME, "missing", f"{path} is missing; {mend}")
        try:
            found: Any = read_json(path)
        except DidgenError as error:
            return self.verdict(INFO_NAME, "mismatch", str(error))
        if found != info_of((entry.file, entry.samples) for entry in self.listed.values()):
            sentence = f"{path} does not list the shards of the manifest; {mend}"
            return self.verdict(INFO_NAME, "mismatch", sentence)
        return self.verdict(INFO_NAME, "ok", f"{path} fits the manifest.")

    def _read_sidecar(self, path: Path, entry: ShardEntry | None) -> Sidecar:
        sidecar = read_sidecar(path)
        if (sidecar.config, sidecar.shard) != (self.config, f"{path.stem}.tar"):
            raise DidgenError(f"{path} is the sidecar of {sidecar.shard}; restore its own name.")
        if self.fingerprint is not None and sidecar.fingerprint != self.fingerprint:
            raise DidgenError(f"{path} belongs to another run; {REMAKE}.")
        recorded = (sidecar.sha256, sidecar.bytes, sidecar.samples)
        if entry and recorded != (entry.sha256, entry.bytes, entry.samples):
            raise DidgenError(
                f"{path} and {MANIFEST_NAME} record different shards; restore the one that was "
                f"changed, or {REMAKE}."
            )
        return sidecar

    def _read_tar(self, path: Path, sidecar: Sidecar) -> None:
        size = path.stat().st_size
        if size < sidecar.bytes:
            raise TornError(
                f"{path} has {size:,} of {sidecar.bytes:,} bytes; copy it again, or {REMAKE}."
            )
        if size > sidecar.bytes or sha256_of(path) != sidecar.sha256:
            raise DidgenError(
                f"{path} has changed since it was written; copy it again, or {REMAKE}."
            )
        for key, members, _ in open_samples(path, self.config, sidecar.kept, self.manifest):
            self._check_layout(f"{path}/{key}", members)
            if not self.seen.add(f"{self.config}/{key}"):
                raise DidgenError(f"{path}/{key} has the key of an earlier sample; {REMAKE}.")

    def _check_layout(self, name: str, members: dict[str, bytes]) -> None:
        layout = frozenset(members)
        self.layout = self.layout or layout
        if layout != self.layout:
            raise DidgenError(
                f"{name} has the members {', '.join(sorted(layout))}, "
                f"not those of its config; {REMAKE}."
            )


def _read_index(
    directory: Path, name: str, read: Callable[[Path], Record], verdicts: list[Verdict]
) -> Record | None:
    path = directory / name
    if not path.is_file():
        sentence = f"{path} is missing: the run is not finished; run `didgen augment` again."
        verdicts.append(Verdict(name, "missing", sentence))
        return None
    try:
        record = read(directory)
    except DidgenError as error:
        verdicts.append(Verdict(name, "mismatch", str(error)))
        return None
    verdicts.append(Verdict(name, "ok", f"{path} is readable."))
    return record


def _plan(directory: Path, run: Run) -> Verdict:
    path = directory / PLAN_NAME
    mend = "run `didgen augment` again to write it."
    if not path.is_file():
        return Verdict(PLAN_NAME, "missing", f"{path} is missing; {mend}")
    if not plan_is_whole(directory, run):
        sentence = f"{path} is not the plan that {RUN_NAME} was written for; {mend}"
        return Verdict(PLAN_NAME, "mismatch", sentence)
    return Verdict(PLAN_NAME, "ok", f"{path} is the plan of the run.")


def _document(path: Path, sha256: str) -> Verdict:
    mend = "run `didgen augment` again to write it."
    if not path.is_file():
        return Verdict(path.name, "missing", f"{path} is missing; {mend}")
    if sha256_of(path) != sha256:
        return Verdict(path.name, "mismatch", f"{path} has changed since it was written; {mend}")
    return Verdict(path.name, "ok", f"{path} is as it was written.")


def _leftover(path: Path, name: str) -> Verdict:
    sentence = f"{path} was left by a write cut off; delete it and run `didgen augment` again."
    return Verdict(name, "torn", sentence)
