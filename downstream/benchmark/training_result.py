"""The record of one training of a benchmark, which is read without torch."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

RESULT_NAME = "result.json"


class Result(BaseModel):
    """`result.json` of one training: what was asked, what came out, and the hashes of its files."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    asked: dict[str, Any]
    training: dict[str, Any]
    figures: dict[str, Any]
    files: dict[str, str]
    versions: dict[str, str]
    device: str
