"""Tokens: how many positions a prompt takes in a model's text encoder, counted without the model.

Notable choices:
- The file `tokenizer.json` is read by `tokenizers` itself: `transformers`, which imports torch, is
  asked only where a model has none.
"""

from collections.abc import Callable
from pathlib import Path

from tokenizers import Tokenizer

from didgen.augment.prompts.prompt import P_TOKENS
from didgen.manifests.errors import DidgenError, in_short
from didgen.manifests.provenance.model_files import configs_of
from didgen.manifests.provenance.models import model_place


def token_counter(model: str) -> Callable[[str], int]:
    """Count the tokens of a prompt as the tokenizer of a Stable Diffusion model does.

    Start, end and P-Tokens included; a model that has no P-Tokens yet will get them.
    """
    tokenizer = read_tokenizer(model)
    known = tokenizer.get_vocab()
    tokenizer.add_tokens([token for token in P_TOKENS if token not in known])
    return counter(tokenizer)


def counter(tokenizer: Tokenizer) -> Callable[[str], int]:
    """Count the tokens that a tokenizer makes of a text, start and end included."""
    return lambda text: len(tokenizer.encode(text).ids)


def read_tokenizer(model: str) -> Tokenizer:
    """The tokenizer of a model, which neither cuts nor pads a text.

    Raises DidgenError where it cannot be loaded or has no vocabulary.
    """
    path = model_place(model)
    path = configs_of(path) if path.is_file() else path
    try:
        tokenizer = _tokenizer(path)
        if tokenizer.get_vocab_size() < 256:
            raise ValueError("its tokenizer has no vocabulary")
    # tokenizers raises no narrower class for a file that it cannot read.
    except Exception as error:  # noqa: BLE001
        reason = in_short(error, 300)
        raise DidgenError(
            f"The tokenizer of the model {model} could not be loaded: give a folder in diffusers "
            f"format, or a hub id that can be reached ({reason})."
        ) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in a model's folder or of a hub id."""
    file = path / "tokenizer" / "tokenizer.json"
    if file.is_file():
        return Tokenizer.from_file(str(file))
    from transformers import AutoTokenizer

    backend = AutoTokenizer.from_pretrained(str(path), subfolder="tokenizer").backend_tokenizer
    assert isinstance(backend, Tokenizer)
    return backend
