"""The tally of sidecars: true sums, and a size of its own whatever is added."""

from typing import Any

import pytest

from didgen.manifests.choices import Config
from didgen.manifests.shards.shard import Sidecar
from didgen.manifests.shards.tally import EXAMPLES, FAILURES, KINDS, OTHERS, Tally

KEPT: dict[str, Any] = {"status": "ok", "label": "MEL"}
FAILED: dict[str, Any] = {"status": "failed", "label": "MEL"}


def sidecar(*rows: dict[str, Any], config: Config = "images", **fields: Any) -> Sidecar:
    """A sidecar of rows, whose keys are their numbers."""
    given: dict[str, Any] = {
        "config": config,
        "shard": f"{config}-000000.tar",
        "sha256": "0" * 64,
        "bytes": 100,
        "samples": sum(row["status"] == "ok" for row in rows),
        "fingerprint": "f00d",
        "versions": {"torch": "2.11"},
        "didgen": "0.1.0",
        "timings": {"make": 2.5, "write": 1.0},
        "rows": [{"key": f"k-{number}", **row} for number, row in enumerate(rows)],
    }
    return Sidecar(**given | fields)


def test_samples_are_counted_by_config_split_origin_and_label() -> None:
    mixed = [KEPT | {"origin": "real"}, KEPT | {"origin": "synthetic"}, KEPT | {"origin": "real"}]
    tally = Tally.of(
        [
            sidecar(KEPT, KEPT, FAILED, KEPT | {"label": None}),
            sidecar(*mixed, shard="images-val-000000.tar"),
            sidecar(KEPT, config="pairs"),
        ]
    )
    assert tally.samples == {
        ("images", "train", "", "MEL"): 2,
        ("images", "train", "", ""): 1,
        ("images", "val", "real", "MEL"): 2,
        ("images", "val", "synthetic", "MEL"): 1,
        ("pairs", "train", "", "MEL"): 1,
    }
    assert tally.shards == {
        ("images", "train"): 1,
        ("images", "val"): 1,
        ("pairs", "train"): 1,
    }
    assert tally.configs == ["images", "pairs"]
    assert (tally.bytes, tally.seconds, tally.failures) == (300, 7.5, 1)


def test_masks_are_counted_by_what_guided_them() -> None:
    rows = [
        KEPT | {"layout": "drawn"},
        KEPT | {"layout": "ISIC_0000001"},
        KEPT | {"layout": "", "origin": "real"},
        FAILED | {"layout": "drawn"},
    ]
    assert Tally.of([sidecar(*rows, config="pairs")]).layouts == {
        "drawn": 1,
        "source": 1,
        "real": 1,
    }
    assert not Tally.of([sidecar(*rows)]).layouts


def test_the_first_of_each_is_kept_and_all_are_counted() -> None:
    failed = [
        FAILED | {"reason": f"near-blank: {n}", "rejected": [f"blank: {n}"]} for n in range(9)
    ]
    tally = Tally.of(sidecar(*failed) for _ in range(100))
    assert tally.failures == tally.tried == 900
    assert len(tally.failed) == FAILURES and len(tally.examples) == EXAMPLES
    assert tally.failed[0].model_dump() == {
        "config": "images",
        "shard": "images-000000.tar",
        "key": "k-0",
        "reason": "near-blank: 0",
    }
    assert tally.examples[1] == ("k-1", ["blank: 1"])
    assert tally.reasons == {"near-blank": 900} and tally.rejections == {"blank": 900}


def test_reasons_of_one_kind_differ_in_figures() -> None:
    reasons = ["the mask covers 3.25% of the image", "the mask covers 0.10% of the image"]
    assert Tally.of([sidecar(KEPT | {"rejected": reasons})]).rejections == {
        "the mask covers ...% of the image": 2
    }


def test_kinds_of_reasons_beyond_number_count_as_others() -> None:
    words = ["a" * (number // 26 + 1) + chr(97 + number % 26) for number in range(KINDS + 50)]
    tally = Tally.of([sidecar(*(FAILED | {"reason": word} for word in [*words, words[0]]))])
    assert len(tally.reasons) == KINDS + 1
    assert (tally.reasons[OTHERS], tally.reasons[words[0]]) == (50, 2)


def test_prompts_are_the_first_that_differ() -> None:
    rows = [KEPT | {"prompt": prompt} for prompt in ("a", "a", "", "b", "c", "d")]
    assert Tally.of([sidecar(*rows)]).prompts == ["a", "b", "c"]


def test_redraws_are_summed_over_what_failed_too() -> None:
    rows = [KEPT | {"redraws": 2}, FAILED | {"redraws": 3}, KEPT]
    assert Tally.of([sidecar(*rows)]).redraws == 5


def test_the_stack_has_each_value_once() -> None:
    tally = Tally.of(
        [
            sidecar(versions={"torch": "2.12", "device": "cpu"}),
            sidecar(versions={"torch": "2.11"}),
            sidecar(versions={"torch": "2.12"}),
        ]
    )
    assert tally.stack() == {"torch": "2.11; 2.12", "device": "cpu"}


@pytest.mark.parametrize("origin", ["", None])
def test_no_origin_is_an_empty_one(origin: str | None) -> None:
    tally = Tally.of([sidecar(KEPT | {"origin": origin})])
    assert list(tally.samples) == [("images", "train", "", "MEL")]
