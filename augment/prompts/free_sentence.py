"""A free sentence: what a vision model or a person says of a lesion, brought to another place.

Notable choices:
- Words of size, shape and place go, phrase by phrase; colours, structures and skin stay. An
  adjective is geometric by the noun it stands before: "small dots" stay small.
- A place whose meaning is in doubt goes: what is not said contradicts no layout.
- One lesion is left: further ones are dropped, and several become one.
"""

import re
from itertools import islice
from typing import NamedTuple

from didgen.augment.prompts.geometric_words import (
    ALIKE,
    ALSO_OUTLINED,
    ANOTHER,
    ARTICLE,
    BARE_BORDER,
    BESIDE,
    BORDER_AND,
    CENTER,
    COLOR,
    COUNT,
    DROPPED,
    GEOMETRIC,
    HERE,
    JOINT,
    LOOSE,
    NOUN,
    OUTLINED,
    PLURAL,
    PREDICATE,
    SHADE,
    SHAPE,
    SIZE,
    SKIN,
    SOME_BORDER,
    STOP,
    VERB,
)
from didgen.augment.prompts.places import places_in
from didgen.augment.prompts.prompt import clean


class Place(NamedTuple):
    """The words of a layout: "small round" and "at the upper left"."""

    form: str
    position: str


def placed(caption: str, place: Place, border: bool = True, skin: bool = True) -> str:
    """A free caption with the geometry of a layout in place of its own, on one lesion.

    border, skin: whether the layout leaves room for them; else what speaks of them goes. A caption
    that names no lesion gets a clause on one if it had geometric words, and else stays as it is.
    """
    said = clean(caption).rstrip(" .!?,;:")
    text = _without_geometry(said)
    text = text if skin else _clauses_without(SKIN.sub("", text), r"\bskin\b(?! lesion)")
    text = text if border else SOME_BORDER.sub("", text)
    text = _tidy(_one_lesion(text))
    heads = _heads(text)
    if heads:
        text = _with_place(text, heads, place)
    elif text == _tidy(said):
        return caption
    else:
        text = _with_clause(text, place)
    return _tidy(text) + "."


def _without_geometry(text: str) -> str:
    """A sentence without words of place, size and outline that stand outside the lesion's name."""
    for start, end in reversed(list(places_in(text))):
        beside = re.search(r"(?:\bof|above|below|\bto)$", text[start:end], re.IGNORECASE)
        text = text[:start] + HERE + (BESIDE if beside else "") + text[end:]
    text = CENTER.sub(lambda found: (found["before"] or "") + HERE, text)
    for pattern in DROPPED:
        text = pattern.sub(lambda found: " " if found[0][:1].isspace() else "", text)
    text = ALSO_OUTLINED.sub(lambda found: str(found["kept"]), text)
    text = OUTLINED.sub("", text)
    text = BORDER_AND.sub(lambda found: f"{found['with']} ", text)
    text = BARE_BORDER.sub("", text)
    return PREDICATE.sub(_predicate, text)


def _predicate(found: re.Match[str]) -> str:
    """What stays of "is large, round and brown": its verb, where something follows it."""
    follows = found["next"].strip(" ,") in ("and", "but") or found["next"].strip() == ","
    return f"{found['verb']} " if follows else found["next"]


def _one_lesion(text: str) -> str:
    """A sentence that names no second lesion beside its first one."""
    first = re.search(rf"\b(?:{NOUN}|{PLURAL})\b", text, re.IGNORECASE)
    if first is None:
        return text
    return text[: first.end()] + ANOTHER.sub("", text[first.end() :])


_BEGINS = re.compile(rf"(?:^|[,;:]|\b{VERB})\s*$", re.IGNORECASE)


class _Head(NamedTuple):
    """A noun that names the lesion: where its phrase begins, and where it stands itself."""

    phrase: int
    start: int
    end: int


def _heads(text: str) -> list[_Head]:
    """The phrases that name the lesion: those of a clear noun, else the first of a loose one.

    A class before its comma is none: the description comes after it.
    """
    comma = text.find(",")
    heads = [
        head for head in _phrases(text, rf"(?:{NOUN}|{PLURAL})") if not _is_class(text, head, comma)
    ]
    # "With a white patch" is said of a lesion: a loose noun is one where a clause begins.
    loose = (h for h in _phrases(text, LOOSE) if _BEGINS.search(text[: h.phrase]))
    return heads or list(islice(loose, 1))


def _phrases(text: str, nouns: str) -> list[_Head]:
    found = re.finditer(rf"\b{nouns}\b", text, re.IGNORECASE)
    return [_Head(_phrase(text, noun.start()), *noun.span()) for noun in found]


def _is_class(text: str, head: _Head, comma: int) -> bool:
    """Whether a head is the whole first clause, without article, number, colour or form."""
    words = text[: head.end]
    first = words.split()[0]
    return (
        (head.phrase, head.end) == (0, comma if comma >= 0 else len(text))
        and not ARTICLE.fullmatch(first)
        and not COUNT.fullmatch(first)
        and re.search(rf"\b{COLOR}\b", words, re.IGNORECASE) is None
        and re.search(rf"(?<![\w-]){GEOMETRIC}(?![\w-])", words, re.IGNORECASE) is None
    )


