"""Tests of scores in sidecars: there after a judgement, and no other shard for that."""

from collections.abc import Callable
from pathlib import Path

import pytest

from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json
from didgen.manifests.recipes.mix import MixRecipe
from didgen.manifests.runs.copy_scores import write_scores
from didgen.manifests.runs.finish import finished
from didgen.manifests.runs.mix import mix, prepare_mix
from didgen.manifests.runs.verify import verify
from didgen.manifests.shards.index import read_manifest
from didgen.manifests.shards.rows import shard_is_whole
from didgen.manifests.shards.shard import iterate, read_sidecar, read_sidecars


def judged(run: Path, copies: set[str]) -> None:
    configs: tuple[Config, ...] = ("images", "pairs")
    for config in configs:
        for sidecar in read_sidecars(run, config):
            scores = {key: {"nearest": "a", "is_copy": key in copies} for key in sidecar.kept}
            write_scores(run, config, sidecar, scores)


def test_scores_change_rows_and_nothing_else(make_run: Callable[..., Path], tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    before = {path: read_json(path) for path in sorted(run.glob("*/*-0*.json"))}
    tars = {path: path.read_bytes() for path in run.glob("*/*.tar")}
    judged(run, {"images-000001"})
    assert {path: path.read_bytes() for path in tars} == tars
    for path, sidecar in before.items():
        after = read_json(path)
        for row in after["rows"]:
            score = row.pop("copy", None)
            assert (score is None) == (row["status"] == "failed")
            assert not score or score["is_copy"] == (row["key"] == "images-000001")
        assert after == sidecar
    assert [sample.row["copy"]["nearest"] for sample in iterate(run, "images")] == ["a"] * 10


def test_a_judged_run_is_whole_to_verify_and_to_augment(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run")
    judged(run, set())
    assert {verdict.status for verdict in verify(run)} == {"ok"}
    assert finished(run, {"images": 2, "pairs": 2}, ["MEL", "NV", "BCC"]) == read_manifest(run)
    keys = [row["key"] for row in read_sidecar(run / "images" / "images-000000.json").rows]
    assert shard_is_whole(run, "images", 0, fingerprint="f00d", keys=keys)
    assert not (run / ".locks").exists()


def test_a_second_judgement_replaces_the_first(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run")
    judged(run, {"images-000001"})
    judged(run, {"images-000002"})
    made = read_sidecar(run / "images" / "images-000000.json").kept
    assert [key for key, row in made.items() if row["copy"]["is_copy"]] == ["images-000002"]


def test_a_shard_that_was_made_again_is_not_scored(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run")
    other = read_sidecars(run, "images")[0].model_copy(update={"sha256": "0" * 64})
    before = (run / "images" / "images-000000.json").read_bytes()
    with pytest.raises(DidgenError, match=r"images-000000\.json is that of another shard"):
        write_scores(run, "images", other, {"images-000000": {"is_copy": True}})
    assert (run / "images" / "images-000000.json").read_bytes() == before


def test_a_mix_drops_copies_and_says_what_it_is_short_of(
    make_run: Callable[..., Path], source: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run")
    judged(run, {"images-000000", "images-000003"})
    asked = MixRecipe(source=source, run=run, ratio=1, config="images", drop_copies=True)
    job = prepare_mix(asked)
    out = tmp_path / "mix"
    mix(job, out)
    taken = {s.key for s in iterate(out, "images") if s.row["origin"] == "synthetic"}
    assert taken == {f"synthetic-images-{n:06d}" for n in range(10) if n not in (0, 3)}
    assert job.shortages["images MEL"] == (6, 4)
    assert {verdict.status for verdict in verify(out)} == {"ok"}
    everything = prepare_mix(asked.model_copy(update={"drop_copies": False}))
    assert everything.fingerprint != job.fingerprint
    assert everything.shortages["images MEL"] == (6, 5)
