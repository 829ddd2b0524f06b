"""nnU-Net: a run's pairs as raw data with `dataset.json` and splits."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from didgen.manifests.choices import Split
from didgen.manifests.exports.folds import Folds
from didgen.manifests.exports.sound_run import Export, record_of, write_file
from didgen.manifests.files import write_json
from didgen.manifests.images import decode, encoded
from didgen.manifests.provenance.licence import strictest
from didgen.manifests.shards.shard import split_of


def write_nnunet(job: Export, root: Path) -> Iterator[None]:
    """nnU-Net v2's raw format for natural images: RGB in one PNG a case, labels of 0 and 1.

    Training and validation cases are all in `imagesTr`, as nnU-Net has it; the five folds of
    `splits_final.json` keep them apart.
    """
    cases: Counter[Split] = Counter()
    folds = Folds()
    for shard in job.shards["pairs"]:
        split = split_of(shard)
        part = "Ts" if split == "test" else "Tr"
        for key, members, _ in job.samples("pairs", shard):
            name = Path(shard) / key
            image = decode(members["jpg"], name.with_suffix(".jpg")).convert("RGB")
            mask = np.asarray(decode(members["mask.png"], name.with_suffix(".mask.png"))) > 0
            write_file(root / f"images{part}" / f"{key}_0000.png", encoded(image, "PNG"))
            write_file(root / f"labels{part}" / f"{key}.png", encoded(mask.astype(np.uint8), "PNG"))
            cases[split] += 1
            folds.add(key, split, record_of(members))
        yield
    folds.write(root / "splits_final.json")
    write_json(
        root / "dataset.json",
        {
            "name": job.out.name,
            "description": "Dermoscopic images and lesion masks. Not for diagnosis.",
            "licence": strictest(job.manifest.made_from).name,
            "channel_names": {"0": "R", "1": "G", "2": "B"},
            "labels": {"background": 0, "lesion": 1},
            "numTraining": cases["train"] + cases["val"],
            "file_ending": ".png",
            "overwrite_image_reader_writer": "NaturalImage2DIO",
        },
    )
