"""Tests of the options that commands share."""

from pathlib import Path

import pytest
import typer

from didgen.manifests.options import folder, needs_out, place


def test_a_place_may_lie_in_a_store_and_a_folder_may_not(tmp_path: Path) -> None:
    assert place(str(tmp_path)) == folder(str(tmp_path)) == tmp_path
    assert str(place("memory://didgen/run")) == "memory://didgen/run"
    with pytest.raises(typer.BadParameter, match="takes a folder or file of this machine"):
        folder("s3://bucket/run")


def test_a_command_that_lacks_its_folder_names_the_option() -> None:
    fault = needs_out("a mix")
    assert (fault.message, fault.param_hint) == ("a mix needs a folder", "--out")
