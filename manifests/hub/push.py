"""Push: a run as a data set, or a model folder, to the Hugging Face Hub.

Notable choices:
- A run is shared as Parquet, which the hub's viewer shows column by column. Its export is made in
  a temporary folder, and the same run always gives the same files.
- Everything goes up in one commit, so that nobody sees a half. Files that are on the hub already
  are not sent again, be it by an earlier push or one that was cut off.
- What is new is private, unless it is asked for otherwise. What is public already is not written to
  unless that is asked for.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from huggingface_hub import HfApi

from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.exports.export import export
from didgen.manifests.exports.sound_run import Export
from didgen.manifests.hub.clearance import CopyCheck, check_images, check_licence, copy_check
from didgen.manifests.hub.faults import told_of
from didgen.manifests.progress import Progress
from didgen.manifests.provenance.licence import card_licence, strictest
from didgen.manifests.provenance.trained_on import CARD_NAME, TRAINED_ON_NAME
from didgen.manifests.shards.shard import read_shard

Kind = Literal["dataset", "model"]

MODEL_FILES = (
    "*.json",
    "*.safetensors",
    "*.txt",
    "*.model",
    CARD_NAME,
    TRAINED_ON_NAME,
    "captions.jsonl",
)
"""What of a model's folder is shared: nothing that is unpickled, no logs, no checkpoints."""

NO_MODEL_FILES = (".*", "*/.*", "run.json", "checkpoints/*", "sheets/*", "logs/*", "cache/*")


@dataclass(frozen=True)
class Push:
    """Something that may be shared: its folder, its licence, and what the copy check says of it.

    job: the export that a run is shared as; None for a model.
    """

    directory: Path
    kind: Kind
    licence: str
    job: Export | None = None
    copies: CopyCheck | None = None

    def said(self) -> Iterator[str]:
        """What is shared, in sentences."""
        yield f"licence: {self.licence}"
        if self.job is None:
            yield f"model: {self.directory}"
            return
        for (config, split), count in self.job.counts().items():
            yield f"{config}, {split}: {count} samples"
        if self.copies is None:
            yield "copies: not looked for; name an assessment of `didgen quality` by `--quality`"
        else:
            yield f"copies: {self.copies.sentence}"
        if self.job.pseudonyms is None:
            yield "names: keys of real images go along; `--pseudonymise` replaces them"


def cleared_run(job: Export, assessment: Path | None) -> Push:
    """A run that may be shared, as the export that it is shared as.

    A licence that forbids it, and an assessment with more copies than the real baseline or of
    another run, are a `DidgenError`.
    """
    licence = strictest(job.manifest.made_from).name
    check_licence(job.directory, licence)
    found = None
    if assessment:
        found = copy_check(assessment, job.directory, _made_in(job), _synthetic(job))
    return Push(job.directory, "dataset", licence, job, found)


def _is_mix(job: Export) -> bool:
    return job.manifest.recipe.get("kind") == "mix"


def _made_in(job: Export) -> str:
    """The fingerprint of the run that the synthetic samples were made in; a mix has one such run.

    Empty where a mix has no synthetic sample.
    """
    if not _is_mix(job):
        return job.manifest.fingerprint
    for config, sidecars in job.sidecars().items():
        for sidecar in sidecars:
            if any(row.get("origin") != "real" for row in sidecar.kept.values()):
                for _, members in read_shard(job.directory / config / sidecar.shard):
                    if run := json.loads(members["json"]).get("run"):
                        return str(run)
    return ""


def _synthetic(job: Export) -> Iterator[tuple[Config, str]]:
    """The synthetic samples of an export by config and by the key they have in their own run."""
    mixed = _is_mix(job)
    for config, sidecars in job.sidecars().items():
        for sidecar in sidecars:
            for key, row in sidecar.kept.items():
                if row.get("origin") != "real":
                    yield config, key.removeprefix("synthetic-") if mixed else key


def cleared_model(directory: Path) -> Push:
    """A model folder that may be shared; raises what `check_licence` raises."""
    if not any(directory.rglob("*.safetensors")):
        raise DidgenError(f"{directory} holds no safetensors; save the model as such first.")
    licence = card_licence(directory / CARD_NAME)
    if licence is None:
        raise DidgenError(
            f"{directory / CARD_NAME} names no licence, and without one nobody may use the model; "
            "write `license:` into its header."
        )
    check_licence(directory, licence)
    return Push(directory, "model", licence)


def push(asked: Push, repository: str, *, public: bool, progress: Progress | None = None) -> str:
    """Share it under `repository`, OWNER/NAME; returns the address of the commit.

    Raises DidgenError where the hub cannot be reached or refuses, and where the repository is
    public already and `public` is not given.
    """
    with told_of(repository):
        api = HfApi(library_name="didgen")
        api.whoami()
        api.create_repo(repository, repo_type=asked.kind, private=not public, exist_ok=True)
        there = api.repo_info(repository, repo_type=asked.kind)
        if not (there.private or public):
            raise DidgenError(
                f"{repository} is public, and all that is pushed there is too; give `--public`, or "
                "name another repository."
            )
    if asked.job is None:
        return _upload(api, asked, repository, asked.directory)
    with TemporaryDirectory(prefix="didgen-push-") as folder:
        out = Path(folder) / "export"
        export(replace(asked.job, out=out), progress)
        check_images(out)
        return _upload(api, asked, repository, out)


def _upload(api: HfApi, asked: Push, repository: str, folder: Path) -> str:
    model = asked.kind == "model"
    with told_of(repository):
        commit = api.upload_folder(
            repo_id=repository,
            repo_type=asked.kind,
            folder_path=folder,
            commit_message="Push by didgen",
            allow_patterns=list(MODEL_FILES) if model else None,
            ignore_patterns=list(NO_MODEL_FILES) if model else None,
            # What an earlier push had and this one has not goes.
            delete_patterns=["*.parquet", "*.safetensors", TRAINED_ON_NAME],
        )
    return str(commit.commit_url)
