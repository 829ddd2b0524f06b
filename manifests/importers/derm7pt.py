"""Derm7pt: the dermoscopic images of 1,011 cases of the seven-point checklist.

The layout is that of its archive `release_v0`: `images`, and `meta/meta.csv` with one dermoscopic
and one clinical photograph a case; the clinical ones are passed by. `meta/train_indexes.csv` and
its like give rows of that table, from 0 on, their splits (Kawahara et al., JBHI 2018). Every case
counts as one lesion. Its terms allow research, and no redistribution.
"""

from dataclasses import replace
from pathlib import Path

from didgen.manifests.choices import Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.importers.collection import Collection, Part, Table
from didgen.manifests.importers.finding.diagnoses import DIAGNOSES
from didgen.manifests.importers.finding.tables import RawTable, Row, read_table, stated

INDEXES: dict[str, Split] = {"train": "train", "valid": "val", "test": "test"}

OTHERS: dict[str, str | None] = {
    "lentigo": "lentigo",
    "melanosis": "melanosis",
    "miscellaneous": None,
}
"""Diagnoses of no class of ISIC's: two become classes of their own."""


def read_derm7pt(path: Path) -> RawTable:
    """Read the table of cases, each with the split that the lists of rows beside it give."""
    raw = read_table(path, ("case_num", "diagnosis", "derm"))
    splits: dict[int, Split] = {}
    for name, split in INDEXES.items():
        listing = path.with_name(f"{name}_indexes.csv")
        if not listing.is_file():
            raise DidgenError(f"{listing} is missing, which gives cases their split; restore it.")
        for row in read_table(listing, ("indexes",)).rows:
            index = stated(row.get("indexes"))
            if not index.isdecimal() or splits.setdefault(int(index), split) != split:
                raise DidgenError(
                    f"{row.place} gives no row of {path.name} that has no split yet; restore it."
                )
    rows = [
        Row({**row.cells, "split": splits.get(number, "")}, row.place)
        for number, row in enumerate(raw.rows)
    ]
    return replace(raw, rows=rows)


COLLECTION = Collection(
    name="derm7pt",
    title="Derm7pt",
    licence="Derm7pt: research only, no redistribution",
    labels={**DIAGNOSES, **OTHERS},
    parts=(
        Part(
            images=("images",),
            labels=(
                Table(
                    ("meta.csv",),
                    "derm",
                    "diagnosis",
                    lesion="case_num",
                    split="split",
                    read=read_derm7pt,
                ),
            ),
            needs="label",
            listed_only=True,
        ),
    ),
)
