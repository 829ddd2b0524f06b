"""The plan of a mix: the choice, order and bytes of a reference that holds everything in memory."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from didgen.manifests.choices import Config, Split
from didgen.manifests.files import read_json_lines, sha256_of
from didgen.manifests.images import decode, encoded, is_upright, read_mask, upright
from didgen.manifests.recipes.fingerprint import fingerprint
from didgen.manifests.recipes.mix import MixRecipe
from didgen.manifests.runs.finish import Provenance
from didgen.manifests.runs.mix import mix, prepare_mix
from didgen.manifests.runs.mix_plan import interleave, last_places, wanted_counts
from didgen.manifests.shards.index import Ingredient, read_manifest
from didgen.manifests.shards.shard import Sample, Stamp, iterate, shard_path, write_shard
from didgen.manifests.sources.records import SPLITS, SourceManifest, SourceRecord
from tests.fixtures.runs import write_run
from tests.fixtures.samples import CLASSES, noise_sample

CONFIGS: tuple[Config, ...] = ("images", "pairs")
AS_FIRST_WRITTEN = {
    *("mask_sha256", "pixels", "published"),
    *("mask_orientation", "mask_inverted", "patient_id", "mask_by"),
}
"""Fields that came to records later: a mix has the fingerprint that it had without them."""
NOT_ASKED = {"source", "run", "reviewed"}
"""Where things lie, and a field that recipes got later, at its default."""
GUIDES = ("drawn", "ISIC_0000001", "drawn", "ISIC_0000012")


def place(seed: int, key: str) -> bytes:
    """Where a key stands in the seeded order."""
    return hashlib.sha256(f"{seed}/{key}".encode()).digest()


@dataclass
class Reference:
    """A mix as plain lists: everything is read, sorted and cut in memory."""

    recipe: MixRecipe

    def __post_init__(self) -> None:
        self.source = SourceManifest.read(self.recipe.source)
        self.run = read_manifest(self.recipe.run)
        self.made: dict[str, Sample] = {}

    def real(self, config: Config) -> list[dict[str, Any]]:
        wanted = (r for r in self.source.records if (r.label if config == "images" else r.mask))
        return [
            {
                "config": config,
                "key": f"real-{record.key}",
                "label": record.label or "",
                "split": record.split,
                "origin": "real",
                "taken": record.key,
                "source_key": record.key,
                "shard": "",
                "layout": "",
            }
            for record in wanted
        ]

    def synthetic(self, config: Config) -> Iterator[dict[str, Any]]:
        for entry in self.run.configs[config]:
            folder = self.recipe.run / config
            rows = json.loads((folder / entry.file).with_suffix(".json").read_text())["rows"]
            for row in rows:
                if row["status"] == "ok":
                    guide = row["layout"] if row["layout"] != "drawn" else ""
                    yield {
                        "config": config,
                        "key": f"synthetic-{row['key']}",
                        "label": row["label"],
                        "split": "train",
                        "origin": "synthetic",
                        "taken": row["key"],
                        "source_key": guide,
                        "shard": entry.file,
                        "layout": row["layout"],
                    }
        self.made |= {sample.key: sample for sample in iterate(self.recipe.run, config)}

    def chosen(self, config: Config) -> list[dict[str, Any]]:
        """As many as the ratio asks of each class of images or of all pairs, in the run's order."""

        def group(item: dict[str, Any]) -> str:
            return str(item["label"]) if config == "images" else ""

        made = list(self.synthetic(config))
        train = Counter(group(item) for item in self.real(config) if item["split"] == "train")
        taken: set[str] = set()
        for name, count in train.items():
            keys = [item["key"] for item in made if group(item) == name]
            keys.sort(key=lambda key: place(self.recipe.seed, key))
            taken |= {*keys[: math.floor(self.recipe.ratio * count + 0.5)]}
        return [item for item in made if item["key"] in taken]

    def shards(self) -> Iterator[tuple[Config, Split, int, list[dict[str, Any]]]]:
        for config in (self.recipe.config,) if self.recipe.config else CONFIGS:
            real, chosen = self.real(config), self.chosen(config)
            for split in SPLITS:
                items = [item for item in real if item["split"] == split]
                items.sort(key=lambda item: place(self.recipe.seed, item["key"]))
                if split == "train":
                    at = [((n + 0.5) / len(p), i) for p in (items, chosen) for n, i in enumerate(p)]
                    items = [item for _, item in sorted(at, key=lambda pair: pair[0])]
                size = self.recipe.shard_size
                for index in range(math.ceil(len(items) / size)):
                    yield config, split, index, items[index * size : (index + 1) * size]

    def fingerprint(self) -> str:
        items = [item for *_, part in self.shards() for item in part]
        records = {record.key: record for record in self.source.records}
        used = {i["taken"]: records[i["taken"]] for i in items if i["origin"] == "real"}
        pairs = {i["taken"] for i in items if i["origin"] == "real" and i["config"] == "pairs"}
        return fingerprint(
            {
                "recipe": self.recipe.model_dump(mode="json", exclude=NOT_ASKED),
                "classes": self.source.header.classes,
                "plan": items,
                "records": [
                    r.model_dump(mode="json", exclude=AS_FIRST_WRITTEN) for r in used.values()
                ],
                "masks": {key: sha256_of(self.source.mask_path(records[key])) for key in pairs},
                "run": [entry.sha256 for shards in self.run.configs.values() for entry in shards],
                "images": "without metadata",
            }
        )

    def sample(self, item: dict[str, Any]) -> Sample:
        record = next((r for r in self.source.records if r.key == item["source_key"]), None)
        if item["origin"] == "real":
            assert record is not None
            members = self.members(record, item["config"])
            said = {"licence": record.licence, "prompt": record.caption or "", "seed": -1}
        else:
            made = self.made[item["taken"]]
            members = {n: d for n, d in made.members.items() if n in ("jpg", "mask.png")}
            of = json.loads(made.members["json"])
            said = {"licence": "CC-BY-4.0", "prompt": of["prompt"], "seed": of["seed"]}
        label = CLASSES.index(item["label"]) if item["label"] else -1
        synthetic = item["origin"] == "synthetic"
        said |= {
            "key": item["key"],
            "label": label,
            "class": item["label"],
            "origin": item["origin"],
            "split": item["split"],
            "source_key": item["source_key"],
            "lesion_id": record.lesion_id if record else "",
            "layout": item["layout"],
            "run": self.run.fingerprint if synthetic else "",
            "run_key": item["taken"] if synthetic else "",
        }
        members["json"] = json.dumps(said, sort_keys=True).encode()
        if item["config"] == "images":
            members["cls"] = str(label).encode()
        return Sample(item["key"], members)

    def members(self, record: SourceRecord, config: Config) -> dict[str, bytes]:
        path = self.source.image_path(record)
        data = path.read_bytes()
        image = decode(data, path)
        if image.format != "JPEG" or not is_upright(image):
            data = encoded(upright(image).convert("RGB"), "JPEG", quality=95, subsampling=0)
        if config == "images":
            return {"jpg": data}
        mask = Image.fromarray(read_mask(self.source.mask_path(record))).convert("L")
        return {"jpg": data, "mask.png": encoded(mask, "PNG")}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 90 images and 60 pairs in shards of unequal sizes."""

    def shards(config: Config, *sizes: int) -> list[list[Sample]]:
        numbers = iter(range(sum(sizes)))
        return [
            [
                noise_sample(
                    config,
                    number,
                    CLASSES[number * number % 3],
                    GUIDES[number % 4] if config == "pairs" else "",
                )
                for number in (next(numbers) for _ in range(size))
            ]
            for size in sizes
        ]

    return write_run(
        tmp_path_factory.mktemp("large") / "run",
        {"images": shards("images", 40, 1, 30, 19), "pairs": shards("pairs", 20, 0, 40)},
        classes=list(CLASSES),
        provenance=Provenance([Ingredient(kind="model", name="mini", licence="CC-BY-4.0")]),
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"ratio": 0.5},
        {"ratio": 1.7, "seed": 7, "shard_size": 5},
        {"ratio": 4, "seed": 3, "shard_size": 1000},
        {"ratio": 0, "config": "pairs"},
        {"ratio": 2, "config": "images", "shard_size": 1},
    ],
)
def test_a_mix_is_byte_for_byte_that_of_the_reference(
    large: Path, source: Path, tmp_path: Path, fields: dict[str, Any]
) -> None:
    recipe = MixRecipe.model_validate({"source": source, "run": large, "shard_size": 16} | fields)
    reference, out = Reference(recipe), tmp_path / "mix"
    job = prepare_mix(recipe)
    mix(job, out)
    expected = list(reference.shards())
    assert read_json_lines(out / "plan.jsonl") == [item for *_, part in expected for item in part]
    for config, split, index, items in expected:
        write_shard(
            tmp_path / "reference",
            config,
            index,
            map(reference.sample, items),
            Stamp("f00d"),
            split=split,
        )
    names = [shard_path(Path(), config, index, split) for config, split, index, _ in expected]
    assert sorted(names) == sorted(path.relative_to(out) for path in out.rglob("*.tar"))
    for name in names:
        assert sha256_of(out / name) == sha256_of(tmp_path / "reference" / name), name
    assert job.fingerprint == reference.fingerprint()


groups = st.dictionaries(st.sampled_from("abc"), st.integers(0, 8), max_size=3)
keys = st.lists(st.integers(0, 99), unique=True, max_size=12)


def choose(wanted: dict[str, int], made: dict[str, list[str]], seed: int) -> set[str]:
    """The keys that come no later than the last place of their group."""
    pairs = [(group, key) for group, part in made.items() for key in part]
    last = last_places(wanted, lambda: ((group, place(seed, key)) for group, key in pairs))
    return {key for group, key in pairs if group in last and place(seed, key) <= last[group]}


@settings(deadline=None)
@given(groups, st.dictionaries(st.sampled_from("abc"), keys, max_size=3), st.integers(0, 9))
def test_choice_is_as_many_as_wanted_or_all_there_are(
    wanted: dict[str, int], made: dict[str, list[int]], seed: int
) -> None:
    named = {group: [f"{group}-{number}" for number in part] for group, part in made.items()}
    chosen = choose(wanted, named, seed)
    for group, part in named.items():
        assert len(chosen & {*part}) == min(wanted.get(group, 0), len(part))
    assert chosen <= {key for part in named.values() for key in part}
    turned = {group: part[::-1] for group, part in named.items()}
    assert choose(wanted, turned, seed) == chosen
    more = {group: count + 1 for group, count in wanted.items()}
    assert chosen <= choose(more, named, seed)


def test_places_that_share_their_first_bits_are_told_apart() -> None:
    alike = [b"\x00\x00" + number.to_bytes(30) for number in range(20)]
    for count in range(21):
        last = last_places({"a": count}, lambda: (("a", one) for one in reversed(alike)))
        assert [one for one in alike if one <= last["a"]] == alike[:count]


def test_every_key_is_as_likely() -> None:
    made = {"a": [f"a-{number}" for number in range(10)]}
    drawn = Counter(key for seed in range(2000) for key in choose({"a": 3}, made, seed))
    assert min(drawn.values()) > 500 and max(drawn.values()) < 700


@given(st.dictionaries(st.sampled_from("abc"), st.integers(0, 1000)), st.floats(0, 100))
def test_wanted_counts_are_the_ratio_to_the_nearest_whole(
    real: dict[str, int], ratio: float
) -> None:
    for group, count in wanted_counts(real, ratio).items():
        assert abs(count - ratio * real[group]) <= 0.5


@given(st.integers(0, 40), st.integers(0, 40))
def test_interleaving_keeps_both_orders_and_spreads_them(many: int, few: int) -> None:
    ones, others = [("a", n) for n in range(many)], [("b", n) for n in range(few)]
    found = list(interleave(ones, others, many, few))
    for name, count in (("a", many), ("b", few)):
        assert [n for part, n in found if part == name] == list(range(count))
    for end in range(len(found) + 1):
        ahead = sum(part == "a" for part, _ in found[:end])
        assert abs(ahead - end * many / max(1, many + few)) <= 1
