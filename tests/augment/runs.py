"""Small runs for tests: what is asked, what is in them, and how they are damaged."""

import json
from pathlib import Path

from manifests.recipe import AugmentRecipe


def recipe(model: Path, **fields: object) -> AugmentRecipe:
    """A small recipe: two classes of two images and three pairs, in shards of two."""
    given = {
        "model": str(model),
        "images": {"per_class": {"MEL": 2, "BCC": 2}},
        "pairs": {"count": 3, "layouts": "drawn"},
        "sampling": {"steps": 2, "batch_size": 2},
        # A model of random weights meets no gate but by chance.
        "gates": {"mask_area": [0, 1], "components": None, "layout_iou": 0, "redraws": 1},
        "shard_size": 2,
    }
    return AugmentRecipe.model_validate(given | fields)


def contents(out: Path) -> dict[str, object]:
    """Every file of a run: its bytes, or a sidecar without its timings."""
    found: dict[str, object] = {}
    for path in sorted((path for path in out.rglob("*") if path.is_file()), key=str):
        name = path.relative_to(out).as_posix()
        found[name] = path.read_bytes()
        if path.suffix == ".json" and path.with_suffix(".tar").exists():
            found[name] = json.loads(path.read_bytes()) | {"timings": None}
    return found


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-700])


def flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:700] + bytes([data[700] ^ 1]) + data[701:])


def lay(path: Path) -> None:
    path.write_bytes(b"not of the run")