def _phrase(text: str, noun: int) -> int:
    """Where the phrase of a noun begins: its article, or the first of its adjectives."""
    begin = noun
    for word in reversed(list(re.finditer(r"[^\s,;:.()]+|[,;:.()]", text[:noun]))):
        before = text[: word.start()].rstrip()
        if ARTICLE.fullmatch(word[0]):
            return word.start()
        if word[0] in ("and", "to", ","):
            # Adjectives go on before it, or it parts the phrase from another one.
            if not re.search(rf"(?:{COLOR}|{SIZE}|{SHAPE})$", before, re.IGNORECASE):
                break
        elif not word[0][0].isalnum() or STOP.fullmatch(word[0]):
            break
        else:
            begin = word.start()
    return begin


def _with_place(text: str, heads: list[_Head], place: Place) -> str:
    """Give the first phrase the place, and take the geometric adjectives from all."""
    for head in reversed(heads):
        noun, rest = text[head.start : head.end], text[head.end :]
        phrase = text[head.phrase : head.start]
        article, adjectives = _adjectives(phrase)
        if re.fullmatch(PLURAL, noun, re.IGNORECASE):
            noun, article = "lesion", article if article.lower() in ("the", "its") else "a"
        if head is heads[0]:
            kept = article.lower() in ("the", "this", "its")
            of = re.match(r"\s+of\s+[\w-]+", rest)
            tail = of[0] if of else ""
            adjectives = adjectives[:1].lower() + adjectives[1:]
            words = f"{article if kept else 'a'} {place.form} {adjectives} "
            words = f"{words}{noun[0].lower()}{noun[1:]}{tail} {place.position}"
            if (phrase or noun)[0].isupper():
                words = words[0].upper() + words[1:]
            rest = rest[len(tail) :]
        else:
            words = f"{article} {adjectives} {noun}".strip()
        text = text[: head.phrase] + words + rest
    return text


def _adjectives(phrase: str) -> tuple[str, str]:
    """The article of a phrase, and its adjectives without those of size and shape."""
    words = phrase.strip()
    first, _, others = words.partition(" ")
    article, words = (first, others) if ARTICLE.fullmatch(first) else ("", words)
    words = re.sub(rf"\b{SHADE}", HERE, words, flags=re.IGNORECASE)
    words = re.sub(
        rf"(?<![\w-]){ALIKE}(?![\w-])(?:{JOINT}|\s*)",
        "",
        words,
        flags=re.IGNORECASE,
    )
    words = " ".join(w for w in words.split() if not COUNT.fullmatch(w))
    words = re.sub(r"\bcentral(?:ly)?\s*", "", words, flags=re.IGNORECASE)
    return article, words.replace(HERE, "medium").strip(" ,")


def _with_clause(text: str, place: Place) -> str:
    """A clause on the lesion, after a first one that may be its class."""
    clause = f"a {place.form} lesion {place.position}"
    first, _, others = text.partition(", ")
    if len(first.split()) <= 4 and not re.search(rf"\b{COLOR}\b", first, re.IGNORECASE):
        return ", ".join(filter(None, (first, clause, others)))
    return ", ".join(filter(None, (clause, text)))


def _clauses_without(text: str, pattern: str) -> str:
    """Drop the clauses that hold a pattern, but the first."""
    first, *others = re.split(r"\s*[,;]\s+", text)
    return ", ".join([first, *(words for words in others if not re.search(pattern, words, re.I))])


_ENDS = (
    r"(?:with|in|on|at|of|and|but|is|are|that|which|an?|the|has|to|from|by|appears?|looks?|its|while"
    r"|near|or|showing|having|measuring)"
)


def _tidy(text: str) -> str:
    """Mend what dropped words leave behind: doubled commas, loose ends, the wrong article."""
    text, before = text.replace(HERE, " ").replace(BESIDE, ""), ""
    while text != before:
        before = text
        text = re.sub(r"\s+", " ", text).strip(" ,;:.")
        text = re.sub(r"\s+([,;:.)])", r"\1", text)
        text = re.sub(r"\(\s*\)", "", text)
        text = re.sub(r"([,;:])(?:\s*[,;:])+", r"\1", text)
        text = re.sub(r"([,;:]\s*)and\s*(?=[,;:])", r"\1", text)
        text = re.sub(rf"(?<![\w-]){_ENDS}(?=\s*(?:[,;:.)]|$))", "", text, flags=re.IGNORECASE)
        text = re.sub(r"^(?:and|but|is|are|of|that|which)\s+", "", text, flags=re.IGNORECASE)
        text = re.sub(
            r"\b(with|an?|the|is|are|has|appears?)\s*(?:,|and\b|but\b)\s+", r"\1 ", text, flags=re.I
        )
        text = re.sub(r"\b(and|with)\s+(?:and|with)\b", r"\1", text)
        text = re.sub(rf"\b(?:is|are)\s+(?={VERB}\b)", "", text, flags=re.IGNORECASE)
    return re.sub(r"\b([Aa])n?\s+(?=([\w]{1,3}))", _article, text)


def _article(found: re.Match[str]) -> str:
    """A or an, by the letters that follow."""
    letters = found[2].lower()
    vowel = letters[0] in "aeiou" and not letters.startswith(("uni", "eu", "one", "use"))
    return f"{found[1]}{'n' * vowel} "
