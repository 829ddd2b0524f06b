"""Tests of files that systems put into folders unasked: whatever reads or writes a run passes them
by, and none is lost."""

import shutil
from pathlib import Path

from didgen.manifests.exports.export import export
from didgen.manifests.exports.sound_run import prepare_export
from didgen.manifests.recipes.mix import MixRecipe
from didgen.manifests.runs.claim import start_run
from didgen.manifests.runs.mix import mix, prepare_mix
from didgen.manifests.runs.tidy import strays
from didgen.manifests.runs.verify import verify
from didgen.manifests.shards.shard import iterate
from didgen.manifests.views.contents import run_contents
from tests.fixtures.runs import FINGERPRINT, RECIPE

LITTER = (".DS_Store", "Thumbs.db", "desktop.ini", "._images-000000.tar", "._images-000000.json")


def strew(folder: Path) -> list[Path]:
    """Put what systems leave into a folder and those below it."""
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    laid = [place / name for place in folders for name in LITTER]
    for path in laid:
        path.write_bytes(b"\0\5\x16\7 litter")
    return laid


def test_a_run_among_litter_is_read_as_it_is(run: Path, source: Path, tmp_path: Path) -> None:
    ours = tmp_path / "run"
    shutil.copytree(run, ours)
    laid = strew(ours)
    assert verify(ours) == [
        type(verdict)(verdict.file, verdict.status, verdict.sentence.replace(str(run), str(ours)))
        for verdict in verify(run)
    ]
    assert strays(ours, {"images": 2, "pairs": 2}) == []
    assert [s.key for s in iterate(ours, "images")] == [s.key for s in iterate(run, "images")]
    assert run_contents(ours).counts == run_contents(run).counts
    start_run(ours, fingerprint=FINGERPRINT, recipe=dict(RECIPE))
    out = tmp_path / "mix"
    (out / "images").mkdir(parents=True)
    strew(out)
    mix(prepare_mix(MixRecipe(source=source, run=ours, ratio=1)), out)
    strew(out)
    assert {verdict.status for verdict in verify(out)} == {"ok"}
    export(prepare_export(out, "imagefolder", tmp_path / "export"))
    names = {path.name for path in (tmp_path / "export").rglob("*")}
    assert names.isdisjoint(LITTER)
    assert all(path.is_file() for path in laid)
