"""The method of a model: which generator a model directory is for, in its `didgen.json`."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from didgen.manifests.choices import Method
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json, write_json
from didgen.manifests.provenance.model_files import METHOD_NAME
from didgen.manifests.provenance.models import beside
from didgen.manifests.sources.records import first_fault


class ModelMethod(BaseModel):
    """What a model directory says of its method, and what the nets are built from to be loaded.

    trained: how long, in words, such as "6000 steps of 16 images". image_size: side of its images;
    classes: those it was trained on, in the order of its nets or embeddings; conditional: one net
    for all of them; network: the section of the recipe that gives the nets their shape. A diffusion
    model says the rest in files of its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    method: Method
    trained: str = ""
    image_size: int | None = None
    classes: list[str] | None = None
    conditional: bool = False
    network: dict[str, Any] = {}

    def write(self, folder: Path) -> None:
        """Write the file of a model directory."""
        write_json(folder / METHOD_NAME, self.model_dump())


def method_of(model: str, revision: str | None = None) -> ModelMethod:
    """The method that a model directory or a model of the hub is for: DiDGen's where none is named.

    Raises DidgenError for a file that does not say so.
    """
    path = beside(model, revision, METHOD_NAME)
    if not path.is_file():
        return ModelMethod(method="didgen")
    try:
        return ModelMethod.model_validate(read_json(path))
    except ValidationError as error:
        raise DidgenError(
            f"{path} names no method that this didgen knows ({first_fault(error)}); upgrade "
            "didgen, or copy the model directory again."
        ) from None
