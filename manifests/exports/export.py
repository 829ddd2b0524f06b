"""Export: a run's samples in the layouts that other training code reads.

Notable choices:
- Image bytes pass through without their metadata; only nnU-Net, which reads no JPEG, gets the same
  pixels as PNG. Nothing is resized.
- Nothing is exported of a run that has a shard which is not as it was written.
- An export is made under a temporary name and is whole when it has its own.
"""

from didgen.manifests.exports.imagefolder import write_imagefolder
from didgen.manifests.exports.nnunet import write_nnunet
from didgen.manifests.exports.parquet import write_parquet
from didgen.manifests.exports.sound_run import Export
from didgen.manifests.files import atomic_folder, write_bytes
from didgen.manifests.progress import Progress
from didgen.manifests.provenance.dataset_card import card
from didgen.manifests.provenance.trained_on import CARD_NAME, TRAINED_ON_NAME


def export(job: Export, progress: Progress | None = None) -> None:
    """Carry out an export, shard by shard; a card goes with it, and what the model was trained on.

    `progress` is called with (shards done, all shards).
    """
    total = sum(len(shards) for shards in job.shards.values())
    write = {"imagefolder": write_imagefolder, "parquet": write_parquet, "nnunet": write_nnunet}[
        job.to
    ]
    if job.pseudonyms is not None:
        job.pseudonyms.store()
    with atomic_folder(job.out) as root:
        for done, _ in enumerate(write(job, root), 1):
            if progress:
                progress(done, total)
        seen = job.trained_on
        text = card(job.manifest, job.tally, job.to, seen=len(seen))
        write_bytes(root / CARD_NAME, text.encode())
        if seen:
            write_bytes(root / TRAINED_ON_NAME, seen.text())
