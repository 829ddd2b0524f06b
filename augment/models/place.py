"""The place of a model: its folder or file, fetched where it is one of the hub, and its faults.

Torch and diffusers are imported only to fetch: what is wrong with a model on this machine is said
before they are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from didgen.manifests.errors import DidgenError, in_short
from didgen.manifests.provenance.model_files import fault_of
from didgen.manifests.provenance.models import model_place

KEPT_OUT = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
"""The parts of a pipeline that nothing here uses."""

_LIBRARY_FAULTS = (
    ImportError,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    SafetensorError,
)
"""What diffusers and transformers raise of a model that they cannot load."""


class ModelFault(Exception):
    """Why a model cannot be loaded, with the mend, in words that end a sentence."""


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Have whatever keeps a model from being loaded end in one sentence that names the model."""
    try:
        yield
    except ModelFault as fault:
        raise DidgenError(f"The model {model} could not be loaded: {fault}.") from None
    except _LIBRARY_FAULTS as error:
        raise DidgenError(
            f"The model {model} could not be loaded: give a folder in diffusers format with "
            "safetensors weights, one .safetensors file, or a hub id that can be reached "
            f"({in_short(error, 300)})."
        ) from None


def found(model: str, revision: str | None = None) -> Path:
    """Where a model lies, fetched first if it is one of the hub.

    Raises ModelFault where there is none, or one that didgen cannot load by what its configs and
    the names of its tensors say; to be called within `loading`.
    """
    place = model_place(model)
    if is_of_hub(model):
        place = _fetched(model, revision)
    elif not place.exists():
        raise ModelFault("there is no such folder, and no such .safetensors file")
    if fault := fault_of(place):
        raise ModelFault(fault)
    return place


def is_of_hub(model: str) -> bool:
    """Whether a model can only be one of the hub, by its name."""
    place = model_place(model)
    local = place.is_absolute() or len(place.parts) > 2 or place.suffix == ".safetensors"
    return not local and not place.exists()


def _fetched(model: str, revision: str | None) -> Path:
    """The folder of a model of the hub; its fp16 weights where it has no others."""
    from diffusers import StableDiffusionPipeline

    first: OSError | ValueError | None = None
    for variant in (None, "fp16"):
        try:
            return Path(
                StableDiffusionPipeline.download(
                    model, revision=revision, variant=variant, use_safetensors=True, **KEPT_OUT
                )
            )
        except (OSError, ValueError) as error:
            first = first or error
    assert first is not None
    raise first
