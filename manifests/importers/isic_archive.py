"""ISIC archive: images with their `metadata.csv`, as `isic image download` writes them.

The columns are those of isic-cli 10 to 12: `isic_id`, `copyright_license`, `image_type`,
`lesion_id`, `patient_id`, and diagnoses, in one column `diagnosis` or in `diagnosis_1` (Benign,
Malignant, Indeterminate) to `diagnosis_5`, ever narrower. The narrowest that is a class is taken.
Images that are not dermoscopic are left out. Each image has the licence that its row names.
"""

from didgen.manifests.choices import LabelBy
from didgen.manifests.importers.collection import Collection, Part, Table
from didgen.manifests.importers.finding.diagnoses import DIAGNOSES
from didgen.manifests.importers.finding.tables import Row, stated

NARROWEST_FIRST = ("diagnosis_5", "diagnosis_4", "diagnosis_3", "diagnosis", "diagnosis_2")

MALIGNANCY: dict[str, str | None] = {"benign": "benign", "malignant": "malignant"}


def _diagnosis(row: Row) -> str:
    """The narrowest diagnosis that is a class, else the narrowest there is."""
    said = [text for name in NARROWEST_FIRST if (text := stated(row.get(name)))]
    return next((text for text in said if text.lower() in DIAGNOSES), (*said, "")[0])


def _malignancy(row: Row) -> str:
    return stated(row.get("benign_malignant")) or stated(row.get("diagnosis_1"))


def _not_dermoscopic(row: Row) -> str:
    kind = stated(row.get("image_type"))
    return "" if kind.lower() in ("", "dermoscopic") else f"is no dermoscopic image ({kind})"


def collection(by: LabelBy = "diagnosis") -> Collection:
    """The archive with labels by diagnosis, or benign against malignant."""
    table = Table(
        ("metadata.csv", "metadata*.csv", "*metadata*.csv"),
        "isic_id",
        _diagnosis if by == "diagnosis" else _malignancy,
        licence="copyright_license",
        unfit=_not_dermoscopic,
        complete=False,
    )
    return Collection(
        name="isic-archive",
        title="the ISIC archive",
        licence="unknown (ISIC archive)",
        labels={**DIAGNOSES} if by == "diagnosis" else MALIGNANCY,
        parts=(Part(labels=(table,), needs="label"),),
    )
