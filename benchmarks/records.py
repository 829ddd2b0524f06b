"""Records: what a long measurement has found so far, a JSON value a line, to go on from."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from didgen.manifests.errors import DidgenError
from didgen.manifests.files import write_bytes

Row = dict[str, Any]


class Records:
    """Rows on disk, a JSON value a line, after one that says how they were measured."""

    def __init__(self, path: Path, setting: Mapping[str, Any]) -> None:
        """Go on with a file of the same setting; DidgenError for one of another."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.read_bytes() if path.exists() else b""
        # A process that was killed leaves at most its last line torn.
        whole = whole[: whole.rfind(b"\n") + 1]
        self.rows: list[Row] = [json.loads(line) for line in whole.splitlines()]
        write_bytes(path, whole)
        if not self.rows:
            self.add([{"kind": "setting", **setting}])
        elif self.rows[0] != json.loads(json.dumps({"kind": "setting", **setting})):
            raise DidgenError(f"{path} was measured with another setting; name another folder.")

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows, all or none of a batch but for a torn one."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows))
        self.rows += rows

    def of(self, kind: str, **fields: Any) -> dict[str, Row]:
        """Rows of a kind with the given values, by the key of their layout."""
        asked = {"kind": kind, **fields}
        return {row["key"]: row for row in self.rows if row.items() >= asked.items()}
