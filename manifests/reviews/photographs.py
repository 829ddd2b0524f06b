"""Photographs: what reviewers say of the masks of a source that no person drew.

Notable choices:
- A review is of one mask, by the hash of its file. Where that was redrawn, the reviews of the old
  one count no more. A photograph whose mask is gone keeps what was said of the last.
- Files are changed as by any editor: `annotate` finds that, and knows such a mask for a person's.
"""

from collections.abc import Mapping
from pathlib import Path

from didgen.manifests.files import naming, write_bytes
from didgen.manifests.images import encoded
from didgen.manifests.reviews.consensus import Consensus, consensus_of, last_words
from didgen.manifests.reviews.log import ReviewLog
from didgen.manifests.reviews.redrawn import mask_of
from didgen.manifests.sources.records import SourceManifest

REJECTED = "rejected"
"""Where masks lie that reviewers rejected, beside the others."""


def drawn_masks(manifest: SourceManifest) -> dict[str, str]:
    """By key the hash of each mask that no person drew, as its file is now."""
    return {
        record.key: manifest.mask_digest(record)
        for record in manifest.records
        if record.mask_by and manifest.mask_path(record).is_file()
    }


def reviewed_masks(folder: Path) -> dict[str, Consensus]:
    """By key what the reviewers of a source say together of its masks that no person drew."""
    manifest, reviews = SourceManifest.read(folder), ReviewLog(folder).reviews()
    if not reviews:
        return {}
    there = drawn_masks(manifest)
    own = {record.key for record in manifest.records if record.truth}
    of = [
        one
        for one in reviews
        if one.key not in own and there.get(one.key, one.sha256) == one.sha256
    ]
    words = last_words(of, (one.sha256 for one in of))
    return {key: consensus_of([*said.values()]) for (_, key), said in words.items()}


def carry_out(folder: Path, reviewed: Mapping[str, Consensus]) -> None:
    """Write the outlines that reviewers drew into the files of masks, and put rejected ones aside.

    The files are replaced one by one, and one that a crash leaves is done by the next call.
    """
    if not reviewed:
        return
    manifest = SourceManifest.read(folder)
    there = drawn_masks(manifest)
    for record in manifest.records:
        consensus = reviewed.get(record.key)
        if consensus is None or record.key not in there:
            continue
        path = manifest.mask_path(record)
        with naming(path):
            if consensus.verdict == "rejected":
                (path.parent / REJECTED).mkdir(exist_ok=True)
                path.replace(path.parent / REJECTED / path.name)
            elif consensus.verdict == "accepted" and consensus.curves:
                mask = mask_of(consensus.curves, record.height, record.width)
                write_bytes(path, encoded(mask.astype("u1") * 255, "PNG"))
