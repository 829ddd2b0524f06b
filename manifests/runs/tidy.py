"""Tidy: what lies in a run's folders and is no file of it is cleared away."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import get_args

from didgen.manifests.choices import Config
from didgen.manifests.files import is_litter, is_local, is_temporary, leftovers
from didgen.manifests.locks import LOCKS, claimed, lock_files
from didgen.manifests.shards.shard import INFO_NAME, shard_path

SET_ASIDE = "set-aside"
"""Folder of a run directory for files that are not the run's; nothing reads them there."""


def strays(directory: Path, planned: Mapping[Config, int]) -> list[Path]:
    """Temporary files, locks, and what lies among the shards without being one of those planned.

    `planned` is the number of shards of each config.
    """
    found = [*leftovers(directory), *leftovers(directory / "sheets"), *lock_files(directory)]
    for config in get_args(Config):
        known = {INFO_NAME}
        for index in range(planned.get(config, 0)):
            tar = shard_path(directory, config, index)
            known |= {tar.name, tar.with_suffix(".json").name}
        others = (p for p in (directory / config).glob("*") if p.name not in known)
        found += sorted(p for p in others if not is_litter(p.name))
    return found


def tidy(directory: Path, found: Iterable[Path]) -> None:
    """Remove temporary files and dead locks; move other strays to `set-aside/`: nothing is lost.

    The caller holds the lock "run"; a file of a shard that another process has in hand stays.
    """
    for path in found:
        if path.parent.name == LOCKS:
            if path.stem != "run":
                # A killed process leaves the file of its lock; whoever takes the lock removes it.
                with claimed(directory, path.stem, wait=False):
                    pass
        elif not is_temporary(path):
            _set_aside(directory, path)
        elif path.parent.name in get_args(Config):
            with claimed(directory, path.name.partition(".")[0], wait=False) as ours:
                if ours:
                    path.unlink(missing_ok=True)
        else:
            path.unlink(missing_ok=True)


def _set_aside(directory: Path, path: Path) -> None:
    place = directory / SET_ASIDE / path.relative_to(directory).as_posix()
    if is_local(place):
        place.parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while place.exists():
        number += 1
        place = place.with_name(f"{path.name}-{number}")
    path.rename(place)
