"""Pseudonyms: names of real images and lesions as a keyed hash, by a secret of their source.

Notable choices:
- The secret lies in the folder of the source and nowhere else. Who has it can find the name behind
  a pseudonym by trying; who has not cannot, even where all names are known but one.
- It is made once, so that an image has the same pseudonym in every mix and export of its source.
"""

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeAlias

from didgen.manifests.errors import DidgenError
from didgen.manifests.files import naming
from didgen.manifests.recipes.fields import NAMELESS
from didgen.manifests.sources.records import SourceManifest, SourceRecord

KEY_NAME = "pseudonyms.key"
"""The secret of a source, beside its manifest; only its owner may read it."""

OWN_IMAGES = "folder"
"""The importer of people's own images: the data sets of others have public names."""

Naming: TypeAlias = Callable[[str], str]
"""From the key of an image or the id of a lesion to the name it is published by."""


def as_it_is(name: str) -> str:
    """The naming that changes nothing."""
    return name


@dataclass(frozen=True)
class Pseudonyms:
    """The pseudonyms of a source; `stored` says whether the secret lies in its folder already."""

    folder: Path
    secret: bytes = field(repr=False)
    stored: bool

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Those of the source in a folder, by its secret or a new one; nothing is written.

        A file that is there and holds no secret is a `DidgenError`.
        """
        path = folder / KEY_NAME
        try:
            text = path.read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            return cls(folder, secrets.token_bytes(32), stored=False)
        if not re.fullmatch("[0-9a-f]{64}", text):
            raise DidgenError(
                f"{path} is not the key that didgen wrote; restore it, or delete it and share "
                "nothing beside what it named before."
            )
        return cls(folder, bytes.fromhex(text), stored=True)

    def name(self, name: str) -> str:
        """The pseudonym of a key or a lesion id; what names no real image stays as it is."""
        if name in NAMELESS:
            return name
        return hmac.new(self.secret, name.encode(), hashlib.sha256).hexdigest()[:16]

    def store(self) -> None:
        """Write the secret beside its source, readable by its owner alone, unless it is there.

        A `DidgenError` where another command has just written another one.
        """
        path = self.folder / KEY_NAME
        with naming(path):
            if self.stored:
                if os.name == "posix" and path.stat().st_mode & 0o077:
                    path.chmod(0o600)
                return
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                if Pseudonyms.of(self.folder).secret == self.secret:
                    return
                raise DidgenError(
                    f"{path} was written by another command meanwhile; run this one again."
                ) from None
            try:
                with os.fdopen(descriptor, "w", encoding="ascii") as file:
                    file.write(f"{self.secret.hex()}\n")
                    file.flush()
                    os.fsync(file.fileno())
            except BaseException:
                path.unlink(missing_ok=True)
                raise


def unit_naming(folder: Path) -> Naming:
    """How the patients and lesions of the source in a folder are named where rows are published.

    By pseudonym where a patient is known or the images are somebody's own; the secret is then
    written beside the source. Lesions of public data sets have public names.
    """
    source = SourceManifest.read(folder)
    if not own_records(source) and all(r.patient_id is None for r in source.records):
        return as_it_is
    pseudonyms = Pseudonyms.of(folder)
    pseudonyms.store()
    return pseudonyms.name


def own_records(source: SourceManifest) -> tuple[SourceRecord, ...]:
    """The images whose folder and numbers may be somebody's own, not those of an archive."""
    return source.records if source.header.importer == OWN_IMAGES else ()
