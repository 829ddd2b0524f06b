"""Time `didgen caption` on a source: python benchmarks/caption.py runs/isic2018 [--workers 2]."""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

from augment.caption import CACHE_FILE, Measured, caption_source, token_counter
from manifests.records import HEADER_FILE, RECORDS_FILE, SourceManifest


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
            start = time.perf_counter()
            after = caption_source(folder, captioner)
            seconds = time.perf_counter() - start
            print(f"{len(after.records)} images, {run}: {seconds:.1f} s")
        print(f"cache: {(folder / CACHE_FILE).stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
