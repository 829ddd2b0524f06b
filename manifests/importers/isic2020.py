"""ISIC 2020: 33,126 training images of 2,056 patients, as the challenge or Kaggle ships them.

The layout is that of the challenge (`ISIC_2020_Training_JPEG`, or `train`, beside
`ISIC_2020_Training_GroundTruth_v2.csv`, which has lesions too) or of Kaggle's competition
(`jpeg/train` and `train.csv`). Most lesions have no diagnosis: by malignancy they are `benign`, and
every malignant one is MEL. Test images have no labels, and are passed by. CC-BY-NC-4.0.
"""

from didgen.manifests.choices import LabelBy
from didgen.manifests.importers.collection import Collection, Part, Table
from didgen.manifests.importers.finding.diagnoses import DIAGNOSES

FILES = (
    "ISIC_2020_Training_GroundTruth_v2.csv",
    "ISIC_2020_Training_GroundTruth.csv",
    "train.csv",
)
IMAGES = ("ISIC_2020_Training_JPEG", "ISIC_2020_Training_Input", "train")
MALIGNANCY: dict[str, str | None] = {"benign": "benign", "malignant": "MEL"}


def collection(by: LabelBy = "diagnosis") -> Collection:
    """The set with labels by diagnosis, or benign against melanoma."""
    column, labels = (
        ("diagnosis", {**DIAGNOSES, "unknown": None})
        if by == "diagnosis"
        else ("benign_malignant", MALIGNANCY)
    )
    return Collection(
        name="isic2020",
        title="ISIC 2020",
        licence="CC-BY-NC-4.0",
        labels=labels,
        parts=(
            Part(
                "Training",
                images=IMAGES,
                labels=(Table(FILES, "image_name", column),),
                needs="label",
            ),
        ),
        hint="import with --by malignancy to have it as benign or melanoma",
    )
