"""The screen after an import: what was understood, what there is now, and what was left out."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from didgen.manifests.errors import printable
from didgen.manifests.importers.admission import ForModel, Import
from didgen.manifests.privacy.personal import personal_names
from didgen.manifests.sources.records import summary
from didgen.manifests.sources.rejections import REJECTED_FILE, Rejection
from didgen.manifests.views.terminal import import_table


def print_import(result: Import, out: Path | None, for_models: Sequence[ForModel]) -> None:
    """Say on one screen what an import understood, kept and left out.

    Names are printed without the control characters that they may hold.
    """
    console, records = Console(), result.manifest.records
    # Warnings stand last, where they are seen.
    for sentence in sorted(result.notes, key=lambda note: note.startswith("Warning")):
        print(printable(sentence))
    if result.label_map:
        console.print(label_table(result.label_map))
    rows = summary(result.manifest)
    console.print(import_table(rows))
    lesions = len({record.lesion_id for record in records})
    patients = {record.patient_id for record in records} - {None}
    unknown = sum(record.patient_id is None for record in records)
    told = f" of {len(patients)} patients" if patients else ""
    if patients and unknown:
        told += f" ({unknown} images are of no known patient)"
    print(f"{len(records)} images, {sum(row.pairs for row in rows)} with a mask.")
    group = "patient" if patients else "lesion"
    print(f"They show {lesions} lesions{told}; no {group} is in two splits.")
    for model, trained_on in for_models:
        units = {r.unit for r in records if trained_on.knows_record(r)}
        known = sum(record.unit in units for record in records)
        print(f"{known} of them are known to {model}, by themselves or their lesion, and train.")
    if personal := personal_names(result.manifest):
        print(f"Warning: {printable(personal.sentence())}")
    if result.rejections:
        _print_rejections(result.rejections, out)
    if out is not None:
        print(f"The manifest is in {printable(str(out))}.")


def _print_rejections(rejections: Sequence[Rejection], out: Path | None) -> None:
    """Say how many files were left out for each reason, and the first of each."""
    by_reason: defaultdict[str, list[Rejection]] = defaultdict(list)
    for rejection in rejections:
        by_reason[rejection.reason].append(rejection)
    where = f", listed in {printable(str(out / REJECTED_FILE))}" if out else ""
    print(f"{len(rejections)} files were rejected{where}; the first of each reason:")
    for reason, several in sorted(by_reason.items(), key=lambda pair: -len(pair[1])):
        print(f"  {len(several)} {reason}: {printable(several[0].sentence)}")


def label_table(label_map: Mapping[tuple[str, str | None], int]) -> Table:
    """The labels of a public set, the class that each became, and their images."""
    table = Table(title="Labels of the set")
    for column in ("label", "class"):
        table.add_column(column)
    table.add_column("images", justify="right")
    for (label, name), count in sorted(label_map.items(), key=lambda pair: -pair[1]):
        shown = Text(printable(name or "none, left out"))
        table.add_row(Text(printable(label)), shown, str(count))
    return table
