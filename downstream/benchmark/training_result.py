"""The records of one training of a benchmark and of its test, which are read without torch."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

RESULT_NAME = "result.json"

TESTED_NAME = "tested.json"


class Result(BaseModel):
    """`result.json` of one training: what was asked, what came out, and the hashes of its files.

    Format 1 had the figures of test images, and no predictions on validation images.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1, 2] = 2
    asked: dict[str, Any]
    training: dict[str, Any]
    figures: dict[str, Any]
    files: dict[str, str]
    versions: dict[str, str]
    device: str


class Tested(BaseModel):
    """`tested.json` of one training: its figures on test images, by the part that holds them.

    of: the hash of the training's predictions on validation images. data: by part, what its images
    are. files: by name, the hashes of predictions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    of: str
    data: dict[str, str]
    figures: dict[str, dict[str, Any]]
    files: dict[str, str]
