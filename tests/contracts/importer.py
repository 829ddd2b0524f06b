"""Contract of importers: what holds for every way in which a collection becomes a source.

A test module inherits from it, writes a collection and imports it:

    class TestMine(ImporterContract):
        def write(self, folder: Path) -> None: ...

        def importing(self, folder: Path, **options: Any) -> Import:
            return import_mine(folder, ImportOptions(**options))
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from didgen.manifests.errors import DidgenError
from didgen.manifests.importers.admission import Import
from didgen.manifests.provenance.trained_on import TrainedOn
from didgen.manifests.shards.shard import check_key
from didgen.manifests.sources.records import SourceManifest


class ImporterContract:
    """What holds for every importer."""

    def write(self, folder: Path) -> None:
        """Write a sound collection of at least ten images, no two of them alike."""
        raise NotImplementedError

    def importing(self, folder: Path, **options: Any) -> Import:
        """Import the collection in a folder; `options` are those that all importers have."""
        raise NotImplementedError

    @pytest.fixture
    def collection(self, tmp_path: Path) -> Path:
        """The sound collection."""
        self.write(tmp_path / "collection")
        return tmp_path / "collection"

    def test_a_sound_collection_is_imported_whole(self, collection: Path) -> None:
        result = self.importing(collection)
        assert result.rejections == ()
        records = result.manifest.records
        assert len(records) >= 10
        assert [record.key for record in records] == sorted({record.key for record in records})
        for record in records:
            check_key(f"synthetic-{record.key}")
            with Image.open(result.manifest.image_path(record)) as image:
                assert image.size == (record.width, record.height)
            assert record.label is None or record.label in result.manifest.header.classes
            assert record.licence and record.source

    def test_it_comes_back_as_it_was_written(self, collection: Path, tmp_path: Path) -> None:
        result = self.importing(collection)
        result.write(tmp_path / "source")
        assert SourceManifest.read(tmp_path / "source") == result.manifest

    def test_the_same_collection_gives_the_same_bytes(
        self, collection: Path, tmp_path: Path
    ) -> None:
        for name, workers in (("one", 1), ("two", 4)):
            self.importing(collection, workers=workers).write(tmp_path / name)
        for name in ("source.json", "records.jsonl", "rejected.jsonl"):
            one, two = (tmp_path / folder / name for folder in ("one", "two"))
            assert one.read_bytes() == two.read_bytes()

    @pytest.mark.parametrize("seed", [0, 1, 42])
    def test_no_patient_or_lesion_is_in_two_splits(self, collection: Path, seed: int) -> None:
        splits = defaultdict(set)
        result = self.importing(collection, seed=seed, fractions=(0.6, 0.2, 0.2))
        for record in result.manifest.records:
            splits[record.unit].add(record.split)
        assert all(len(found) == 1 for found in splits.values())
        assert {split for found in splits.values() for split in found} == {"train", "val", "test"}

    def test_progress_counts_every_image(self, collection: Path) -> None:
        seen: list[tuple[int, int]] = []
        result = self.importing(collection, progress=lambda *at: seen.append(at))
        count = len(result.manifest.records)
        assert seen == [(done, count) for done in range(1, count + 1)]

    def test_every_faulty_image_is_rejected_with_a_sentence(self, collection: Path) -> None:
        sound = self.importing(collection)
        torn, empty, twin, *others = sound.manifest.records
        alike = [record for record in others if record.label == twin.label]
        path = sound.manifest.image_path
        path(torn).write_bytes(path(torn).read_bytes()[:-40])
        path(empty).write_bytes(b"")
        path(twin).write_bytes(path(alike[-1]).read_bytes())
        result = self.importing(collection)
        rejected = {rejection.file: rejection for rejection in result.rejections}
        kept = {str(path(record)) for record in result.manifest.records}
        # Every image is either a record or a rejection.
        assert kept | rejected.keys() == {str(path(record)) for record in sound.manifest.records}
        assert not kept & rejected.keys()
        assert {str(path(torn)), str(path(empty))} < rejected.keys()
        assert len(rejected) == 3
        for file, rejection in rejected.items():
            assert Path(file).name in rejection.sentence
            assert "\n" not in rejection.sentence and rejection.sentence.endswith(".")

    def test_what_a_model_was_trained_on_is_not_held_out(self, collection: Path) -> None:
        plain = self.importing(collection).manifest
        seen = TrainedOn.of(plain.records[:3])
        manifest = self.importing(collection, for_models=[("mini", seen)]).manifest
        known = [record for record in manifest.records if seen.knows(record, record.sha256)]
        assert len(known) >= 3
        assert {record.split for record in known} == {"train"}

    def test_a_missing_or_empty_folder_is_one_sentence(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        for folder in (tmp_path / "gone", tmp_path / "empty"):
            with pytest.raises(DidgenError, match=folder.name) as caught:
                self.importing(folder)
            assert "\n" not in str(caught.value) and str(caught.value).endswith(".")

    def test_shares_that_are_none_are_one_sentence(self, collection: Path) -> None:
        with pytest.raises(DidgenError, match="not three shares"):
            self.importing(collection, fractions=(1.0, 1.0, 1.0))
