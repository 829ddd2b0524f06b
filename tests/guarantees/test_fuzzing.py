"""Mutation fuzzing: a changed file is read, or refused in one sentence; nothing else comes of it.

Each case follows from its number, which a failure names. All of them take about two minutes on
one core.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from didgen.augment.captions.caption import Cache
from didgen.downstream.benchmark.recipe import ClassifyRecipe, SegmentRecipe
from didgen.manifests.errors import DidgenError, printable
from didgen.manifests.files import sha256_of
from didgen.manifests.images import decode, read_mask
from didgen.manifests.importers.admission import ImportOptions
from didgen.manifests.importers.folder import import_folder
from didgen.manifests.importers.gathering import import_collection
from didgen.manifests.importers.ham10000 import COLLECTION as HAM10000
from didgen.manifests.importers.isic2018 import COLLECTION as ISIC2018
from didgen.manifests.privacy.personal import personal_names
from didgen.manifests.privacy.published import pixel_digests, published_image, published_mask
from didgen.manifests.provenance.trained_on import TRAINED_ON_NAME, TrainedOn
from didgen.manifests.recipes.augment import AugmentRecipe
from didgen.manifests.recipes.fields import Section
from didgen.manifests.recipes.finetune import FinetuneRecipe
from didgen.manifests.recipes.reading import RECIPES, read_recipe, recipe_text
from didgen.manifests.runs.finish import read_whole_run
from didgen.manifests.runs.verify import verify
from didgen.manifests.shards.shard import iterate, read_shard
from didgen.manifests.sources.records import SourceManifest, summary
from didgen.manifests.views.contents import find, run_contents
from tests.fixtures.mutation import Chance, mutated, mutated_json, mutated_lines, written
from tests.fixtures.pictures import encoded, noise, smooth, speckles, write_noise, write_picture

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def survives(number: object, call: Callable[[], object]) -> str:
    """What becomes of a call: "read", or "refused" where one sentence says why."""
    try:
        call()
    except DidgenError as error:
        sentence = str(error)
        assert "\n" not in printable(sentence) and len(sentence) < 4000, f"case {number}"
        return "refused"
    except Exception as error:
        raise AssertionError(f"case {number}: {type(error).__name__}: {error}") from error
    return "read"


def samples_of(tar: Path) -> list[object]:
    return list(read_shard(tar))


def digests_of(data: bytes, path: Path) -> object:
    return pixel_digests(published_image(data, path), path)


def chances(kind: int, count: int) -> Iterator[tuple[int, Chance]]:
    """The numbers of cases, each with its own source of chance."""
    for number in range(count):
        yield number, np.random.default_rng([kind, number])


def both(found: Counter[str]) -> None:
    """Both ends are met: changes that are all refused, or none, try nothing."""
    assert found["read"] > 0 and found["refused"] > 0, found


RECIPE_KINDS: dict[str, type[Section]] = {
    "augment": AugmentRecipe,
    "finetune": FinetuneRecipe,
    "classify": ClassifyRecipe,
    "segment": SegmentRecipe,
}


def test_changed_recipes(tmp_path: Path) -> None:
    texts = [path.read_text() for path in sorted(RECIPES.glob("*.yaml"))]
    path, found = tmp_path / "recipe.yaml", Counter[str]()

    def read(kind: type[Section]) -> None:
        recipe_text(read_recipe(path, kind))

    for number, chance in chances(0, 2000):
        text = mutated_lines(texts[chance.integers(len(texts))], chance)
        path.write_bytes(mutated(text.encode(), chance) if number % 2 else text.encode())
        told = text.partition("kind: ")[2].split(maxsplit=1)
        kind = RECIPE_KINDS.get(told[0] if told else "", AugmentRecipe)
        found[survives(number, partial(read, kind))] += 1
    both(found)


TABLES = (
    "image,label\np0,MEL\np1,NV\np2,NV\np3,MEL\n",
    (
        "image;label;lesion_id;patient_id;split\np0;MEL;L0;P0;train\np1;NV;L1;P1;val\n"
        "p2;NV;L2;P1;val\np3;MEL;L3;P2;test\n"
    ),
    (
        "file_name,MEL,NV,BCC,AKIEC,BKL,DF,VASC\np0.png,1.0,0,0,0,0,0,0\np1.png,0,1,0,0,0,0,0\n"
        "p2.png,0,1,0,0,0,0,0\np3.png,1,0,0,0,0,0,0\n"
    ),
)


def test_changed_tables(tmp_path: Path) -> None:
    for number in range(4):
        write_noise(tmp_path / "d" / f"p{number}.png", number, (64, 64))
    table, found = tmp_path / "t.csv", Counter[str]()
    options = ImportOptions(workers=1)

    def read() -> None:
        result = import_folder(tmp_path / "d", labels=table, licence="own", options=options)
        assert len(result.manifest.records) <= 4
        result.write(tmp_path / "out")
        SourceManifest.read(tmp_path / "out")

    for number, chance in chances(1, 700):
        text = mutated_lines(TABLES[chance.integers(len(TABLES))], chance).encode()
        table.write_bytes(mutated(text, chance) if number % 4 else text)
        found[survives(number, read)] += 1
    both(found)


def public_tree(root: Path) -> None:
    """Three images each of ISIC 2018 and of HAM10000, with their tables."""
    for number in range(3):
        name = f"ISIC_{number:07d}"
        write_noise(root / "ISIC2018_Task3_Training_Input" / f"{name}.jpg", number, (64, 64))
        write_noise(root / "HAM10000_images_part_1" / f"{name}.jpg", number, (64, 64))
        truth = root / "ISIC2018_Task1_Training_GroundTruth" / f"{name}_segmentation.png"
        write_picture(truth, speckles(number, 64, 64))
    hot = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\n" + "".join(
        f"ISIC_{n:07d},{int(n == 0)}.0,{int(n != 0)}.0,0,0,0,0,0\n" for n in range(3)
    )
    folder = root / "ISIC2018_Task3_Training_GroundTruth"
    folder.mkdir()
    (folder / "ISIC2018_Task3_Training_GroundTruth.csv").write_text(hot)
    (root / "ISIC2018_Task3_Training_LesionGroupings.csv").write_text(
        "image,lesion_id,diagnosis_confirm_type\n"
        + "".join(f"ISIC_{n:07d},HAM_{n},histopathology\n" for n in range(3))
    )
    (root / "HAM10000_metadata.csv").write_text(
        "lesion_id,image_id,dx,dx_type,age,sex,localization\n"
        + "".join(
            f"HAM_{n},ISIC_{n:07d},{'nv' if n else 'mel'},histo,4{n},male,back\n" for n in range(3)
        )
    )


def test_changed_tables_of_public_sets(tmp_path: Path) -> None:
    public_tree(tmp_path)
    tables = {path: path.read_bytes() for path in tmp_path.rglob("*.csv")}
    options, found = ImportOptions(workers=1), Counter[str]()
    for number, chance in chances(2, 400):
        path = sorted(tables)[chance.integers(len(tables))]
        path.write_bytes(mutated(tables[path], chance))
        for collection in (ISIC2018, HAM10000):
            found[survives(number, partial(import_collection, collection, tmp_path, options))] += 1
        path.write_bytes(tables[path])
    both(found)


def test_changed_records_of_a_source(source: Path, tmp_path: Path) -> None:
    header = json.loads((source / "source.json").read_text()) | {"images": 6}
    rows = [json.loads(line) for line in (source / "records.jsonl").read_text().splitlines()[:6]]
    found: Counter[str] = Counter()

    def read() -> None:
        manifest = SourceManifest.read(tmp_path)
        summary(manifest)
        personal_names(manifest)
        TrainedOn.of(manifest.records).knows_record(manifest.records[0]) if manifest.records else 0
        for record in manifest.records:
            manifest.image_path(record)

    for number, chance in chances(3, 1500):
        wanted = mutated_json(header, chance) if number % 3 == 0 else header
        several = [mutated_json(row, chance) if chance.random() < 0.3 else row for row in rows]
        files = {"source.json": written(wanted), "records.jsonl": b"\n".join(map(written, several))}
        for name, data in files.items():
            (tmp_path / name).write_bytes(mutated(data, chance) if number % 5 == 0 else data)
        found[survives(number, read)] += 1
    both(found)


def test_changed_lists_and_caches(source: Path, tmp_path: Path) -> None:
    records = SourceManifest.read(source).records
    listed = TrainedOn.of(records[:5]).text()
    cache = b"".join(
        written({"key": f"{n}", "caption": "a", "fallback": None}) + b"\n" for n in range(5)
    )
    found: Counter[str] = Counter()
    path = tmp_path / TRAINED_ON_NAME
    for number, chance in chances(4, 800):
        rows = [json.loads(line) for line in listed.splitlines()]
        place = chance.integers(len(rows))
        rows[place] = mutated_json(rows[place], chance)
        path.write_bytes(b"\n".join(map(written, rows)) if number % 2 else mutated(listed, chance))
        found[survives(number, lambda: TrainedOn.read(path).knows_record(records[0]))] += 1
        (tmp_path / "cache").write_bytes(mutated(cache, chance))
        # A cache is passed over where it is torn: it may be deleted at any time.
        assert survives(number, lambda: Cache(tmp_path / "cache").get("0")) == "read"
    both(found)


def read_run(run: Path) -> None:
    """Everything that reads a run."""
    read_whole_run(run)
    contents = run_contents(run)
    _ = contents.counts
    for config in ("images", "pairs"):
        for sample in iterate(run, config):
            find(contents, sample.key)


def test_changed_records_of_a_run(run: Path, tmp_path: Path) -> None:
    ours, found = tmp_path / "run", Counter[str]()
    shutil.copytree(run, ours)
    files = {path: path.read_bytes() for path in sorted(ours.rglob("*.json"))}
    for number, chance in chances(5, 500):
        path = list(files)[chance.integers(len(files))]
        odd = written(mutated_json(json.loads(files[path]), chance))
        path.write_bytes(odd if number % 3 else mutated(files[path], chance))
        assert survives(number, lambda: verify(ours)) == "read"
        found[survives(number, lambda: read_run(ours))] += 1
        survives(number, lambda: find(run_contents(ours), "images-000000"))
        path.write_bytes(files[path])
    both(found)


def test_changed_tars(run: Path, tmp_path: Path) -> None:
    """The sidecar says that the tar was so from the first: only the content can tell."""
    ours, found = tmp_path / "run", Counter[str]()
    shutil.copytree(run, ours)
    (ours / "manifest.json").unlink()
    tars = {path: path.read_bytes() for path in sorted(ours.rglob("*.tar"))}
    for number, chance in chances(6, 700):
        path = list(tars)[chance.integers(len(tars))]
        side = path.with_suffix(".json")
        before = side.read_text()
        path.write_bytes(mutated(tars[path], chance))
        sealed = json.loads(before) | {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        side.write_text(json.dumps(sealed))
        found[survives(number, partial(samples_of, path))] += 1
        assert survives(number, lambda: verify(ours)) == "read"
        survives(number, lambda: read_run(ours))
        path.write_bytes(tars[path])
        side.write_text(before)
    both(found)


def pictures() -> list[bytes]:
    """Small pictures of every format that is read, with metadata where it has any."""
    exif = Image.Exif()
    exif[0x112] = 6
    exif[0x10F] = "maker"
    options = {"exif": exif.tobytes()}
    photograph, mask = smooth(1, 40), speckles(2, 40, 40)
    palette = Image.fromarray(photograph).quantize(8)
    return [
        *(encoded(photograph, form, **options) for form in ("JPEG", "PNG", "WEBP")),
        *(encoded(photograph, form) for form in ("JPEG", "PNG", "BMP", "WEBP")),
        encoded(photograph, "JPEG", progressive=True),
        encoded(Image.fromarray(photograph).convert("CMYK"), "JPEG"),
        encoded(Image.fromarray(noise(3, 40, 40)).convert("RGBA"), "PNG"),
        encoded(palette, "PNG", transparency=1),
        encoded(mask, "PNG"),
        encoded(mask.astype(np.uint16), "PNG"),
        encoded(Image.fromarray(mask).convert("1"), "PNG"),
    ]


def test_changed_pictures(tmp_path: Path) -> None:
    originals, found = pictures(), Counter[str]()
    path = tmp_path / "x.png"
    for number, chance in chances(7, 2000):
        data = mutated(originals[chance.integers(len(originals))], chance)
        path.write_bytes(data)
        found[survives(number, partial(decode, data, path))] += 1
        survives(number, partial(digests_of, data, path))
        survives(number, partial(published_mask, data, path))
        survives(number, lambda: read_mask(path))
    both(found)


def test_changed_photographs_of_an_import(tmp_path: Path) -> None:
    for number in range(2):
        write_noise(tmp_path / "i" / f"{number}.jpg", number, (64, 64), exif=b"Exif\0\0")
        write_picture(tmp_path / "m" / f"{number}.png", speckles(number, 64, 64))
    files = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*.*"))}
    options, found = ImportOptions(workers=1), Counter[str]()

    def read() -> None:
        result = import_folder(tmp_path / "i", masks=tmp_path / "m", licence="own", options=options)
        assert len(result.manifest.records) + len(result.rejections) >= 2

    for number, chance in chances(8, 500):
        path = list(files)[chance.integers(len(files))]
        path.write_bytes(mutated(files[path], chance))
        with suppress(FileNotFoundError):
            found[survives(number, read)] += 1
        path.write_bytes(files[path])
    assert found["read"] == 500
