"""Tests of the training images: subsets by collection and class, and the words they are shown with.

A finetuning over a subset is one over a source that has nothing else, byte by byte.
"""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from didgen.augment.finetuning.dataset import RegionDataset
from didgen.augment.finetuning.finetune import finetune
from didgen.augment.finetuning.training_images import read_training_images, subset, words_of
from didgen.augment.generation.layouts import Layouts
from didgen.augment.prompts.prompt import PREFIX, compose
from didgen.augment.prompts.sentence import thin
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json_lines
from didgen.manifests.provenance.trained_on import TRAINED_ON_NAME, TrainedOn
from didgen.manifests.recipes.augment import LayoutSubset
from didgen.manifests.recipes.finetune import FinetuneRecipe
from didgen.manifests.recipes.small_model import Build
from didgen.manifests.sources.records import SourceManifest, SourceRecord

TASKS = ("isic2018-task1", "isic2018-task3")


def recipe_of(source: Path, **changes: Any) -> FinetuneRecipe:
    """A recipe of seconds over a source."""
    fields = {
        "source": source,
        "image_size": 256,
        "steps": 2,
        "batch_size": 2,
        "mixed_precision": "no",
        "prompt_dropout": 0.0,
    }
    return FinetuneRecipe.model_validate(fields | {"model": "none"} | changes)


