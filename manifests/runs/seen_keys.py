"""Seen keys: which keys a run has shown, on disk where they are many."""

import sqlite3

MEMORY = 8192
"""KiB that are held in memory; what does not fit there lies in a temporary file."""


class SeenKeys:
    """A set of keys that only grows; `close` removes its temporary file, if it needed one."""

    def __init__(self) -> None:
        # A database without a name is a private one, which is in memory as long as it fits.
        self._base = sqlite3.connect("", isolation_level=None)
        for setting in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{MEMORY}"):
            self._base.execute(f"PRAGMA {setting}")
        self._base.execute("CREATE TABLE seen (key TEXT PRIMARY KEY) WITHOUT ROWID")
        self._base.execute("BEGIN")

    def add(self, key: str) -> bool:
        """Take in a key; returns whether it is a new one."""
        return self._base.execute("INSERT OR IGNORE INTO seen VALUES (?)", (key,)).rowcount == 1

    def close(self) -> None:
        """Forget the keys."""
        self._base.close()
