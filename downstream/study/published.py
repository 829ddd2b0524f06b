"""Published records: the small files of a stage, without the places of this machine."""

import json
import re
from pathlib import Path

from didgen.downstream.pages.document import BENCHMARK_NAME
from didgen.downstream.study.hours import FINISHED_NAME
from didgen.manifests.files import read_json, write_json
from didgen.manifests.privacy.paths import shareable

STATE = "$STATE"
"""Stands for the folder of the study's state."""

RECORDS = (BENCHMARK_NAME, "quality.json", "manifest.json")
"""What of a stage's folder says what it came to."""


def publish(folder: Path, state: Path, records: Path) -> None:
    """Copy the records of a finished stage to `records/STAGE`."""
    for path in (folder / FINISHED_NAME, *(folder / "out" / name for name in RECORDS)):
        if path.is_file():
            text = re.sub(
                rf"(?<![\w./-]){re.escape(str(state))}(?=/)", STATE, json.dumps(read_json(path))
            )
            write_json(records / folder.name / path.name, shareable(json.loads(text), None))
