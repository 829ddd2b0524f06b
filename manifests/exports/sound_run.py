"""A sound run: a run found whole, whose members an export may write, and as it may write them."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from didgen.manifests.choices import Config, ExportForm, Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.exports.accepted import Accepted
from didgen.manifests.files import refuse_existing
from didgen.manifests.privacy.index import nameless_manifest, shareable_manifest
from didgen.manifests.privacy.paths import restored, without_model, without_path
from didgen.manifests.privacy.pseudonyms import Pseudonyms, own_records
from didgen.manifests.privacy.published import (
    Treatment,
    published_mask,
    said_of,
    without_metadata,
)
from didgen.manifests.progress import Progress
from didgen.manifests.provenance.trained_on import TrainedOn
from didgen.manifests.recipes.fields import NAMELESS
from didgen.manifests.reviews.consensus import reviewed, summary
from didgen.manifests.runs.finish import listed_sidecars, read_trained_on, read_whole_run
from didgen.manifests.runs.mixed import TREATED
from didgen.manifests.shards.index import Manifest
from didgen.manifests.shards.sample import open_samples
from didgen.manifests.shards.shard import Sidecar, read_sidecar, split_of
from didgen.manifests.shards.tally import Tally
from didgen.manifests.sources.records import HEADER_FILE, Label, SourceManifest

TARGETS: tuple[ExportForm, ...] = get_args(ExportForm)

Members = dict[str, bytes]

_REAL_NAMES = {"layout", "lesion_id", "source_key", "start"}
"""Fields of a record that name a real image or its lesion."""

_NNUNET_NAME = re.compile(r"Dataset\d{3}_[A-Za-z0-9]+")


@dataclass(frozen=True)
class Export:
    """A run that was found whole, and the layout and the folder that it is to be written in.

    manifest: without absolute paths and, with `pseudonyms`, without names of folders; shards: the
    tars to export, by config.
    """

    directory: Path
    to: ExportForm
    out: Path
    manifest: Manifest
    shards: dict[Config, list[str]]
    trained_on: TrainedOn
    pseudonyms: Pseudonyms | None = None
    accepted: Accepted | None = None
    """Where only what reviewers accept is exported."""
    treated: Counter[Treatment] = field(default_factory=Counter)
    """What became of the images of the shards that were read, where the run itself does not say."""

    @property
    def changed(self) -> str:
        """What became of the images whose bytes are not those of the run, in words."""
        return said_of(self.treated - Counter({"kept": self.treated["kept"]}))

    def counts(self) -> dict[tuple[Config, Split], int]:
        """How many samples of each config and split there are to export."""
        counts: dict[tuple[Config, Split], int] = {}
        for config, sidecars in self.sidecars().items():
            for sidecar in sidecars:
                place = config, split_of(sidecar.shard)
                counts[place] = counts.get(place, 0) + sidecar.samples
        return counts

    def summary(self) -> list[str]:
        """What there is to export, a line each, and classes that a split of folders lacks."""
        counted = self.counts().items()
        said = [f"{config}, {split}: {count} samples" for (config, split), count in counted]
        if self.to == "imagefolder":
            said += [
                f"images, {split}: no image of {', '.join(missing)}, whose folder is there and "
                "empty: give torchvision `allow_empty=True`, and timm classes.txt as `class_map`"
                for split, missing in self.tally.missing("images").items()
            ]
        return said

    @cached_property
    def tally(self) -> Tally:
        """What the sidecars of the shards say together."""
        return Tally.of(chain.from_iterable(self.sidecars().values()))

    def sidecars(self) -> dict[Config, Iterable[Sidecar]]:
        """The sidecars of the shards, of what is exported; each can be gone through once."""
        listed = listed_sidecars(self.directory, self.manifest)
        rows = self.accepted.rows if self.accepted else lambda sidecar: sidecar
        return {config: map(rows, listed[config]) for config in self.shards}

    def samples(self, config: Config, shard: str) -> Iterator[tuple[str, Members, str]]:
        """Key, members and class name of each sample of a shard; "" for a pair without a class."""
        classes = {str(index): name for index, name in enumerate(self.manifest.classes)}
        tar, treated = self.directory / config / shard, Counter[Treatment]()
        rows = read_sidecar(tar.with_suffix(".json")).kept
        for key, members, record in open_samples(tar, config, rows, self.manifest):
            if self.accepted:
                if (consensus := self.accepted.of(config, key)) is None:
                    continue
                members = self.accepted.corrected(members, consensus)
                record = record_of(members)
            published = self._published(Path(shard) / key, members)
            if "jpg" in members and TREATED not in rows.get(key, {}):
                published["jpg"], treatment = without_metadata(
                    members["jpg"], (Path(shard) / key).with_suffix(".jpg")
                )
                treated[treatment] += 1
            index = members["cls"].decode() if "cls" in members else record.get("label")
            yield self._named(key, published), published, classes.get(str(index), "")
        # Whoever reads but the beginning of a shard reads it once more.
        self.treated.update(treated)

    def _published(self, place: Path, members: Members) -> Members:
        """The members of a sample, the mask without metadata, the record by published names."""
        members = dict(members)
        if "mask.png" in members:
            mask = members["mask.png"]
            members["mask.png"] = published_mask(mask, place.with_suffix(".mask.png"))
        record = record_of(members)
        if licence := record.get("licence"):
            record["licence"] = without_path(str(licence))
        if self.pseudonyms is not None:
            if licence:
                record["licence"] = without_model(str(licence))
            for name in _REAL_NAMES & record.keys():
                record[name] = self.pseudonyms.name(str(record[name]))
        return members | {"json": json.dumps(record).encode()}

    def _named(self, key: str, members: Members) -> str:
        """The key of a sample as it is published."""
        record = record_of(members) if self.pseudonyms else {}
        real = record.get("origin") == "real" and record.get("source_key")
        return f"real-{record['source_key']}" if real else key


def prepare_export(
    directory: Path,
    to: ExportForm,
    out: Path,
    progress: Progress | None = None,
    *,
    pseudonymise: bool = False,
    source: Path | None = None,
) -> Export:
    """Check that `directory` can be exported to `out`; every shard is hashed, nothing is written.

    An `out` that exists, a shard that is not as the run wrote it, no pairs for nnU-Net and a
    class that cannot name a folder are each a `DidgenError`; so is, to pseudonymise, a run whose
    source is neither at hand nor given.
    """
    refuse_existing(out)
    if to == "nnunet" and not _NNUNET_NAME.fullmatch(out.name):
        raise DidgenError(
            f"{out} is no name of an nnU-Net data set; give it one like Dataset501_DiDGen."
        )
    manifest, _ = read_whole_run(directory, progress)
    shards = {
        config: [entry.file for entry in entries] for config, entries in manifest.configs.items()
    }
    if to == "nnunet":
        shards = {config: names for config, names in shards.items() if config == "pairs"}
        if not shards:
            raise DidgenError(f"{directory} has no pairs, and nnU-Net needs masks; make some.")
    if to == "imagefolder":
        for name in manifest.classes:
            _check_folder_name(name, directory)
    trained_on = read_trained_on(directory, manifest)
    manifest = shareable_manifest(manifest, directory)
    job = Export(directory, to, out, manifest, shards, trained_on)
    # A mix that was made by pseudonyms has no other names any more.
    if not pseudonymise or manifest.recipe.get("pseudonymise"):
        return job
    return _pseudonymised(job, source)


def only_accepted(job: Export) -> Export:
    """An export of those samples alone that reviewers accept; where none is, a `DidgenError`."""
    if job.manifest.recipe.get("kind") == "mix":
        raise DidgenError(
            f"{job.directory} is a mix, which has no reviews of its own; mix its run again with "
            "`--reviewed accepted`."
        )
    accepted = Accepted(reviewed(job.directory, job.manifest), job.manifest.classes)
    reported = summary(accepted.found, job.shards)
    decisions = job.manifest.decisions | {"reviews": reported}
    manifest = job.manifest.model_copy(update={"decisions": decisions})
    chosen = replace(job, manifest=manifest, accepted=accepted)
    if not sum(chosen.counts().values()):
        raise DidgenError(f"{job.directory} has no sample to export: {reported}.")
    return chosen


def _pseudonymised(job: Export, given: Path | None) -> Export:
    """An export by the pseudonyms of the source that the run names, or that is given."""
    names = {
        str(row.get(name) or "")
        for sidecars in job.sidecars().values()
        for sidecar in sidecars
        for row in sidecar.kept.values()
        for name in _REAL_NAMES & row.keys()
    } - NAMELESS
    recorded = job.manifest.recipe.get("source")
    if given is None and not recorded and not names:
        return replace(job, manifest=nameless_manifest(job.manifest, ()))
    folder = given or (restored(str(recorded), job.directory) if recorded else None)
    if folder is None or not (folder / HEADER_FILE).is_file():
        raise DidgenError(
            f"The source of {job.directory} is not at hand, and its key makes the pseudonyms; "
            "name its folder by `--source`."
        )
    manifest = SourceManifest.read(folder)
    if missing := names - {record.key for record in manifest.records}:
        raise DidgenError(
            f"{folder} has no image {min(missing)}, which {job.directory} names; name the source "
            "that it was made with by `--source`."
        )
    own = own_records(manifest)
    return replace(
        job,
        manifest=nameless_manifest(job.manifest, own),
        trained_on=job.trained_on.without_numbers({record.sha256 for record in own}),
        pseudonyms=Pseudonyms.of(folder),
    )


def record_of(members: Members) -> dict[str, Any]:
    """The record of a sample, empty where its `.json` holds none."""
    try:
        record = json.loads(members.get("json", b""))
    except (ValueError, RecursionError):
        record = None
    return record if isinstance(record, dict) else {}


def _check_folder_name(name: str, directory: Path) -> None:
    try:
        TypeAdapter(Label).validate_python(name)
    except ValidationError:
        fine = False
    else:
        # Readers of image folders skip what is hidden.
        fine = not name.startswith((".", "__"))
    if not fine:
        raise DidgenError(
            f"{directory} has the class {name!r}, which cannot name a folder; "
            "export it to parquet, or rename the class in the source."
        )


def write_file(path: Path, data: bytes) -> None:
    """Write a file of an export, whose folder is synced as a whole before it gets its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
