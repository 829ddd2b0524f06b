"""Published records: the small files of a stage, without the places of this machine."""

import json
import re
from pathlib import Path
from typing import Any

from didgen.downstream.pages.document import BENCHMARK_NAME
from didgen.downstream.study.hours import FINISHED_NAME
from didgen.manifests.files import read_json, write_json
from didgen.manifests.privacy.paths import shareable

STATE = "$STATE"
"""Stands for the folder of the study's state."""

RECORDS = (BENCHMARK_NAME, "quality.json", "manifest.json")
"""What of a stage's folder says what it came to."""


def placeless(record: Any, state: Path) -> Any:
    """A record without the places of this machine: `STATE` is the state's folder."""
    text = re.sub(rf"(?<![\w./-]){re.escape(str(state))}(?=/)", STATE, json.dumps(record))
    return shareable(json.loads(text), None)


def publish(folder: Path, state: Path, records: Path) -> None:
    """Copy the records of a finished stage to `records/STAGE`; its pictures stay."""
    for path in (folder / FINISHED_NAME, *(folder / "out" / name for name in RECORDS)):
        if path.is_file():
            found = read_json(path)
            if path.name == BENCHMARK_NAME:
                found.pop("plots", None)
            write_json(records / folder.name / path.name, placeless(found, state))
