"""JPEG: a file reduced, without a second encoding, to the segments that its pixels need.

Notable choices:
- What is kept is named: tables, frame, scans and restart intervals. All else goes, whatever it is.
- Of the two application segments that decoders read, one is written anew and the other reduced to
  the one byte that says how colours are stored: both have room for more.
- Decoders skip bytes that stand between segments and after the end of the image; here they go.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from didgen.manifests.errors import DidgenError

START, END = b"\xff\xd8", b"\xff\xd9"

Part = Literal["head", "scan", "end"]

_SCAN, _END_CODE, _JFIF_CODE, _ADOBE_CODE = 0xDA, 0xD9, 0xE0, 0xEE

_KEPT = {0xDB, 0xC4, 0xCC, 0xDD, 0xDC, _SCAN} | {*range(0xC0, 0xD0)} - {0xC8}
"""Codes of the segments that pixels need: DQT, DHT, DAC, DRI, DNL, SOS and the frames."""

_BARE_CODES = {0x01, *range(0xD0, 0xD8)}
"""Codes that stand alone, without a length: TEM and the restarts."""

_JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"

# A stuffed zero or a restart belongs to a scan; a marker may have fill bytes before it. Python
# finds a first byte that stands alone twenty times as fast as a repeated one.
_MARKER = re.compile(rb"\xff\xff*([\x01-\xfe])")
_AFTER_SCAN = re.compile(rb"\xff\xff*([\x01-\xcf\xd8-\xfe])")


def is_jpeg(data: bytes) -> bool:
    """Whether a file begins like a JPEG."""
    return data.startswith(START + b"\xff")


def bare_jpeg(data: bytes, path: Path) -> bytes:
    """The JPEG `path` with the segments that its pixels need, and nothing else.

    It decodes to the same pixels, to the bit. One that is cut off or no JPEG is a `DidgenError`.
    """
    return b"".join(piece for _, piece in bare_parts(data, path))


def bare_parts(data: bytes, path: Path) -> list[tuple[Part, bytes]]:
    """The pieces of `bare_jpeg` in their order: segments, compressed scans, and the end."""
    if not is_jpeg(data):
        raise DidgenError(f"{path} is no JPEG; replace the file.")
    colours: dict[int, bytes] = {}
    parts: list[tuple[Part, bytes]] = []
    scanned = False
    for code, segment, scan in _segments(data, path):
        if code in _KEPT:
            parts.append(("head", segment))
        elif not scanned:
            # Decoders settle the colours at the first scan; what comes later says nothing.
            colours |= _colours(code, segment[4:])
        if code == _SCAN:
            parts.append(("scan", scan))
            scanned = True
    first = b"".join(colours[code] for code in (_JFIF_CODE, _ADOBE_CODE) if code in colours)
    return [("head", START + first), *parts, ("end", END)]


def _segments(data: bytes, path: Path) -> Iterator[tuple[int, bytes, bytes]]:
    """Each segment before the end of the image: its code, its bytes, and the scan behind it."""
    torn = DidgenError(f"{path} is cut off or damaged; replace the file.")
    place, scanned = len(START), False
    while found := _MARKER.search(data, place):
        code, place = found[1][0], found.end()
        if code == _END_CODE and scanned:
            return
        if code in _BARE_CODES:
            continue
        length = int.from_bytes(data[place : place + 2])
        if code in (START[1], _END_CODE) or length < 2 or place + length > len(data):
            raise torn
        segment, scan = b"\xff" + found[1] + data[place : place + length], b""
        place += length
        if code == _SCAN:
            after = _AFTER_SCAN.search(data, place)
            if after is None:
                raise torn
            scan, place, scanned = data[place : after.start()], after.start(), True
        yield code, segment, scan
    raise torn


def _colours(code: int, content: bytes) -> dict[int, bytes]:
    """What an application segment says of how colours are stored, written anew; else nothing."""
    if code == _JFIF_CODE and content.startswith(b"JFIF\0") and len(content) >= 14:
        return {code: _JFIF}
    if code == _ADOBE_CODE and content.startswith(b"Adobe") and len(content) >= 12:
        return {code: _ADOBE + content[11:12]}
    return {}
