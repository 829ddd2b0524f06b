"""ImageFolder: a run's samples as one folder a class.

Readers of folders count the classes that they find. So every split has a folder of every class that
one of them has, empty or not, and `classes.txt` has the order of the shards.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from didgen.manifests.exports.facts import sample_facts
from didgen.manifests.exports.sound_run import Export, write_file
from didgen.manifests.shards.shard import split_of

CLASSES_NAME = "classes.txt"


def write_imagefolder(job: Export, root: Path) -> Iterator[None]:
    """`images/SPLIT/CLASS/KEY.jpg`; `pairs/SPLIT/KEY.jpg`, `masks/KEY.png` and `metadata.jsonl`.

    `classes.txt` names the classes a line each, in the order of the shards' indices.
    """
    if job.manifest.classes:
        lines = "".join(f"{name}\n" for name in job.manifest.classes)
        write_file(root / CLASSES_NAME, lines.encode())
    for split, labels in job.tally.missing("images").items():
        for label in labels:
            (root / "images" / split / label).mkdir(parents=True)
    with ExitStack() as files:
        tables: dict[Path, IO[str]] = {}
        for config, shards in job.shards.items():
            for shard in shards:
                folder = root / config / split_of(shard)
                for key, members, label in job.samples(config, shard):
                    if config == "images":
                        write_file(folder / label / f"{key}.jpg", members["jpg"])
                        continue
                    write_file(folder / f"{key}.jpg", members["jpg"])
                    write_file(folder / "masks" / f"{key}.png", members["mask.png"])
                    if folder not in tables:
                        path = folder / "metadata.jsonl"
                        tables[folder] = files.enter_context(open(path, "w", encoding="utf-8"))
                    row = {
                        "file_name": f"{key}.jpg",
                        "mask_file_name": f"masks/{key}.png",
                        "key": key,
                        "class": label,
                        **sample_facts(members),
                    }
                    tables[folder].write(json.dumps(row) + "\n")
                yield
