"""The network: the name, weights and arguments by which a recipe asks for one."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from didgen.manifests.recipes.fields import Positive, Section


class Network(Section):
    """A network of timm or, for masks, of `segmenters`; the weights it starts from."""

    name: str
    called: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,59}$")] = ""
    """What the report and the folder call it; the name unless one is given."""
    weights: str = "pretrained"
    """`pretrained` is what the hub has for it; `reachable` the same, or random weights where the
    hub cannot be reached; `none` is random ones; anything else is a safetensors file."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of the network, such as a width, a depth, the image size or an encoder."""
    epochs: Positive | None = None
    """Epochs of this network where they differ from the recipe's."""

    @model_validator(mode="before")
    @classmethod
    def called_by_its_name(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("called"):
            return values | {"called": values.get("name")}
        return values