@pytest.fixture(scope="module")
def tasks(manifest: SourceManifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny source as two collections: every third image is of Task 1, and has no label."""
    folder = tmp_path_factory.mktemp("tasks")
    records = tuple(
        record.model_copy(
            update={"source": TASKS[bool(n % 3)], "label": record.label if n % 3 else None}
        )
        for n, record in enumerate(manifest.records, 1)
    )
    SourceManifest(manifest.header, records).write(folder)
    return folder


def test_a_recipe_that_names_nothing_takes_every_training_image_with_a_mask(tasks: Path) -> None:
    manifest, records = read_training_images(recipe_of(tasks))
    assert records == manifest.select(split="train", masked=True)


@given(
    collections=st.none() | st.lists(st.sampled_from(TASKS), min_size=1, unique=True),
    exclude=st.lists(st.sampled_from(["MEL", "NV", "BCC", "DF"]), unique=True),
)
def test_a_subset_is_what_both_fields_let_through_in_its_order(
    manifest: SourceManifest, collections: list[str] | None, exclude: list[str]
) -> None:
    records = [
        record.model_copy(
            update={"source": TASKS[n % 2], "label": None if n % 4 == 0 else record.label}
        )
        for n, record in enumerate(manifest.records)
    ]
    recipe = recipe_of(Path("unused"), collections=collections, exclude=exclude)
    kept = subset(recipe, records)
    dropped = [record for record in records if record not in kept]
    assert [record for record in records if record in kept] == kept
    assert all(record.label not in exclude for record in kept)
    assert all(record.source in (collections or TASKS) for record in kept)
    for record in dropped:
        assert record.label in exclude or record.source not in (collections or TASKS)
    assert subset(recipe, kept) == kept


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"collections": ["isic2018-task2"]},
            r"collection isic2018-task2, which is not among isic2018-task1, isic2018-task3\.",
        ),
        ({"exclude": ["nv"]}, r"`exclude` names the class nv, which is not among AKIEC, .*, VASC"),
        (
            {
                "collections": ["isic2018-task3"],
                "exclude": ["MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"],
            },
            r"leave none of the 9 training images with a mask in .*; let more through",
        ),
        (
            {"collections": ["isic2018-task1"], "prompt": "class"},
            r"`prompt: class` needs labels, and none of the 3 training images .* `prompt: prefix`",
        ),
        (
            {"collections": ["isic2018-task1"], "subset": {"k": 4}},
            r"`subset` asks for 4 training images and .* has 3 of these",
        ),
    ],
)
def test_a_subset_that_is_not_there_is_a_sentence(
    tasks: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(DidgenError, match=sentence):
        read_training_images(recipe_of(tasks, **changes))


def test_the_images_of_a_scale_are_those_whose_masks_are_its_layouts(tasks: Path) -> None:
    few = {"k": 2, "seed": [42, 1]}
    manifest, records = read_training_images(
        recipe_of(tasks, collections=["isic2018-task1"], subset=few)
    )
    keep = LayoutSubset.model_validate({**few, "collections": ["isic2018-task1"]})
    assert {record.key for record in records} == {*Layouts(64, manifest, keep=keep).records}
    assert len(records) == 2 and {record.source for record in records} == {"isic2018-task1"}


def test_only_captions_that_are_read_must_be_there(
    manifest: SourceManifest, tmp_path: Path
) -> None:
    records = tuple(r.model_copy(update={"caption": None}) for r in manifest.records)
    SourceManifest(manifest.header, records).write(tmp_path)
    for prompt in ("class", "prefix"):
        assert len(read_training_images(recipe_of(tmp_path, prompt=prompt))[1]) == 9
    with pytest.raises(DidgenError, match="has no captions; run `didgen caption` on it first"):
        read_training_images(recipe_of(tmp_path))


def test_words_are_those_that_the_recipe_says(manifest: SourceManifest) -> None:
    caption = "melanoma, a small oval tan lesion at the left, sharp border."
    record = manifest.records[0].model_copy(update={"label": "MEL", "caption": caption})
    found = {
        prompt: words_of(recipe_of(Path("unused"), prompt=prompt), record)
        for prompt in ("caption", "class", "prefix")
    }
    assert found == {"caption": caption, "class": "melanoma.", "prefix": None}
    unlabelled = record.model_copy(update={"label": None})
    assert words_of(recipe_of(Path("unused"), prompt="class"), unlabelled) is None


def test_a_class_reads_like_a_caption_thinned_to_it(manifest: SourceManifest) -> None:
    class Never:
        """A generator by which no further clause is kept."""

        def random(self) -> float:
            return 0.0

    record = manifest.records[0].model_copy(update={"label": "NV"})
    words = words_of(recipe_of(Path("unused"), prompt="class"), record)
    assert words == thin("melanocytic nevus, a tiny round tan lesion at the top.", Never())  # type: ignore[arg-type]


@pytest.mark.parametrize("prompt", ["class", "prefix"])
def test_words_are_dropped_and_drawn_like_captions(manifest: SourceManifest, prompt: str) -> None:
    changes = {"prompt": prompt, "caption_probability": 0.7, "prompt_dropout": 0.2, "cache": False}
    recipe = recipe_of(Path("unused"), **changes)
    captioned = recipe.model_copy(update={"prompt": "caption"})
    train = manifest.select(split="train")
    one, other = (RegionDataset(manifest, train, each, 1000) for each in (recipe, captioned))
    drawn = []
    for number in range(60):
        item, as_captioned = one[number, number % 9], other[number, number % 9]
        record = train[number % 9]
        expected = {
            "": "",
            PREFIX.rstrip(): PREFIX.rstrip(),
            compose(record.caption): compose(words_of(recipe, record)),
        }
        assert item["prompt"] == expected[as_captioned["prompt"]]
        assert item["timestep"] == as_captioned["timestep"]
        assert (item["noise"] == as_captioned["noise"]).all()
        drawn.append(item["prompt"])
    assert set(drawn) == set(one.prompts())
    assert len(set(drawn)) == {"class": 7 + 2, "prefix": 2}[prompt]


def test_a_thinned_class_is_refused() -> None:
    with pytest.raises(ValueError, match="`caption_thinning` thins captions, and needs"):
        recipe_of(Path("unused"), prompt="class", caption_thinning=0.5, cache=False)


def model_files(folder: Path) -> dict[str, bytes]:
    """The weights and lists of a finetuned model."""
    names = ("*/*.safetensors", "*.jsonl", "tokenizer/*")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for name in names
        for path in sorted(folder.glob(name))
    }


@pytest.mark.slow
def test_a_subset_trains_the_bytes_of_a_source_of_its_own(
    tasks: Path, shape: Build, tmp_path: Path
) -> None:
    """Also what goes along: lists, captions, card; the sheet has its validation images alone."""
    whole = SourceManifest.read(tasks)
    changes = {"model": None, "build": shape, "prompt": "class", "checkpoint_every": 2}
    asked = recipe_of(tasks, collections=["isic2018-task3"], exclude=["NV"], **changes)

    def wanted(record: SourceRecord) -> bool:
        return record.source == "isic2018-task3" and record.label != "NV"

    own = SourceManifest(whole.header, tuple(filter(wanted, whole.records)))
    own.write(tmp_path / "source")
    alone = finetune(recipe_of(tmp_path / "source", **changes), tmp_path / "alone")
    model = finetune(asked, tmp_path / "subset")
    assert model_files(model) == model_files(alone)
    train = own.select(split="train")
    assert 0 < len(train) < len(whole.select(split="train")) - 3
    assert TrainedOn.read(model / TRAINED_ON_NAME) == TrainedOn.of(train)
    captions = read_json_lines(model / "captions.jsonl")
    assert captions == [{"label": r.label, "caption": words_of(asked, r)} for r in train]
    card = (model / "README.md").read_text()
    assert f"data: isic2018-task3, {len(train)} real images" in card
    assert "isic2018-task1," not in card
    (sheet,), (other,) = ((tmp_path / n / "sheets").glob("*") for n in ("alone", "subset"))
    assert sheet.read_bytes() == other.read_bytes()
