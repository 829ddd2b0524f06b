"""PNG: a file reduced, without a second encoding, to the chunks that its pixels need."""

import zlib
from collections.abc import Iterator
from pathlib import Path

from didgen.manifests.errors import DidgenError

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_KEPT = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
"""Header, palette, transparency, pixels and the end. Text, EXIF, times and profiles go."""


def is_png(data: bytes) -> bool:
    """Whether a file begins like a PNG."""
    return data.startswith(SIGNATURE)


def bare_png(data: bytes, path: Path) -> bytes:
    """The PNG `path` with the chunks that its pixels need, and nothing else.

    One that is cut off or no PNG is a `DidgenError`.
    """
    if not is_png(data):
        raise DidgenError(f"{path} is no PNG; replace the file.")
    chunks = (chunk for kind, chunk in _chunks(data, path) if kind in _KEPT)
    return b"".join([SIGNATURE, *chunks])


def _chunks(data: bytes, path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Each chunk to the end of the image: its kind and its bytes, with a checksum that fits."""
    place = len(SIGNATURE)
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4])
        kind, end = data[place + 4 : place + 8], place + 12 + length
        if end > len(data):
            break
        body = data[place + 4 : end - 4]
        yield kind, data[place : place + 4] + body + zlib.crc32(body).to_bytes(4)
        if kind == b"IEND":
            return
        place = end
    raise DidgenError(f"{path} is cut off or damaged; replace the file.")
