"""Copy scores: what the copy check says of a sample, in the row of its shard's sidecar.

A tar does not change when its samples are judged, so the score stands beside it, where neither
`verify` nor `augment` takes it for another shard.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import write_json
from didgen.manifests.locks import sole_writer
from didgen.manifests.shards.shard import Sidecar, read_sidecar

COPY = "copy"
"""The field of a row that holds the score of the copy check."""


def write_scores(
    directory: Path, config: Config, judged: Sidecar, scores: Mapping[str, Mapping[str, Any]]
) -> None:
    """Put the score of each sample, by key, into the sidecar of its shard, atomically.

    An older score is replaced. A shard that is no longer the one that was judged is a
    `DidgenError`, and its sidecar stays as it is.
    """
    path = (directory / config / judged.shard).with_suffix(".json")
    with sole_writer(directory, path.stem, path):
        sidecar = read_sidecar(path)
        if sidecar.sha256 != judged.sha256:
            raise DidgenError(
                f"{path} is that of another shard than the one that was judged; run "
                "`didgen quality` again."
            )
        rows = [
            {**row, COPY: dict(scores[row["key"]])} if row["key"] in scores else row
            for row in sidecar.rows
        ]
        scored = sidecar.model_copy(update={"rows": rows})
        write_json(path, scored.model_dump(mode="json"), rows="rows")


def is_copy(directory: Path, sidecar: Sidecar, row: Mapping[str, Any]) -> bool:
    """Whether the copy check found the sample of a row to be one; a `DidgenError` without it."""
    score = row.get(COPY)
    if not isinstance(score, Mapping) or not isinstance(score.get("is_copy"), bool):
        raise DidgenError(
            f"{directory / sidecar.config / sidecar.shard} has the sample {row.get('key')} "
            "without the score of the copy check; run `didgen quality --write-scores` first."
        )
    return bool(score["is_copy"])
