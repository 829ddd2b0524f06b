"""Tests of the schema: attributes are words of a closed vocabulary."""

import pytest
from pydantic import ValidationError

from didgen.augment.prompts.schema import Attributes, Lesion, Surround
from tests.fixtures.attributes import FULL, PLAIN


def test_attributes_refuse_words_outside_the_vocabulary() -> None:
    with pytest.raises(ValidationError):
        Attributes.model_validate({**FULL.model_dump(), "diagnosis": "nevus, atypical"})
    with pytest.raises(ValidationError):
        Lesion.model_validate({**FULL.model_dump()["lesion"], "size": "huge"})
    with pytest.raises(ValidationError):
        Surround.model_validate({**PLAIN.model_dump(), "jewellery": True})
