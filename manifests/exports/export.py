"""Export: a run's samples in the layouts that other training code reads.

Notable choices:
- Image bytes pass through as they are; only nnU-Net, which reads no JPEG, gets the same pixels as
  PNG. Nothing is resized.
- Nothing is exported of a run that has a shard which is not as it was written.
- An export is made under a temporary name and is whole when it has its own.
"""

from didgen.manifests.exports.imagefolder import _imagefolder
from didgen.manifests.exports.nnunet import _nnunet
from didgen.manifests.exports.parquet import _parquet
from didgen.manifests.exports.sound_run import Export, Progress
from didgen.manifests.files import atomic_folder, write_bytes
from didgen.manifests.provenance.dataset_card import card
from didgen.manifests.provenance.trained_on import CARD_NAME, TRAINED_ON_NAME


def export(job: Export, progress: Progress | None = None) -> None:
    """Carry out an export, shard by shard; a card goes with it, and what the model was trained on.

    `progress` is called with (shards done, all shards).
    """
    total = sum(len(shards) for shards in job.sidecars.values())
    write = {"imagefolder": _imagefolder, "parquet": _parquet, "nnunet": _nnunet}[job.to]
    with atomic_folder(job.out) as root:
        for done, _ in enumerate(write(job, root), 1):
            if progress:
                progress(done, total)
        seen = job.trained_on
        text = card(job.manifest, job.sidecars, job.to, seen=len(seen))
        write_bytes(root / CARD_NAME, text.encode())
        if seen:
            write_bytes(root / TRAINED_ON_NAME, seen.text())
