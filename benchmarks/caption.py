"""Time `didgen caption` on a source: python benchmarks/caption.py runs/isic2018 [--workers 2]."""

import argparse
import resource
import shutil
import tempfile
import time
from pathlib import Path

from didgen.augment.captions.caption import CACHE_FILE, Measured, caption_source
from didgen.augment.models.tokens import token_counter
from didgen.manifests.sources.records import HEADER_FILE, RECORDS_FILE, SourceManifest


def main() -> None:
    """Caption a copy of the source's manifest from nothing, and then again with all finished."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    captioner = Measured(token_counter("mini"), arguments.workers)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in (HEADER_FILE, RECORDS_FILE):
            shutil.copy(arguments.source / file, folder / file)
        manifest = SourceManifest.read(folder)
        bare = [r.model_copy(update={"caption": None}) for r in manifest.records]
        SourceManifest(manifest.header, tuple(bare)).rewrite(folder)
        for run in ("from nothing", "again"):
            start, worked = time.perf_counter(), _workers_seconds()
            after = caption_source(folder, captioner)
            seconds, worked = time.perf_counter() - start, _workers_seconds() - worked
            print(
                f"{len(after.records)} images, {run}: {seconds:.1f} s, "
                f"{worked:.1f} s of processor time in {arguments.workers} workers",
                flush=True,
            )
        print(f"cache: {(folder / CACHE_FILE).stat().st_size / 2**20:.1f} MiB")


def _workers_seconds() -> float:
    """Processor time of the workers so far; on a busy machine it says more than a clock."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
