"""Commands that draw and train nothing load neither torch nor what is built on it."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import growth
from benchmarks.growth import STAGES, Place, Watch
from tests.fixtures.pictures import encoded, noise
from tests.fixtures.recipes import written

HEAVY = {"torch", "diffusers", "transformers", "scipy", "skimage", "matplotlib", "pyarrow"}
"""Packages of which each takes a large part of a second, and torch several."""

SCRIPT = f"""
import sys
from didgen.cli import main
for line in sys.stdin:
    sys.argv = line.rstrip("\\n").split("\\t")
    try:
        main()
    except SystemExit as ended:
        loaded = {{name.partition(".")[0] for name in sys.modules}} & {HEAVY}
        print(*sys.argv[1:], ended.code, *sorted(loaded), sep="\\t", file=sys.stderr)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A source, and a finished run of a few samples."""
    found = Place(tmp_path_factory.mktemp("light") / "samples", 8)
    growth.write_source(found.source)
    STAGES["write"](found, Watch(0))
    STAGES["finish"](found, Watch(0))
    return found


def test_light_commands_load_nothing_heavy(place: Place) -> None:
    source, photos = str(place.source), place.folder / "photos"
    photos.mkdir()
    for number in range(12):
        (photos / f"{number}.png").write_bytes(encoded(noise(number, 64, 64), "PNG"))
    recipe = written(
        place.folder,
        {"kind": "finetune", "source": source, "model": "mini", "image_size": 256, "steps": 9}
        | {"prompt": "class", "batch_size": 2},
    )
    out = ("--licence", "CC0-1.0", "--out", str(place.folder / "imported"))
    commands = [
        ["--help"],
        ["inspect", source],
        ["inspect", str(place.run)],
        ["verify", str(place.run)],
        ["import", "folder", str(photos), "--for-model", "mini", *out],
        ["caption", source, "--dry-run"],
        ["augment", "--dry-run"],
        ["finetune", str(recipe), "--dry-run"],
    ]
    lines = "".join("\t".join(["didgen", *command]) + "\n" for command in commands)
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=lines, capture_output=True, text=True, cwd=Path.cwd()
    )
    told = [line for line in process.stderr.splitlines() if "\t" in line]
    assert told == ["\t".join([*command, "0"]) for command in commands], process.stderr
