"""Tests of the rehearsal: what the files of a model tell of a training before it."""

from pathlib import Path

import pytest

from didgen.augment.finetuning.rehearsal import rehearse
from didgen.manifests.errors import DidgenError
from tests.fixtures.finetuned import quick
from tests.fixtures.tiny_xl import xl_recipe


def test_a_dry_run_says_what_maps_there_are(xl_model: Path, source: Path) -> None:
    *_, told = rehearse(xl_recipe(source, xl_model, 4), None)
    assert told.startswith("4 steps of 2 images. Estimated from")
    with pytest.raises(DidgenError, match=r"no 32x32 self-attention layer .*, only 16x16"):
        list(rehearse(quick(source, model=str(xl_model)), None))
