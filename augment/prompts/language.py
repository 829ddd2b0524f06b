"""Language: whether words are English, the only language that places and forms are known in."""

import re
import unicodedata

OTHER_LETTERS = 0.1
"""Share of letters outside the Latin script from which on a text is not English."""

FOREIGN_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        der und ein eine einer eines mit auf ist im zum zur nicht hautläsion läsion dunkel
        une les du avec sur est dans et aux cette peau foncé brune bords
        el los las una unos con sobre es del y por piel lesión oscuro
        il gli della dello delle di nella nel sulla lesione pelle scura
        um uma dos nas com pele lesão escura
        een het van op met huid laesie
        och med på hud og af
        """,
    )
)
"""Function words of German, French, Spanish, Italian, Portuguese, Dutch and the North, and a few
of skin, without those that are English words or parts of names."""

FOREIGN_COUNT = 2
"""Words of `FOREIGN_WORDS`, different ones, that no English sentence holds."""


def english(text: str) -> bool:
    """Whether a text may be English: Latin letters, and hardly a function word of others."""
    letters = [character for character in text if character.isalpha()]
    others = sum(not unicodedata.name(letter, "").startswith("LATIN") for letter in letters)
    if others > OTHER_LETTERS * max(len(letters), 1):
        return False
    words = set(re.findall(r"[^\W\d_]+", text.lower()))
    return len(words & FOREIGN_WORDS) < FOREIGN_COUNT
