"""Tests of card: a header the Hub takes, true counts, and text that stays text."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import DatasetCard
from huggingface_hub.repocard import metadata_load
from hypothesis import given, settings
from hypothesis import strategies as st

from didgen.manifests.provenance.dataset_card import Form, card
from didgen.manifests.shards.index import Ingredient, Manifest, read_manifest
from didgen.manifests.shards.shard import read_sidecars
from didgen.manifests.shards.tally import Tally


def parts(run: Path) -> tuple[Manifest, Tally]:
    manifest = read_manifest(run)
    return manifest, Tally.of(s for config in manifest.configs for s in read_sidecars(run, config))


def header_of(path: Path) -> dict[str, Any]:
    header = metadata_load(path)
    assert header is not None
    return header


def test_header_is_what_the_hub_reads(run: Path) -> None:
    data = DatasetCard.load(run / "README.md").data
    assert data.license == "cc-by-4.0"
    assert data.size_categories == ["n<1K"]
    assert data.task_categories == ["image-classification", "image-segmentation"]
    assert {"dermoscopy", "synthetic", "not-for-diagnosis"} <= set(data.tags)
    assert data.configs == [
        {
            "config_name": config,
            "data_files": [{"split": "train", "path": f"{config}/{config}-*.tar"}],
            **({"default": True} if config == "images" else {}),
        }
        for config in ("images", "pairs")
    ]
    images, pairs = (
        {column["name"]: column["dtype"] for column in info["features"]}
        for info in data.dataset_info
    )
    assert images["cls"] == {"class_label": {"names": {"0": "MEL", "1": "NV", "2": "BCC"}}}
    assert "cls" not in pairs and pairs["mask.png"] == "image"


def test_it_says_what_the_set_is_and_comes_from(run: Path) -> None:
    text = (run / "README.md").read_text()
    assert "**Not for diagnosis.**" in text
    assert "| class | images | pairs |" in text
    assert "| MEL | 5 | 3 |" in text
    assert "| BCC | 5 | 3 |" in text
    assert "| **all** | 10 | 6 |" in text
    assert "NV |" not in text
    assert "0 MEL, 1 NV, 2 BCC." in text
    assert f"| model: mini | CC-BY-4.0 | {'0' * 64} |" in text
    assert "- lesion 0\n- lesion 1\n- lesion 2\n" in text
    assert "guided by 6 drawn shapes; nobody" in text
    assert "| device | cpu, because there is no GPU |" in text
    assert "    kind: augment\n    model: mini\n" in text
    assert "| near-blank image | 2 |" in text
    assert 'load_dataset("path/to/this/folder", "pairs")' in text


@pytest.mark.parametrize(
    "changed",
    [
        {"recipe": {"kind": "augment", "sampling": {"annotation": {"mask": "layout"}}}},
        {"decisions": {"method": "pix2pixhd, a port"}},
    ],
)
def test_masks_that_are_layouts_are_not_said_to_be_cut_from_attention(
    run: Path, changed: dict[str, Any]
) -> None:
    manifest, tally = parts(run)
    text = card(manifest.model_copy(update=changed), tally)
    assert "are the layouts that these were drawn for, made of 6 drawn shapes; nobody" in text
    assert "Eq. 7" not in text


def test_the_same_run_gives_the_same_text(run: Path) -> None:
    manifest, tally = parts(run)
    assert card(manifest, tally) == card(manifest, tally) == (run / "README.md").read_text()


@pytest.mark.parametrize(
    ("form", "path"),
    [("parquet", "images/train-*.parquet"), ("imagefolder", "images/train/**"), ("nnunet", None)],
)
def test_exports_have_a_card_of_their_own_layout(
    run: Path, tmp_path: Path, form: Form, path: str | None
) -> None:
    (tmp_path / "README.md").write_text(card(*parts(run), form))
    header = header_of(tmp_path / "README.md")
    configs = header.get("configs")
    assert path == (configs and configs[0]["data_files"][0]["path"])
    assert "webdataset tars" not in (tmp_path / "README.md").read_text()


def test_a_licence_without_an_id_on_the_hub_is_other(run: Path, tmp_path: Path) -> None:
    manifest, tally = parts(run)
    foreign = Ingredient(kind="data", name="photos", licence="Ask: Bob & Co")
    manifest = manifest.model_copy(update={"made_from": [foreign]})
    (tmp_path / "README.md").write_text(card(manifest, tally))
    header = header_of(tmp_path / "README.md")
    assert (header["license"], header["license_name"]) == ("other", "ask-bob-co")
    assert "counts as the strictest" in (tmp_path / "README.md").read_text()


HOSTILE = (
    "evil | cell |\n---\nlicense: mit\n---\n# Heading <script>alert(1)</script> "
    "![x](http://a.b/c) `code` *bold* {{ 7 * 7 }} ```\x1b[2J\u2028&amp;"
)


def test_hostile_text_stays_text(run: Path, tmp_path: Path) -> None:
    manifest, tally = parts(run)
    tally.reasons = Counter([HOSTILE])
    manifest = manifest.model_copy(
        update={
            "classes": [HOSTILE, "NV", "BCC"],
            "decisions": {HOSTILE: HOSTILE},
            "recipe": {"kind": "augment", "model": HOSTILE, "sampling": {HOSTILE: HOSTILE}},
            "made_from": [Ingredient(kind="data", name=HOSTILE, licence=HOSTILE)],
        }
    )
    path = tmp_path / "README.md"
    path.write_text(card(manifest, tally))
    text = path.read_text()
    assert header_of(path)["license"] == "other"
    body = text.split("\n---\n", 1)[1]
    outside_code = [line for line in body.splitlines() if not line.startswith("    ")]
    assert "49" not in text and "\x1b" not in text and "\u2028" not in text
    for line in outside_code:
        assert "<script" not in line and line != "---"
        assert not re.search(r"(?<!\\)!?(?<!\\)\[x", line)
    headings = [line for line in outside_code if line.startswith("#")]
    assert len(headings) == 7
    # Each row of a table has as many unescaped bars as its head.
    bars = [len(re.findall(r"(?<!\\)\|", line)) for line in outside_code if line.startswith("|")]
    assert set(bars) == {3, 4}


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_class_name_gives_a_header_and_one_cell(run: Path, name: str) -> None:
    manifest, tally = parts(run)
    text = card(manifest.model_copy(update={"classes": [name, "NV", "BCC"]}), tally)
    header, body = text.removeprefix("---\n").split("\n---\n", 1)
    assert yaml.safe_load(header)["license"] == "cc-by-4.0"
    assert len([line for line in body.splitlines() if line.startswith("- **images**")]) == 1
    assert body.count("\n## ") == 6


def test_a_run_that_names_no_ingredient_is_of_unknown_licence(run: Path) -> None:
    manifest, tally = parts(run)
    manifest = manifest.model_copy(update={"made_from": [], "recipe": {}, "decisions": {}})
    text = card(manifest, tally)
    assert "| not recorded | - | - |" in text
    assert "license: other\n" in text
