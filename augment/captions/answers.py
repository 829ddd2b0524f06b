"""Answers: what a language model said, and whether it is a sentence that can be a caption.

Notable choices:
- Whatever is no plain English sentence is no caption: a refusal, code, an echo, half a sentence.
- A description that is too long, in several sentences, a list or markup keeps its words, so that
  the model can be asked to shorten them.
"""

import re
from dataclasses import dataclass

from didgen.augment.prompts.language import english
from didgen.augment.prompts.prompt import clean

ECHO = 8
"""Words of the question in a row that no answer repeats by chance."""

MIN_WORDS = 2
"""Words of the shortest sentence."""


@dataclass(frozen=True)
class Unfit:
    """Why an answer cannot be a caption, and the words that may be shortened to one."""

    reason: str
    words: str = ""


_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|$)", re.DOTALL | re.IGNORECASE)
_CODE = re.compile(
    r"```|^\s*[{\[]|</?[a-z][a-z0-9]*\b[^>]*>|^\s*(?:import|def|print|SELECT)\b|\\n\\n"
)
_BULLET = re.compile(r"^\s*(?:[-*+\u2022]|\(?\d{1,2}[.)]|[a-z]\))\s+\S", re.MULTILINE)
_MARKUP = re.compile(r"\*\*|__|^\s*#{1,6}\s|^\s*>|\|.*\||\]\(|`", re.MULTILINE)
_PREFACE = re.compile(
    r"^(?:(?:sure|certainly|of course|okay|ok)\b[^:\n]{0,60}|here(?: is|'s|\u2019s)\b[^:\n]{0,80}"
    r"|(?:caption|description|answer|sentence|output|response)):\s*",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"^(?:i[' \u2019]?a?m (?:sorry|unable|not able|afraid)|sorry\b|i apologi[sz]e|unfortunately\b"
    r"|i (?:can ?not|can['\u2019]t|won['\u2019]t|do not|don['\u2019]t) |as an? (?:ai|language)"
    r"|please (?:provide|upload|share|consult)|there is no image|unable to\b"
    r"|the image (?:is not|cannot|could not))|\bas an ai\b|\bai (?:language )?model\b"
    r"|\b(?:can ?not|can['\u2019]t|unable to) (?:assist|help|provide|fulfil|view|see|analy[sz]e"
    r"|process|diagnose|describe)|\bno image (?:was |is |has been )?(?:provided|attached)"
    r"|\bconsult (?:a|your) (?:doctor|dermatologist|physician|healthcare)",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?]\s+\S")
_HALF = re.compile(
    r"(?:[,;:(\u2013\u2014-]|\u2026|\.\.\.|\b(?:and|or|but|with|without|of|the|an?|in|at|on|to|by"
    r"|from|for|near|which|that|is|are|has|its|very|as)[.!?]?)$",
    re.IGNORECASE,
)


def one_sentence(answer: str | Unfit, asked: str = "") -> str | Unfit:
    """The one clean sentence of an answer; `asked` is what an echo of the question would repeat."""
    if isinstance(answer, Unfit):
        return answer
    said = _THOUGHT.sub("", answer).strip()
    text = clean(_PREFACE.sub("", said)).strip(" \"'*`_#\u201c\u201d\u2018\u2019")
    if not any(character.isalpha() for character in text):
        return Unfit("no words")
    if (fault := _fault(said, text, asked)) is not None:
        return fault
    if _SENTENCE_END.search(text):
        return Unfit("several sentences", text)
    if _HALF.search(text) or text[-1] not in ".!?)" or text.count("(") > text.count(")"):
        return Unfit("cut off in the middle", text)
    if len(text.split()) < MIN_WORDS:
        return Unfit("no sentence")
    return text.rstrip(".!?,;: ") + "."


def unfenced(answer: str) -> str:
    """The JSON of an answer that fences it as code."""
    fenced = re.fullmatch(r"\s*```(?:json)?\s*(.*?)\s*```\s*", answer, re.DOTALL)
    return fenced[1] if fenced else answer


def _fault(said: str, text: str, asked: str) -> Unfit | None:
    """What keeps an answer from being a description; `text` is what it says, on one line."""
    if _REFUSAL.search(text):
        return Unfit("refused")
    if _repeats(text, asked):
        return Unfit("an echo of the question")
    if _CODE.search(said):
        return Unfit("code")
    if not english(text):
        return Unfit("another language")
    if len(_BULLET.findall(said)) > 1:
        return Unfit("a list", text)
    if _MARKUP.search(said.strip("*_`\"' ")):
        return Unfit("markup", text)
    return None


def _repeats(text: str, asked: str) -> bool:
    """Whether a text holds `ECHO` words of a question in a row, its list of examples apart."""
    own = " ".join(line for line in asked.splitlines() if not line.startswith("- "))
    words, question = (re.findall(r"[^\W_]+", one.lower()) for one in (text, own))
    known = {tuple(question[n : n + ECHO]) for n in range(len(question) - ECHO + 1)}
    return any(tuple(words[n : n + ECHO]) in known for n in range(len(words) - ECHO + 1))
