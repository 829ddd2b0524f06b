"""Tests of the method of a model: named in its directory, DiDGen's where nothing is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from didgen.manifests.errors import DidgenError
from didgen.manifests.provenance.model_files import METHOD_NAME
from didgen.manifests.provenance.model_method import ModelMethod, method_of


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    method = ModelMethod(method="stylegan", trained="3 steps", classes=["MEL"], network={"a": [1]})
    method.write(tmp_path)
    assert method_of(str(tmp_path)) == method


def test_a_directory_that_names_none_is_didgens(tmp_path: Path) -> None:
    assert method_of(str(tmp_path)).method == "didgen"
    assert method_of("mini").method == "didgen"


@pytest.mark.parametrize(
    "content",
    [{"method": "gan"}, {"method": "stylegan", "layers": 3}, {}, [], {"method": [1]}],
)
def test_another_method_is_a_sentence(tmp_path: Path, content: Any) -> None:
    (tmp_path / METHOD_NAME).write_text(json.dumps(content))
    with pytest.raises(DidgenError, match=r"didgen\.json names no method .*; upgrade didgen"):
        method_of(str(tmp_path))


def test_a_file_that_is_no_json_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / METHOD_NAME).write_text("{")
    with pytest.raises(DidgenError, match="not readable JSON"):
        method_of(str(tmp_path))
