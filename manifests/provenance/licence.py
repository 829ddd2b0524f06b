"""Licences: what each asks for, and the one that follows from all that a data set is made of."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import metadata_load
from yaml import YAMLError

from didgen.manifests.shards.index import Ingredient
from didgen.manifests.sources.records import SourceRecord

Term = Literal["attribution", "use-based", "share-alike", "non-commercial", "no-derivatives"]

# Who may share no adaptation may share none under another licence either: "no derivatives"
# includes "share alike".
LICENCES: dict[str, frozenset[Term]] = {
    "CC0-1.0": frozenset(),
    "MIT": frozenset({"attribution"}),
    "BSD-3-Clause": frozenset({"attribution"}),
    "Apache-2.0": frozenset({"attribution"}),
    "CC-BY-4.0": frozenset({"attribution"}),
    "CreativeML-OpenRAIL-M": frozenset({"attribution", "use-based"}),
    "OpenRAIL++": frozenset({"attribution", "use-based"}),
    "CC-BY-SA-4.0": frozenset({"attribution", "share-alike"}),
    "CC-BY-NC-4.0": frozenset({"attribution", "non-commercial"}),
    "CC-BY-NC-SA-4.0": frozenset({"attribution", "non-commercial", "share-alike"}),
    "CC-BY-ND-4.0": frozenset({"attribution", "share-alike", "no-derivatives"}),
    "CC-BY-NC-ND-4.0": frozenset(
        {"attribution", "non-commercial", "share-alike", "no-derivatives"}
    ),
}
"""Known licences and their terms, from the freest to the strictest; SPDX ids where there is one."""

_NAMES = {
    **{name.lower(): name for name in LICENCES},
    # The ISIC archive names its three licences without a version.
    **{name.lower().removesuffix("-4.0"): name for name in LICENCES},
    "cc0": "CC0-1.0",
    "cc-0": "CC0-1.0",
}


@dataclass(frozen=True)
class Licence:
    """The licence of a whole: its name, its id on the Hugging Face Hub, and what to know of it."""

    name: str
    hub: str
    commercial: bool
    sentence: str


def known_licence(text: str) -> str | None:
    """The name in `LICENCES` that `text` stands for; None for any other licence."""
    return _NAMES.get("-".join(text.lower().replace("_", " ").split()))


def strictest(ingredients: Iterable[Ingredient]) -> Licence:
    """The licence of what is made from `ingredients`: every term of each of them holds.

    It is the strictest of theirs, or the freest known one that has all their terms; where no one
    licence has them all, they hold side by side ("A AND B"). A licence that is not known, or not
    named, is kept as it is and counts as stricter than any known one.
    """
    texts = {ingredient.licence or f"unknown ({ingredient.name})" for ingredient in ingredients}
    names = {text: known_licence(text) for text in texts}
    known = {name for name in names.values() if name}
    unknown = sorted(text for text, name in names.items() if not name)
    if unknown or not texts:
        name = " AND ".join(unknown) or "unknown"
        return Licence(
            name,
            "other",
            False,
            "This is no licence that didgen knows, so it counts as the strictest: ask the owner "
            "before you share anything made of it. A model's licence is read from its README.md.",
        )
    terms = frozenset[Term]().union(*(LICENCES[name] for name in known))
    covering = [name for name in LICENCES if terms <= LICENCES[name]]
    chosen = [name for name in covering if name in known][-1:] or covering[:1]
    name = chosen[0] if chosen else " AND ".join(name for name in LICENCES if name in known)
    commercial = "non-commercial" not in terms
    use = "Commercial use is allowed." if commercial else "For non-commercial use only."
    rest = ", ".join(sorted(terms - {"non-commercial"}))
    return Licence(
        name,
        name.lower() if chosen else "other",
        commercial,
        f"{use} It also asks for: {rest}." if rest else use,
    )


def card_licence(path: Path) -> str | None:
    """The licence that the YAML header of a model or data set card names; None without one."""
    try:
        header = metadata_load(path) or {}
    except (OSError, ValueError, YAMLError):
        return None
    licence = header.get("license")
    if licence == "other":
        licence = header.get("license_name", licence)
    return licence if isinstance(licence, str) and licence else None


def data_ingredients(records: Iterable[SourceRecord]) -> list[Ingredient]:
    """Real images by the data set and the licence they come from."""
    groups = Counter((record.source, record.licence) for record in records)
    return [
        Ingredient(kind="data", name=f"{name}, {count} real images", licence=licence)
        for (name, licence), count in sorted(groups.items())
    ]
