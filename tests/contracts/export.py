"""Contract of exports: what holds for every layout that a run is exported to.

A test module inherits from it, names its layout and reads it back:

    class TestYolo(ExportContract):
        to = "yolo"

        def read(self, out: Path) -> Pictures: ...
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from didgen.manifests.choices import Config, ExportForm
from didgen.manifests.errors import DidgenError
from didgen.manifests.exports.export import export
from didgen.manifests.exports.sound_run import prepare_export
from didgen.manifests.provenance.trained_on import TrainedOn
from didgen.manifests.shards.shard import iterate, shard_path
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.pictures import decoded

Picture = tuple[np.ndarray, np.ndarray | None]
"""An image, and its mask of 0 and 255 where it is of a pair."""
Pictures = Mapping[tuple[Config, str], Picture]
"""Every picture of an export by the config and key of its sample."""


class ExportContract:
    """What holds for every export."""

    to: ClassVar[ExportForm]
    name: ClassVar[str] = "exported"
    """A name that its folder may have."""
    configs: ClassVar[tuple[Config, ...]] = ("images", "pairs")
    """What of a run it holds."""

    def read(self, out: Path) -> Pictures:
        """The pictures of an export, read without didgen."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def out(cls, run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """The run of noise in this layout, to read only."""
        out = tmp_path_factory.mktemp("exports") / cls.name
        export(prepare_export(run, cls.to, out))
        return out

    def test_every_sample_arrives_with_its_pixels(self, out: Path, run: Path) -> None:
        found = self.read(out)
        samples = {
            (config, sample.key): sample
            for config in self.configs
            for sample in iterate(run, config)
        }
        assert found.keys() == samples.keys()
        for place, sample in samples.items():
            image, mask = found[place]
            np.testing.assert_array_equal(image, decoded(sample.members["jpg"]))
            assert (mask is None) == (place[0] == "images")
            if mask is not None:
                np.testing.assert_array_equal(mask, decoded(sample.members["mask.png"]))

    def test_a_card_lies_beside_it(self, out: Path) -> None:
        text = (out / "README.md").read_text()
        assert "license: cc-by-4.0" in text
        assert "Not for diagnosis" in text

    @pytest.fixture
    def listed(self, source: Path, make_run: Callable[..., Path], tmp_path: Path) -> Path:
        """An export of a run that says which images its model was trained on."""
        trained_on = TrainedOn.of(SourceManifest.read(source).select(split="train"))
        made = make_run(tmp_path / "run", trained_on=trained_on)
        export(prepare_export(made, self.to, tmp_path / self.name))
        return tmp_path / self.name

    def test_what_the_model_was_trained_on_goes_along(self, listed: Path, source: Path) -> None:
        trained_on = TrainedOn.of(SourceManifest.read(source).select(split="train"))
        assert (listed / "trained_on.jsonl").read_bytes() == trained_on.text()
        assert "`trained_on.jsonl` lists 18 real images" in (listed / "README.md").read_text()
        counts = {"images": 10, "pairs": 6}
        assert len(self.read(listed)) == sum(counts[config] for config in self.configs)

    def test_the_same_run_gives_the_same_bytes(self, out: Path, run: Path, tmp_path: Path) -> None:
        again = tmp_path / self.name
        export(prepare_export(run, self.to, again))
        files = {path.relative_to(out) for path in out.rglob("*") if path.is_file()}
        assert files == {path.relative_to(again) for path in again.rglob("*") if path.is_file()}
        for file in files:
            assert (again / file).read_bytes() == (out / file).read_bytes(), file

    def test_progress_counts_shards(self, run: Path, tmp_path: Path) -> None:
        seen: list[tuple[int, int]] = []
        export(prepare_export(run, self.to, tmp_path / self.name), lambda *at: seen.append(at))
        shards = 2 * len(self.configs)
        assert seen == [(done, shards) for done in range(1, shards + 1)]

    def test_what_exists_is_refused_and_untouched(self, run: Path, tmp_path: Path) -> None:
        (tmp_path / self.name).mkdir()
        with pytest.raises(DidgenError, match="exists already"):
            prepare_export(run, self.to, tmp_path / self.name)
        assert not list((tmp_path / self.name).iterdir())

    @pytest.mark.parametrize("damage", ["flip", "delete", "sidecar"])
    def test_nothing_is_exported_of_a_run_that_is_not_whole(
        self, make_run: Callable[..., Path], tmp_path: Path, damage: str
    ) -> None:
        mine = make_run(tmp_path / "run")
        tar = shard_path(mine, "pairs", 1)
        if damage == "flip":
            data = bytearray(tar.read_bytes())
            data[700] ^= 1
            tar.write_bytes(data)
        elif damage == "delete":
            tar.unlink()
        else:
            tar.with_suffix(".json").write_text("{}")
        with pytest.raises(DidgenError, match=r"pairs-000001.*didgen augment"):
            prepare_export(mine, self.to, tmp_path / self.name)
        assert not (tmp_path / self.name).exists()

    def test_nothing_has_its_name_where_a_run_breaks_on_the_way(
        self, run: Path, tmp_path: Path
    ) -> None:
        mine = Path(shutil.copytree(run, tmp_path / "run"))
        job = prepare_export(mine, self.to, tmp_path / self.name)
        tar = shard_path(mine, "pairs", 1)
        tar.write_bytes(tar.read_bytes()[:600])
        with pytest.raises(DidgenError, match=r"pairs-000001\.tar"):
            export(job)
        assert [path.name for path in tmp_path.iterdir()] == ["run"]
