"""The prompt: the fixed prefix with its P-Tokens, and a caption that fits into 77 tokens."""

import unicodedata
from collections.abc import Callable, Iterator

from didgen.manifests.errors import DidgenError
from didgen.manifests.sources.records import class_words

LESION = "<lesion>"

SKIN = "<skin>"

PREFIX = f"An image of {LESION} on {SKIN}. "
"""The P-Tokens in their fixed frame; every prompt begins with it (DiDGen, section 2)."""

TOKEN_LIMIT = 77
"""Positions of a CLIP text encoder, start and end token included."""

MAX_LENGTH = 1000
"""Characters of the longest caption that a source record holds."""


def clean(text: str) -> str:
    """Make any text safe as a caption: one line, no control characters, `MAX_LENGTH` at most.

    Angle brackets go too, so that no text can hold a P-Token or another special token. Whole
    words are dropped from the end of a text that is too long.
    """
    visible = "".join(
        " " if character in "<>" or character.isspace() else character
        for character in text
        if character.isspace() or unicodedata.category(character)[0] != "C"
    )
    folded = " ".join(visible.split())
    return folded if len(folded) <= MAX_LENGTH else folded[: MAX_LENGTH + 1].rpartition(" ")[0]


def diagnosis(label: str | None) -> str | None:
    """The words of a class, without the commas that part the clauses of a caption."""
    if label is None:
        return None
    return clean(class_words(label).replace(",", " ")).lower() or None


def compose(caption: str | None) -> str:
    """The full prompt: the P-Tokens in `PREFIX`, once each, then the cleaned caption if any."""
    return (PREFIX + clean(caption or "")).rstrip()


def fit(caption: str, count_tokens: Callable[[str], int], limit: int = TOKEN_LIMIT) -> str:
    """Shorten a caption until its prompt takes `limit` tokens at most; return the cleaned caption.

    Trailing clauses go first, then trailing words, never a part of a word; the result may be
    empty. `count_tokens` counts all positions of a prompt, start and end token included. A limit
    that the bare prefix exceeds is a `DidgenError`.
    """
    for shorter in _shortened(clean(caption)):
        if count_tokens(compose(shorter)) <= limit:
            return shorter
    raise DidgenError(
        f"The prompt's beginning {PREFIX.rstrip()!r} alone exceeds the text encoder's limit of "
        f"{limit} tokens; add the P-Tokens to its tokenizer or choose another model."
    )


def _shortened(caption: str) -> Iterator[str]:
    """A caption, then without its last clause, and so on; then the first clause word by word."""
    yield caption
    end = "." if caption.endswith(".") else ""
    words = caption.split()
    clause_ends = [n for n, word in enumerate(words, 1) if word[-1] in ",;:."][:-1]
    first = clause_ends[0] if clause_ends else len(words)
    for count in [*reversed(clause_ends), *range(first - 1, 0, -1)]:
        yield " ".join(words[:count]).rstrip(",;:. ") + end
    yield ""


P_TOKENS = {LESION: "lesion", SKIN: "skin"}
"""Each placeholder and the word whose embedding it starts from and keeps."""
