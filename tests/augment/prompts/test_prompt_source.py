"""Tests of where prompts come from: captions of a class, as they are and recombined."""

import json
from pathlib import Path

import pytest

from didgen.augment.prompts.prompt import PREFIX
from didgen.augment.prompts.prompt_source import Prompts, captions_of, read_captions
from didgen.manifests.errors import DidgenError
from tests.fixtures.captions import MEASURED, MEL_CAPTION, words


def test_a_prompt_keeps_to_the_limit_of_tokens() -> None:
    prompt = Prompts(MEASURED, words, limit=14).draw("MEL", 0)
    assert words(prompt) <= 14
    assert prompt.startswith(f"{PREFIX}melanoma")


def test_written_captions_come_as_often_as_they_are_there() -> None:
    mixed = captions_of([*[("MEL", f"Written {n}.") for n in range(9)], ("MEL", MEL_CAPTION)])
    prompts = Prompts(mixed, words)
    written = sum("Written" in prompts.draw("MEL", seed) for seed in range(200))
    assert 150 < written < 200


def test_prompts_recombine_within_a_class_only() -> None:
    prompts = Prompts(MEASURED, words)
    seen = {prompts.draw("MEL", seed) for seed in range(40)}
    assert len(seen) == 4  # two lesions x two surrounds
    assert all(text.startswith(f"{PREFIX}melanoma, ") for text in seen)


def test_captions_of_unknown_form_are_used_as_they_are() -> None:
    prompts = Prompts(captions_of([("MEL", "Something a person wrote.")]), words)
    assert prompts.draw("MEL", 3) == f"{PREFIX}Something a person wrote."
    with pytest.raises(DidgenError, match="No caption of the class BCC is known"):
        prompts.draw("BCC", 3)


@pytest.mark.parametrize(
    "row",
    [{"label": 1, "caption": "a"}, {"label": "MEL", "caption": 5}, {"label": "MEL"}, ["MEL", "a"]],
)
def test_captions_of_another_kind_are_named(tmp_path: Path, row: object) -> None:
    path = tmp_path / "captions.jsonl"
    path.write_text(json.dumps({"label": None, "caption": "a lesion."}) + "\n" + json.dumps(row))
    with pytest.raises(DidgenError, match=r"captions.jsonl must hold a label and a caption a line"):
        read_captions(path)
