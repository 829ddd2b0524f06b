"""Accepted samples: which of a run's samples reviewers accept, and how they correct them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from didgen.manifests.choices import Config
from didgen.manifests.reviews.consensus import Consensus, SampleId
from didgen.manifests.reviews.redrawn import redrawn_mask
from didgen.manifests.shards.shard import Sidecar


@dataclass(frozen=True)
class Accepted:
    """The consensus on the samples of a run; classes: the names its class indices stand for."""

    found: Mapping[SampleId, Consensus]
    classes: Sequence[str]

    def of(self, config: Config, key: str) -> Consensus | None:
        """The consensus on a sample that is accepted, else None."""
        consensus = self.found.get((config, key))
        return consensus if consensus and consensus.verdict == "accepted" else None

    def rows(self, sidecar: Sidecar) -> Sidecar:
        """A sidecar with the rows of failed samples and of accepted ones, classes corrected."""
        rows = []
        samples = 0
        for row in sidecar.rows:
            if row["status"] == "failed":
                rows.append(row)
            elif consensus := self.of(sidecar.config, row["key"]):
                rows.append(row | ({"label": consensus.label} if consensus.label else {}))
                samples += 1
        return sidecar.model_copy(update={"rows": rows, "samples": samples})

    def corrected(self, members: dict[str, bytes], consensus: Consensus) -> dict[str, bytes]:
        """The members of an accepted sample with the class and the outline of its reviewers."""
        changed = dict(members)
        if consensus.label:
            index = self.classes.index(consensus.label)
            record = json.loads(members["json"]) | {"label": index, "class": consensus.label}
            changed["json"] = json.dumps(record).encode()
            if "cls" in members:
                changed["cls"] = str(index).encode()
        if consensus.curves and "mask.png" in members:
            changed["mask.png"] = redrawn_mask(consensus.curves, members["jpg"], Path("image.jpg"))
        return changed
