"""Tests of folds: every real case is validated once, and no unit stands on both sides."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from didgen.manifests.choices import Split
from didgen.manifests.exports.folds import FOLDS, Folds

Case = tuple[str, Split, dict[str, Any]]
"""Key, split and record."""


def real(number: int, lesion: str, split: Split = "train", **more: Any) -> Case:
    name = f"ISIC_{number}"
    record = {"origin": "real", "source_key": name, "lesion_id": lesion, **more}
    return f"real-{name}", split, record


def synthetic(number: int, guide: str) -> Case:
    """A pair guided by the mask of a real image, or by a drawn one where there is no name."""
    return f"synthetic-{number}", "train", {"origin": "synthetic", "source_key": guide}


def folds_of(cases: Sequence[Case], path: Path) -> list[dict[str, list[str]]]:
    folds = Folds()
    for case in cases:
        folds.add(*case)
    path.unlink(missing_ok=True)
    folds.write(path)
    return json.loads(path.read_text()) if path.exists() else []


@st.composite
def sets(draw: st.DrawFn) -> list[Case]:
    """Real pairs of a few lesions, each in one split, and pairs that they guided."""
    units = draw(st.lists(st.sampled_from(["train", "val", "test"]), min_size=1, max_size=12))
    cases: list[Case] = []
    for unit, split in enumerate(units):
        for _ in range(draw(st.integers(1, 4))):
            cases.append(real(len(cases), f"L{unit}", split))  # type: ignore[arg-type]
    training = [record["source_key"] for _, split, record in cases if split == "train"] + [""]
    guides = draw(st.lists(st.sampled_from(training), max_size=12))
    cases += [synthetic(number, guide) for number, guide in enumerate(guides)]
    return draw(st.permutations(cases))


@settings(deadline=None)
@given(sets())
def test_no_lesion_and_no_twin_of_it_is_trained_on_where_it_is_validated(
    tmp_path_factory: pytest.TempPathFactory, cases: list[Case]
) -> None:
    found = folds_of(cases, tmp_path_factory.getbasetemp() / "folds.json")
    records = {key: record for key, _, record in cases}
    lesion_of = {r["source_key"]: r["lesion_id"] for r in records.values() if "lesion_id" in r}
    open_keys = {key for key, split, _ in cases if split != "test"}
    reals = {key for key in open_keys if records[key]["origin"] == "real"}
    assert len(found) == (FOLDS if reals else 0)
    for fold in found:
        train, val = set(fold["train"]), set(fold["val"])
        assert len(fold["train"] + fold["val"]) == len(train | val)
        assert val and val <= reals
        validated = {records[key]["lesion_id"] for key in val}
        assert not validated & {lesion_of.get(records[key]["source_key"]) for key in train}
        # Nothing is left out but the twins of what is validated.
        left = open_keys - train - val
        assert all(lesion_of[records[key]["source_key"]] in validated for key in left)
        assert not left & reals
    assert reals == {key for fold in found for key in fold["val"]}
    lesions = {records[key]["lesion_id"] for key in reals}
    splits = {split for key, split, _ in cases if key in reals}
    if len(lesions) >= FOLDS and splits == {"train"}:
        sizes = [key for fold in found for key in fold["val"]]
        assert len(sizes) == len(reals), "every case is validated once"


def test_the_first_fold_is_the_sources_own_split(tmp_path: Path) -> None:
    cases = [real(n, f"L{n}", "val" if n < 3 else "train") for n in range(11)]
    cases += [synthetic(n, f"ISIC_{3 + n}") for n in range(8)]
    first, *others = folds_of(cases, tmp_path / "folds.json")
    assert first["val"] == ["real-ISIC_0", "real-ISIC_1", "real-ISIC_2"]
    assert len(first["train"]) == 16, "all that is for training, synthetic pairs too"
    assert [len(fold["val"]) for fold in others] == [2, 2, 2, 2]
    assert [len(fold["train"]) for fold in others] == [15, 15, 15, 15]


def test_images_of_one_patient_are_validated_together(tmp_path: Path) -> None:
    cases = [real(n, f"L{n}", patient=1 + n % 6) for n in range(12)]
    for fold in folds_of(cases, tmp_path / "folds.json"):
        patients = [{int(key.removeprefix("real-ISIC_")) % 6 for key in fold[s]} for s in fold]
        assert not patients[0] & patients[1]


def test_few_lesions_fill_five_folds_none_of_which_is_empty(tmp_path: Path) -> None:
    found = folds_of([real(0, "L0"), real(1, "L1")], tmp_path / "folds.json")
    assert [len(fold["val"]) for fold in found] == [1] * FOLDS


def test_without_real_pairs_there_are_no_folds(tmp_path: Path) -> None:
    assert folds_of([synthetic(0, "ISIC_0"), synthetic(1, "")], tmp_path / "folds.json") == []


def test_the_order_of_the_cases_changes_no_fold(tmp_path: Path) -> None:
    cases = [real(n, f"L{n // 2}") for n in range(20)]
    one, other = (folds_of(c, tmp_path / "folds.json") for c in (cases, cases[::-1]))
    for a, b in zip(one, other, strict=True):
        assert set(a["val"]) == set(b["val"])
