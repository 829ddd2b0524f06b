"""Tests of counting tokens: the counts are those of transformers, which draws the images."""

import json
from pathlib import Path

import pytest

from didgen.augment.models.tokens import token_counter
from didgen.augment.prompts.prompt import P_TOKENS, compose
from didgen.manifests.errors import DidgenError
from didgen.manifests.provenance.models import CAPTIONS_NAME, MINI

ODD = ["", "x" * 500, "ÄÖ é 1234 mm", "don't  we'll", "<LESION> <|endoftext|>", "\n\t 中文 😀 ½"]


def test_counts_are_those_of_transformers() -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(str(MINI), subfolder="tokenizer")
    theirs.model_max_length = 10**9
    lines = (MINI / CAPTIONS_NAME).read_text().splitlines()[::100]
    texts = ODD + [compose(json.loads(line)["caption"]) for line in lines]
    count = token_counter("mini")
    assert [count(text) for text in texts] == [len(theirs(text).input_ids) for text in texts]


def test_a_tokenizer_of_two_files_is_read_too(tmp_path: Path) -> None:
    found = json.loads((MINI / "tokenizer" / "tokenizer.json").read_text())["model"]
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    known = {word: at for word, at in found["vocab"].items() if word not in P_TOKENS}
    (folder / "vocab.json").write_text(json.dumps(known))
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in found["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))
    ours, mini = token_counter(str(tmp_path)), token_counter("mini")
    text = compose("melanoma, 3 mm, irregular.")
    assert ours(text) == mini(text)


def test_a_broken_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer.json").write_text("{}")
    with pytest.raises(DidgenError, match=r"tokenizer of the model .* could not be loaded"):
        token_counter(str(tmp_path))
