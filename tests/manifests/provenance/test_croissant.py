"""Tests of croissant: mlcroissant takes it without an error and iterates its records."""

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from didgen.manifests.files import sha256_of
from didgen.manifests.provenance.croissant import croissant
from didgen.manifests.shards.index import read_manifest
from didgen.manifests.shards.shard import iterate

# In a process of its own: it keeps what it unpacks in a folder that it chooses on import.
READ = """
import hashlib, io, json, sys
import mlcroissant
from PIL import Image

data = mlcroissant.Dataset(sys.argv[1])
found = {"errors": sorted(data.metadata.ctx.issues.errors), "licence": data.metadata.license}
for name in ("classes", "images", "pairs"):
    found[name] = []
    for record in data.records(name):
        row = {}
        for field, value in record.items():
            if isinstance(value, Image.Image):
                value = hashlib.sha256(value.tobytes()).hexdigest()
            row[field.split("/")[1]] = value.decode() if isinstance(value, bytes) else value
        found[name].append(row)
print(json.dumps(found, default=int))
"""


def read(path: Path, cache: Path) -> dict[str, Any]:
    result = subprocess.run(
        [sys.executable, "-c", READ, str(path)],
        env=os.environ | {"CROISSANT_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def pixels(data: bytes) -> str:
    return hashlib.sha256(Image.open(io.BytesIO(data)).tobytes()).hexdigest()


def test_mlcroissant_validates_it_and_reads_every_record(run: Path, tmp_path: Path) -> None:
    found = read(run / "croissant.json", tmp_path)
    assert found["errors"] == []
    assert found["licence"] == ["CC-BY-4.0"]
    assert found["classes"] == [
        {"index": 0, "name": "MEL"},
        {"index": 1, "name": "NV"},
        {"index": 2, "name": "BCC"},
    ]
    for config in ("images", "pairs"):
        by_key = {row.pop("key"): row for row in found[config]}
        for sample in iterate(run, config):
            row = by_key.pop(sample.key)
            assert row["image"] == pixels(sample.members["jpg"])
            assert row["record"] == sample.members["json"].decode()
            if config == "images":
                assert row["label"] == int(sample.members["cls"])
            else:
                assert row["mask"] == pixels(sample.members["mask.png"])
        assert not by_key


@pytest.mark.slow
def test_mlcroissant_finds_a_changed_tar(
    run: Path, make_run: Callable[..., Path], tmp_path: Path
) -> None:
    mine = make_run(tmp_path / "run")
    tar = mine / "images" / "images-000000.tar"
    whole = bytearray(tar.read_bytes())
    whole[2000] ^= 1
    tar.write_bytes(whole)
    with pytest.raises(AssertionError, match="not identical with the"):
        read(mine / "croissant.json", tmp_path / "cache")


def test_every_tar_is_named_with_its_hash(run: Path) -> None:
    value = json.loads((run / "croissant.json").read_text())
    tars = {one["contentUrl"]: one["sha256"] for one in value["distribution"] if "sha256" in one}
    assert tars == {
        str(path.relative_to(run)): sha256_of(path) for path in sorted(run.rglob("*.tar"))
    }
    assert value["conformsTo"] == "http://mlcommons.org/croissant/1.0"


def test_the_same_run_gives_the_same_text(run: Path) -> None:
    manifest = read_manifest(run)
    assert croissant(manifest) == (run / "croissant.json").read_text()
